/** Computes figures from samples. */
import type { Result } from './contract.ts';

/** The middle value; the mean of the two in the middle of an even number. `values` is not empty. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const high = sorted[Math.floor(sorted.length / 2)] as number;
  const low = sorted[Math.floor((sorted.length - 1) / 2)] as number;
  return (low + high) / 2;
}

/** Names of the workloads that are compared with each other: those that read a tree, and those that write. */
export interface Groups {
  readonly readings: readonly string[];
  readonly writings: readonly string[];
}

/** A result with the figures computed from its samples. Times in nanoseconds. */
export interface Summary extends Result {
  readonly median: number;
  readonly min: number;
  readonly max: number;
  /** This median divided by that of each reference system that has one: below 1 is faster. */
  readonly ratios: Readonly<Record<string, number>>;
}

/** The content of one row of the table: the same work in the same state, on all systems. */
export const rowKey = ({ workload, tree, state }: Result): string => `${workload}\0${tree}\0${state}`;

/** @param references names of the systems that every other one is compared with */
export function summarize(results: readonly Result[], references: readonly string[]): Summary[] {
  const medians = new Map(results.map((result) => [`${rowKey(result)}\0${result.system}`, median(result.samples)]));
  return results.map((result) => {
    const own = median(result.samples);
    const ratios = references.flatMap((reference): [string, number][] => {
      const other = medians.get(`${rowKey(result)}\0${reference}`);
      return other === undefined ? [] : [[reference, own / other]];
    });
    return {
      ...result,
      median: own,
      min: Math.min(...result.samples),
      max: Math.max(...result.samples),
      ratios: Object.fromEntries(ratios),
    };
  });
}

/** A figure with more spread than this part of its median is marked. */
export const NOISY = 0.3;

/** The systems in the order in which most of them are measured: one that is missing in one workload keeps its place. */
export function systemsIn(results: readonly Result[]): string[] {
  const rows = new Map<string, string[]>();
  for (const result of results) rows.set(rowKey(result), [...(rows.get(rowKey(result)) ?? []), result.system]);
  const longestFirst = [...rows.values()].sort((a, b) => b.length - a.length);
  return [...new Set(longestFirst.flat())];
}

/** Largest and smallest sample, their distance as a part of the median. */
export const spread = ({ median: middle, min, max }: Summary): number => (max - min) / middle;
