/**
 * The terms of the experiment `remote`. A *contender* does some work with a server behind a round-trip time; all
 * contenders of a row take turns, as the systems of a cell do. A *goal* limits a figure of cfs.
 */
import { reasonOf } from '../src/base/error.ts';
import type { Bench, Outcome, Result, Tree, Work } from './contract.ts';
import type { RemoteInputs } from './remote-inputs.ts';
import { median } from './statistics.ts';
import { affordableRounds, withDeadline } from './time-limit.ts';
import type { WebServer } from './web-server.ts';

/** The name of the experiment. */
export const REMOTE = 'remote';

/** What all rows of a tree work with. */
export interface RemoteRun {
  readonly bench: Bench;
  readonly tree: Tree;
  readonly inputs: RemoteInputs;
  readonly web: WebServer;
}

export interface Contender {
  readonly name: string;
  /** Does it once, from the beginning, and returns its nanoseconds. */
  turn(bench: Bench): Promise<number>;
}

export interface Row {
  /** For the results file: words of letters, joined by `-`. */
  readonly name: string;
  readonly title: string;
  /** Of the caches. */
  readonly state: string;
  readonly work: Work;
}

interface Taken {
  readonly samples: number[];
  rounds: number;
  limited?: string;
}

/**
 * Lets the contenders take turns; the first turn of each is discarded, unless there is one round. One that fails is
 * left out, and reported.
 */
export async function takeTurns(row: Row, contenders: readonly Contender[], run: RemoteRun): Promise<Result[]> {
  const { bench, tree } = run;
  const taken = new Map(contenders.map((one): [Contender, Taken] => [one, { samples: [], rounds: bench.rounds }]));
  for (let round = bench.rounds === 1 ? 1 : 0; round <= bench.rounds; round++) {
    for (const [contender, own] of [...taken]) {
      if (round > own.rounds) continue;
      const what = `${row.title}, ${tree.name} tree: ${contender.name}`;
      bench.progress(`${what}, ${round === 0 ? 'warm-up' : `round ${round} of ${own.rounds}`}`);
      try {
        const begin = process.hrtime.bigint();
        const ns = await withDeadline(bench, (limited) => contender.turn(limited));
        if (round === 0) Object.assign(own, affordableRounds(Number(process.hrtime.bigint() - begin), bench));
        if (round > 0 || own.rounds === 0) own.samples.push(ns);
      } catch (error) {
        bench.signal.throwIfAborted();
        taken.delete(contender);
        bench.omit({ what, why: reasonOf(error), failed: true });
      }
    }
  }
  return [...taken].map(([{ name }, { samples, limited }]) => ({
    ...{ workload: `${REMOTE}-${row.name}`, title: row.title, tree: tree.name, state: row.state, system: name },
    ...{ work: row.work, samples },
    ...(limited === undefined ? {} : { limited }),
  }));
}

/** Of two contenders of a row; undefined if one has no samples. */
export function ratioOf(results: readonly Result[], one: string, other: string): number | undefined {
  const of = (name: string): readonly number[] => results.find(({ system }) => system === name)?.samples ?? [];
  return of(one).length === 0 || of(other).length === 0 ? undefined : median(of(one)) / median(of(other));
}

/** A figure of cfs, and its goal if it has one. */
export interface Judged {
  /** For the results file, in words of letters that are joined by `_`, with its unit. */
  readonly figure: string;
  /** What it is, as the beginning of a sentence. */
  readonly text: string;
  readonly value: number;
  readonly goal?: { readonly kind: 'at most' | 'at least'; readonly limit: number };
}

const short = (value: number): string =>
  Math.abs(value) >= 100
    ? Math.round(value).toLocaleString('en')
    : String(Number(value.toPrecision(value < 1 ? 2 : 3)));

/** "full pull against podman pull: 0.25 (goal: at most 0.3): reached" */
export function judge({ text, value, goal }: Judged): string {
  if (goal === undefined) return `${text}: ${short(value)}`;
  const reached = goal.kind === 'at most' ? value <= goal.limit : value >= goal.limit;
  return `${text}: ${short(value)} (goal: ${goal.kind} ${short(goal.limit)}): ${reached ? 'reached' : '**not reached**'}`;
}

/** The outcome of a row. */
export interface Found {
  readonly results: readonly Result[];
  readonly judged: readonly Judged[];
}

/** Joins what the rows of a tree found. */
export function outcomeOf(tree: Tree, results: readonly Result[], judged: readonly Judged[]): Outcome {
  const figures = judged.map(({ figure, value }): [string, number] => [`${REMOTE}_${figure}_${tree.name}`, value]);
  return {
    results,
    figures: Object.fromEntries(figures),
    notes: judged.map((one) => `${REMOTE}, ${tree.name} tree, ${judge(one)}`),
  };
}
