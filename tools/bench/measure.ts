/**
 * The method: all systems show the same tree at the same time and take turns, so that whatever else the
 * machine does falls on all of them; one turn is thrown away, then the rounds count.
 */
import { reasonOf } from '../../src/error.ts';
import { coldUnavailable, dropCaches } from './caches.ts';
import type { Bench, CacheState, Result, System, SystemRow, Tree, Workload } from './contract.ts';
import { countEntries } from './trees.ts';

interface Running {
  readonly system: System;
  /** Where its tree is; undefined after a failure, until it is mounted again. */
  root: string | undefined;
}

/** Measures every workload that fits `tree` on every system. */
export async function measureTree(
  tree: Tree,
  rows: readonly SystemRow[],
  workloads: readonly Workload[],
  bench: Bench,
): Promise<Result[]> {
  const fitting = workloads.filter((workload) => workload.trees.includes(tree.name));
  if (fitting.length === 0) return [];
  const running = await startAll(tree, rows, bench);
  const results: Result[] = [];
  for (const workload of fitting) {
    for (const cache of possibleCaches(bench)) {
      results.push(...(await measureCell(workload, tree, cache, running, bench)));
    }
  }
  for (const { system } of running) await system.stop();
  return results;
}

/** Cold first: the last turn of it leaves every system with a young mount for the warm ones. */
function possibleCaches(bench: Bench): readonly CacheState[] {
  const why = coldUnavailable();
  if (why === undefined) return ['cold', 'warm'];
  bench.omit({ what: 'everything cold', why, failed: false });
  return ['warm'];
}

async function startAll(tree: Tree, rows: readonly SystemRow[], bench: Bench): Promise<Running[]> {
  const running: Running[] = [];
  for (const row of rows) {
    const system = row.create(tree, bench);
    const why = system.available();
    if (why !== undefined) {
      bench.omit({ what: row.name, why, failed: false });
      continue;
    }
    bench.scratch.defer(() => system.stop());
    try {
      bench.progress(`starting ${row.name} of ${tree.path}`);
      const root = await system.start();
      const entries = await countEntries(root, bench.signal);
      if (entries !== tree.entries) {
        throw new Error(`it shows ${entries} entries of the ${tree.entries} of ${tree.path}`);
      }
      running.push({ system, root });
    } catch (error) {
      bench.signal.throwIfAborted();
      bench.omit({ what: `${row.name} of the ${tree.name} tree`, why: reasonOf(error), failed: true });
    }
  }
  return running;
}

/** One workload in one cache state on all systems. One that fails drops out of this cell, not of the run. */
async function measureCell(
  workload: Workload,
  tree: Tree,
  cache: CacheState,
  running: readonly Running[],
  bench: Bench,
): Promise<Result[]> {
  const samples = new Map(running.map((one) => [one, [] as number[]]));
  for (let round = 0; round <= bench.rounds; round++) {
    for (const [one, taken] of [...samples]) {
      const { name } = one.system;
      const turn = round === 0 ? 'warm-up' : `round ${round} of ${bench.rounds}`;
      bench.progress(`${workload.title}, ${tree.name} tree, ${cache}: ${name}, ${turn}`);
      try {
        const root = await prepare(one, cache, bench);
        const ns = await workload.run(root, tree, cache, bench);
        if (round > 0) taken.push(ns);
      } catch (error) {
        bench.signal.throwIfAborted();
        samples.delete(one);
        one.root = undefined;
        bench.omit({
          what: `${workload.title}, ${tree.name} tree, ${cache}, ${name}`,
          why: reasonOf(error),
          failed: true,
        });
      }
    }
  }
  return [...samples].map(([{ system }, taken]) => ({
    workload: workload.name,
    title: workload.title,
    tree: tree.name,
    state: cache,
    system: system.name,
    work: workload.work(tree, cache),
    ...(workload.rates === undefined ? {} : { rates: workload.rates }),
    samples: taken,
  }));
}

/** Gives the root of a mount whose caches are as they should be. What mounting read is dropped with everything else. */
async function prepare(one: Running, cache: CacheState, bench: Bench): Promise<string> {
  if (cache === 'cold' || one.root === undefined) {
    one.root = undefined;
    one.root = await one.system.restart();
  }
  if (cache === 'cold') await dropCaches(bench.signal);
  return one.root;
}
