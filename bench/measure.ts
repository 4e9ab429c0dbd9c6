/**
 * The method: all systems show the same tree at the same time and take turns, so that other work of the machine affects
 * all of them. One turn is discarded, then the rounds count.
 */
import { reasonOf } from '../src/base/error.ts';
import { formatCounted } from '../tools/format.ts';
import { coldUnavailable, dropCaches } from './caches.ts';
import { cellResult, type Sample } from './cell.ts';
import type { Bench, CacheState, Result, System, SystemRow, Tree, Workload } from './contract.ts';
import { estimate, roughly } from './estimate.ts';
import { usageOf } from './processes.ts';
import { affordableRounds, withDeadline } from './time-limit.ts';
import { countEntries } from './trees.ts';

export const OUT_OF_TIME = 'the time of --minutes was over';

interface Running {
  readonly system: System;
  /** The path of its tree; undefined after a failure, until it is mounted again. */
  root: string | undefined;
}

/** Cold before warm: the last turn of it leaves every system with a young mount for the warm ones. */
const ORDER: readonly CacheState[] = ['cold', 'dropped', 'warm'];

/**
 * Measures every workload that fits `tree` on every system. Everything is unmounted at the end.
 * @param record takes the results of a cell as soon as it is done
 */
export async function measureTree(
  tree: Tree,
  rows: readonly SystemRow[],
  workloads: readonly Workload[],
  bench: Bench,
  record: (results: readonly Result[]) => void,
): Promise<void> {
  const fitting = await fittingWorkloads(tree, workloads, bench);
  if (fitting.length === 0) return;
  const running = await startAll(tree, rows, bench);
  const states = possibleStates(bench);
  tellTime(tree, fitting, states, running.length, bench);
  for (const workload of fitting) {
    for (const state of states.filter((one) => workload.states.includes(one))) {
      if (bench.outOfTime()) {
        bench.omit({ what: `${workload.title}, ${tree.name} tree, ${state}`, why: OUT_OF_TIME, failed: false });
        continue;
      }
      record(await measureCell(workload, tree, state, running, bench));
    }
  }
  for (const { system } of running) {
    try {
      await system.stop();
    } catch (error) {
      bench.omit({ what: `unmounting ${system.name} of the ${tree.name} tree`, why: reasonOf(error), failed: true });
    }
  }
}

/** The large tree has one entry, whose time says nothing. */
function tellTime(
  tree: Tree,
  workloads: readonly Workload[],
  states: readonly CacheState[],
  systems: number,
  bench: Bench,
): void {
  if (tree.kind === 'large') return;
  const { kind, entries } = tree;
  const { rounds } = bench;
  const seconds = estimate({ kind, entries, workloads, states, systems, rounds, timeLimit: bench.timeLimit / 1e9 });
  bench.say(`the ${tree.name} tree, ${formatCounted(entries, 'entry', 'entries')}: about ${roughly(seconds)}`);
}

async function fittingWorkloads(tree: Tree, workloads: readonly Workload[], bench: Bench): Promise<Workload[]> {
  const fitting: Workload[] = [];
  for (const workload of workloads.filter(({ trees }) => trees.includes(tree.kind))) {
    const what = `${workload.title}, ${tree.name} tree`;
    try {
      const why = await workload.unavailable?.(tree, bench);
      if (why === undefined) fitting.push(workload);
      else bench.omit({ what, why, failed: false });
    } catch (error) {
      bench.signal.throwIfAborted();
      bench.omit({ what, why: reasonOf(error), failed: true });
    }
  }
  return fitting;
}

function possibleStates(bench: Bench): readonly CacheState[] {
  const why = coldUnavailable();
  if (why === undefined) return ORDER;
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
      bench.progress(`preparing ${row.name} of ${tree.path}`);
      await system.prepare();
      bench.progress(`starting ${row.name} of ${tree.path}`);
      const root = await system.start();
      const entries = await countEntries(root, bench.signal);
      if (entries !== tree.entries) {
        throw new Error(`it shows ${entries} entries of the ${tree.entries} of ${tree.path}`);
      }
      running.push({ system, root });
    } catch (error) {
      bench.signal.throwIfAborted();
      await system.stop();
      bench.omit({ what: `${row.name} of the ${tree.name} tree`, why: reasonOf(error), failed: true });
    }
  }
  return running;
}

interface Taken {
  readonly samples: Sample[];
  rounds: number;
  limited?: string;
}

/** One workload in one cache state on all systems. One that fails drops out of this cell, not of the run. */
async function measureCell(
  workload: Workload,
  tree: Tree,
  state: CacheState,
  running: readonly Running[],
  bench: Bench,
): Promise<Result[]> {
  const taking = running.filter(({ system }) => workload.mounting !== true || system.mounts);
  const cell = new Map(taking.map((one): [Running, Taken] => [one, { samples: [], rounds: bench.rounds }]));
  for (let round = 0; round <= bench.rounds; round++) {
    for (const [one, taken] of [...cell]) {
      if (round > taken.rounds) continue;
      const { name } = one.system;
      const what = `${workload.title}, ${tree.name} tree, ${state}`;
      bench.progress(`${what}: ${name}, ${round === 0 ? 'warm-up' : `round ${round} of ${taken.rounds}`}`);
      try {
        const begin = process.hrtime.bigint();
        const sample = await withDeadline(bench, (limited) => takeTurn(workload, tree, state, one, limited));
        if (round === 0) {
          const { rounds, limited } = affordableRounds(Number(process.hrtime.bigint() - begin), bench);
          taken.rounds = rounds;
          if (limited !== undefined) taken.limited = limited;
        }
        if (round > 0 || taken.rounds === 0) taken.samples.push(sample);
      } catch (error) {
        bench.signal.throwIfAborted();
        cell.delete(one);
        one.root = undefined;
        bench.omit({ what: `${what}, ${name}`, why: reasonOf(error), failed: true });
      }
    }
  }
  return [...cell].map(([{ system }, { samples, limited }]) =>
    cellResult(workload, tree, state, system.name, samples, limited),
  );
}

/** Prepares the caches, and does the work. The data that mounting read is dropped with everything else. */
async function takeTurn(
  workload: Workload,
  tree: Tree,
  state: CacheState,
  one: Running,
  bench: Bench,
): Promise<Sample> {
  let mountNs = 0;
  if (workload.mounting === true) {
    await stop(one);
    await dropCaches(bench.signal);
    const begin = process.hrtime.bigint();
    one.root = await one.system.start();
    mountNs = Number(process.hrtime.bigint() - begin);
  } else {
    // after a failure a mount may remain
    if (state === 'cold' || one.root === undefined) await stop(one);
    one.root ??= await one.system.start();
    if (state !== 'warm') await dropCaches(bench.signal);
  }
  const before = workload.mounting === true ? 0 : (usageOf(one.system.daemon())?.cpuNs ?? 0);
  const ns = mountNs + (await workload.run({ root: one.root, tree, state, bench }));
  const after = usageOf(one.system.daemon());
  if (after === undefined) return { ns };
  return { ns, daemon: { cpuNs: after.cpuNs - before, rssBytes: after.rssBytes, pssBytes: after.pssBytes } };
}

async function stop(one: Running): Promise<void> {
  one.root = undefined;
  await one.system.stop();
}
