/** Figures and their subjects, as text. No I/O. */
import { formatCounted } from '../tools/format.ts';
import type { Results } from './collected.ts';
import type { Rate } from './contract.ts';
import { NOISY, type Summary, spread } from './statistics.ts';

const timeUnit = (ns: number): readonly [factor: number, name: string] =>
  ns < 1e6 ? [1e3, 'µs'] : ns < 1e9 ? [1e6, 'ms'] : [1e9, 's'];

/** "386 ms": three significant digits. */
export function formatTime(ns: number): string {
  const [factor, name] = timeUnit(ns);
  return `${threeDigits(ns / factor)} ${name}`;
}

/** "0.87 – 1.02 s": both in the unit of the second. */
export function formatRange(from: number, to: number): string {
  const [factor] = timeUnit(to);
  return `${threeDigits(from / factor)} – ${formatTime(to)}`;
}

/** "0.56", "5.60", "56.0", "1,234" */
export function threeDigits(value: number): string {
  return value >= 99.95 ? Math.round(value).toLocaleString('en') : value.toPrecision(value < 1 ? 2 : 3);
}

export function formatBytes(bytes: number): string {
  const units = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB'];
  let power = 0;
  for (let rest = bytes; rest >= 1024 && power < units.length - 1; rest /= 1024) power++;
  return power === 0 ? `${bytes} bytes` : `${threeDigits(bytes / 1024 ** power)} ${units[power]}`;
}

/** "1,198 MB/s" */
export function formatRate({ work, median }: Summary, rate: Rate): string {
  const seconds = median / 1e9;
  return rate === 'bytes'
    ? `${threeDigits(work.bytes / 1e6 / seconds)} MB/s`
    : `${threeDigits(work.count / seconds)} ${work.unit}/s`;
}

/** The name of a row: workload, tree if a workload has several of them, state. */
export function labels(summaries: readonly Summary[]): (one: Summary) => string {
  const trees = new Map<string, Set<string>>();
  for (const { title, tree } of summaries) trees.set(title, (trees.get(title) ?? new Set()).add(tree));
  return ({ title, tree, state }) => [title, ...((trees.get(title)?.size ?? 0) > 1 ? [tree] : []), state].join(', ');
}

/** "0.56×", "12.3×" */
export const formatRatio = (ratio: number): string => `${ratio < 10 ? ratio.toFixed(2) : threeDigits(ratio)}×`;

/** Whether the samples are so far apart that the median says little. */
export const isNoisy = (one: Summary): boolean => spread(one) > NOISY;

/** Cells that have fewer samples than rounds, as sentences. */
export function limitedCells(summaries: readonly Summary[]): string[] {
  const label = labels(summaries);
  return summaries.flatMap((one) =>
    one.limited === undefined ? [] : [`${label(one)}, ${one.system}: ${one.limited}`],
  );
}

/** The subject of the measurement, and the machine. */
export function renderSubject({ machine, trees, rounds }: Results): string {
  const { cpu, cores, kernel, node, distribution, source_file_system, scratch_file_system } = machine;
  return [
    `${cpu}, ${cores} cores, ${formatBytes(machine.memory_bytes)}; ${distribution}, kernel ${kernel}, node ${node}`,
    `source on ${source_file_system}, scratch on ${scratch_file_system}; load ${machine.load.toFixed(2)} at the start; ${formatCounted(rounds, 'round')}`,
    ...trees.map(
      (tree) =>
        `${tree.name} (${tree.kind === 'source' ? tree.path : 'generated'}): ${formatCounted(tree.entries, 'entry', 'entries')}, ${formatCounted(tree.files, 'file')}, ${formatBytes(tree.bytes)}`,
    ),
  ].join('\n');
}
