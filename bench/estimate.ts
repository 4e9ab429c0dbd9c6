/** Estimates how long measuring a tree takes: for people who decide whether to wait for it. No I/O. */
import type { CacheState, Tree, Workload } from './contract.ts';

/** The cost of a turn before any work: caches are dropped, programs are read again, daemons start. */
const TURN_SECONDS = 0.8;
/** The cost of an entry of the tree in a turn, over all workloads. Both: two virtual processors, 14,243 entries. */
const ENTRY_SECONDS = 50e-6;

/** The quantities that the time depends on. */
export interface Extent {
  readonly kind: Tree['kind'];
  readonly entries: number;
  readonly workloads: readonly Pick<Workload, 'trees' | 'states'>[];
  readonly states: readonly CacheState[];
  /** The number of systems that take turns. */
  readonly systems: number;
  readonly rounds: number;
  /** The time limit of one system in one cell, in seconds. */
  readonly timeLimit: number;
}

/** Seconds for all cells of a tree; packing it, and the experiments, come on top. */
export function estimate({ kind, entries, workloads, states, systems, rounds, timeLimit }: Extent): number {
  const fitting = workloads.filter(({ trees }) => trees.includes(kind));
  const cells = fitting.flatMap((workload) => workload.states.filter((state) => states.includes(state))).length;
  const turn = TURN_SECONDS + entries * ENTRY_SECONDS;
  return cells * systems * Math.min(turn * (rounds + 1), timeLimit + turn);
}

/** "a minute", "25 minutes", "3 hours" */
export function roughly(seconds: number): string {
  const minutes = Math.round(seconds / 60);
  if (minutes <= 1) return 'a minute';
  if (minutes < 100) return `${minutes} minutes`;
  return `${Math.round(minutes / 60)} hours`;
}
