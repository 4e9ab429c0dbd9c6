/** Computes the result of a cell from its samples. */
import type { CacheState, Result, Tree, Workload } from './contract.ts';
import type { Usage } from './processes.ts';

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
  const usages = samples.flatMap(({ daemon }) => daemon ?? []);
  const daemon = {
    cpu_ns: usages.map(({ cpuNs }) => cpuNs),
    rss_bytes: usages.map(({ rssBytes }) => rssBytes),
    pss_bytes: usages.map(({ pssBytes }) => pssBytes),
  };
  return {
    workload: workload.name,
    title: workload.title,
    tree: tree.name,
    state,
    system,
    work: workload.work(tree, state),
    ...(workload.rates === undefined ? {} : { rates: workload.rates }),
    samples: samples.map(({ ns }) => ns),
    ...(usages.length === 0 ? {} : { daemon }),
    ...(limited === undefined ? {} : { limited }),
  };
}
