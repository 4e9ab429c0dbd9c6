/** Every workload that reads a tree, in the order of the tables. Another one is another row. */
import { CfsError } from '../../src/error.ts';
import type { Bench, CacheState, Tree, Work, Workload } from './contract.ts';
import type { Probed } from './probe.ts';
import { run, toolPath } from './process.ts';
import { LARGE_FILE_NAME, SMALL_FILE_LIMIT } from './trees.ts';

/** Random reads of one sample. Cold ones go to the disk, one at a time. */
const RANDOM_READS: Readonly<Record<CacheState, number>> = { cold: 2_000, warm: 100_000 };
const RANDOM_BLOCK = 4096;

const entriesOf = (tree: Tree): Work => ({ count: tree.entries, unit: 'entries', bytes: 0 });

/** Time of a whole program, from spawn to exit. */
async function program(argv: readonly [string, ...string[]], bench: Bench): Promise<number> {
  // the program itself and its libraries are in memory in every sample: only the tree is cold
  await run([argv[0], '--version'], bench.signal);
  return (await run(argv, bench.signal)).ns;
}

/** Time of a loop of probe.ts. @throws CfsError (system) where it did not do the whole work */
async function probe(loop: string, work: Work, args: readonly string[], bench: Bench): Promise<number> {
  const command: [string, ...string[]] = [process.execPath, toolPath('bench/probe.js'), loop, ...args];
  const { stdout } = await run(command, bench.signal, 'collect');
  const probed = JSON.parse(stdout.toString()) as Probed;
  if (probed.count !== work.count || probed.bytes !== work.bytes) {
    throw new CfsError(
      'system',
      `${loop} at ${args[0]} gave ${probed.bytes} bytes in ${probed.count} ${work.unit}; the tree has ${work.bytes} in ${work.count}`,
    );
  }
  return probed.ns;
}

const lsRecursive: Workload = {
  name: 'ls',
  title: 'ls -lR',
  trees: ['source', 'small'],
  work: entriesOf,
  run: (root, _tree, _cache, bench) => program(['ls', '-lR', root], bench),
};

const find: Workload = {
  name: 'find',
  title: 'find -size +1MB',
  trees: ['source', 'small'],
  work: entriesOf,
  run: (root, _tree, _cache, bench) => program(['find', root, '-size', '+1000000c'], bench),
};

const statWork = (tree: Tree): Work => ({ count: tree.all.count, unit: 'entries', bytes: 0 });
const stat: Workload = {
  name: 'stat',
  title: 'lstat by path',
  trees: ['source', 'small'],
  work: statWork,
  run: (root, tree, _cache, bench) => probe('stat', statWork(tree), [root, tree.all.file], bench),
};

const openWork = (tree: Tree): Work => ({ count: tree.small.count, unit: 'files', bytes: tree.small.bytes });
const open: Workload = {
  name: 'open',
  title: 'open+read+close',
  trees: ['source', 'small'],
  rates: ['count'],
  work: openWork,
  run: (root, tree, _cache, bench) =>
    probe('open', openWork(tree), [root, tree.small.file, String(SMALL_FILE_LIMIT)], bench),
};

const sequentialWork = (tree: Tree): Work => ({ count: 1, unit: 'files', bytes: tree.bytes });
const sequential: Workload = {
  name: 'sequential',
  title: 'sequential read',
  trees: ['large'],
  rates: ['bytes'],
  work: sequentialWork,
  run: (root, tree, _cache, bench) => probe('sequential', sequentialWork(tree), [root, LARGE_FILE_NAME], bench),
};

const randomWork = (cache: CacheState): Work => ({
  count: RANDOM_READS[cache],
  unit: 'reads',
  bytes: RANDOM_READS[cache] * RANDOM_BLOCK,
});
const random: Workload = {
  name: 'random',
  title: 'random 4 KiB reads',
  trees: ['large'],
  rates: ['count'],
  work: (_tree, cache) => randomWork(cache),
  run: (root, _tree, cache, bench) =>
    probe('random', randomWork(cache), [root, LARGE_FILE_NAME, String(RANDOM_READS[cache])], bench),
};

export const WORKLOADS: readonly Workload[] = [lsRecursive, find, stat, open, sequential, random];
