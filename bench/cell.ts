/** Computes the result of a cell, or of a line of the group `write`, from its samples. */
import type { Bench, CacheState, Result, Tree, Workload } from './contract.ts';
import type { Usage } from './processes.ts';
import { GROUP, type PlaceKind, type WriteLine } from './writing.ts';

export interface Sample {
  readonly ns: number;
  /** The cost of the daemon: CPU time in the sample, memory after it. */
  readonly daemon?: Usage;
}

export function cellResult(
  workload: Workload,
  tree: Tree,
  state: CacheState,
  system: string,
  samples: readonly Sample[],
  limited: string | undefined,
): Result {
  const work = workload.work(tree, state);
  return { ...named(workload), tree: tree.name, state, system, work, ...figuresOf(samples, limited) };
}

/** @param kind of the place @param system name of the writer */
export function writeResult(
  line: WriteLine,
  kind: PlaceKind,
  system: string,
  samples: readonly Sample[],
  limited: string | undefined,
  bench: Bench,
): Result {
  return { ...named(line), tree: GROUP, state: kind, system, work: line.work(bench), ...figuresOf(samples, limited) };
}

function named({ name, title, rates }: Workload | WriteLine): Pick<Result, 'workload' | 'title' | 'rates'> {
  return { workload: name, title, ...(rates === undefined ? {} : { rates }) };
}

function figuresOf(
  samples: readonly Sample[],
  limited: string | undefined,
): Pick<Result, 'samples' | 'daemon' | 'limited'> {
  const usages = samples.flatMap(({ daemon }) => daemon ?? []);
  const daemon = {
    cpu_ns: usages.map(({ cpuNs }) => cpuNs),
    rss_bytes: usages.map(({ rssBytes }) => rssBytes),
    pss_bytes: usages.map(({ pssBytes }) => pssBytes),
  };
  return {
    samples: samples.map(({ ns }) => ns),
    ...(usages.length === 0 ? {} : { daemon }),
    ...(limited === undefined ? {} : { limited }),
  };
}
