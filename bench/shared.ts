/**
 * Two directories that share nine files in ten: the memory for reading both, against reading one. If the page cache is
 * shared, the second one costs only its own files.
 */
import { CfsError, reasonOf } from '../src/base/error.ts';
import { coldUnavailable, dropCaches } from './caches.ts';
import type { Bench, Experiment, Outcome, System, SystemRow, Tree } from './contract.ts';
import { writeFiles } from './generated-trees.ts';
import { type MemoryMeter, startMemoryMeter } from './memory-meter.ts';
import { run } from './process.ts';
import { median } from './statistics.ts';
import { surveyTree, workDirectory } from './trees.ts';

const FILE_SIZE = 131_072;
/** The part of the files that both have. */
const SHARED = 0.9;
const SEED = 7;
const ATTEMPTS = 4;

const OTHERS = ['source', 'overlayfs', 'erofs', 'erofs-metacopy', 'composefs', 'fuse-overlayfs', 'squashfuse'];
const CFS = ['cfs', 'cfs-read', 'cfs-off', 'cfs-native', 'cfs-native-read', 'cfs-native-off'];

export const SHARED_MEMORY: Experiment = {
  name: 'shared',
  title: 'memory of two trees that share 90 % of their files',
  systems: [...OTHERS, ...CFS],
  trees: [],
  available: coldUnavailable,
  run: (bench, rows) => measureShared(rows, bench),
};

/** Bytes taken after reading one directory, and after reading both. */
export interface MemorySample {
  readonly one: number;
  readonly both: number;
}

async function measureShared(rows: readonly SystemRow[], bench: Bench): Promise<Outcome> {
  const trees = await makePair(bench);
  const pairs = await preparePairs(rows, trees, bench);
  const samples = new Map<string, MemorySample[]>();
  let method = '';
  for (let round = 0; round <= bench.rounds; round++) {
    for (const [name, pair] of [...pairs]) {
      bench.progress(`memory of two trees: ${name}, ${round === 0 ? 'warm-up' : `round ${round} of ${bench.rounds}`}`);
      try {
        const { sample, how } = await undisturbed(pair, trees[0].bytes, bench);
        method = how;
        if (round > 0) samples.set(name, [...(samples.get(name) ?? []), sample]);
      } catch (error) {
        bench.signal.throwIfAborted();
        pairs.delete(name);
        samples.delete(name);
        bench.omit({ what: `${SHARED_MEMORY.title}, ${name}`, why: reasonOf(error), failed: true });
      }
    }
  }
  for (const name of ['pair-one', 'pair-two', 'work-pair']) bench.scratch.remove(name);
  return outcome(samples, trees[0].bytes, method);
}

/** Two directories of as many files, whose images lie in one place and share a store. */
async function makePair(bench: Bench): Promise<readonly [Tree, Tree]> {
  bench.progress('making two directories that share 90 % of their files');
  const count = Math.max(10, Math.round(bench.sharedSize / FILE_SIZE));
  const common = Math.round(count * SHARED);
  const work = workDirectory('pair', bench);
  const make = async (name: string, seed: number): Promise<Tree> => {
    const path = bench.scratch.directory(name);
    await writeFiles(path, common, () => FILE_SIZE, SEED, bench);
    await writeFiles(path, count - common, () => FILE_SIZE, seed, bench, common);
    return surveyTree('pair', name, path, bench, work);
  };
  return [await make('pair-one', SEED + 1), await make('pair-two', SEED + 2)];
}

type Pair = readonly [System, System];

async function preparePairs(
  rows: readonly SystemRow[],
  trees: readonly [Tree, Tree],
  bench: Bench,
): Promise<Map<string, Pair>> {
  const pairs = new Map<string, Pair>();
  for (const row of rows) {
    const pair: Pair = [row.create(trees[0], bench), row.create(trees[1], bench)];
    const why = pair[0].available();
    if (why !== undefined) {
      bench.omit({ what: row.name, why, failed: false });
      continue;
    }
    for (const system of pair) bench.scratch.defer(() => system.stop());
    try {
      for (const system of pair) await system.prepare();
      pairs.set(row.name, pair);
    } catch (error) {
      bench.signal.throwIfAborted();
      bench.omit({ what: `${SHARED_MEMORY.title}, ${row.name}`, why: reasonOf(error), failed: true });
    }
  }
  return pairs;
}

/**
 * If another program drops the machine's caches in the meantime, memory shrinks by reading: then it is measured again.
 */
async function undisturbed(
  pair: Pair,
  bytes: number,
  bench: Bench,
): Promise<{ readonly sample: MemorySample; readonly how: string }> {
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const meter = startMemoryMeter();
    const sample = await measurePair(pair, bytes, meter, bench).finally(() => meter.end());
    if (isPlausible(sample, bytes)) return { sample, how: meter.method };
  }
  throw new CfsError('system', `something else dropped the caches of this machine in each of ${ATTEMPTS} attempts`);
}

/**
 * The bytes that were read are in the page cache at least once, and reading more frees no memory. @param bytes of one
 * directory
 */
export const isPlausible = ({ one, both }: MemorySample, bytes: number): boolean =>
  one >= bytes * SHARED && both >= one;

async function measurePair(pair: Pair, bytes: number, meter: MemoryMeter, bench: Bench): Promise<MemorySample> {
  try {
    const roots = [await pair[0].start(), await pair[1].start()] as const;
    await dropCaches(bench.signal);
    // the programs that read are in memory, and not counted
    await run(['bash', '-c', 'find --version; cat --version; wc --version'], bench.signal);
    const before = meter.read();
    await readAll(roots[0], bytes, bench);
    const one = meter.read() - before;
    await readAll(roots[1], bytes, bench);
    return { one, both: meter.read() - before };
  } finally {
    for (const system of pair) await system.stop();
  }
}

/** Reads every file. @throws CfsError (system) if it did not read everything */
async function readAll(root: string, bytes: number, bench: Bench): Promise<void> {
  const command = 'set -o pipefail; find "$1" -type f -exec cat {} + | wc --bytes';
  const { stdout } = await run(['bash', '-c', command, 'bash', root], bench.signal, 'collect');
  if (Number(stdout.toString()) === bytes) return;
  throw new CfsError('system', `${root} has ${stdout.toString().trim()} bytes to read, not ${bytes}`);
}

function outcome(samples: ReadonlyMap<string, readonly MemorySample[]>, bytes: number, method: string): Outcome {
  const figures: Record<string, number> = {};
  const notes: string[] = [];
  for (const [name, taken] of samples) {
    const one = median(taken.map((sample) => sample.one));
    const both = median(taken.map((sample) => sample.both));
    figures[`shared_one_${name}_bytes`] = one;
    figures[`shared_both_${name}_bytes`] = both;
    notes.push(sentence(name, one, both));
  }
  if (notes.length === 0) return { results: [] };
  const heading = `Memory that reading one directory of ${megabytes(bytes)} takes, and reading a second one that shares 90 % of its files with it (${method}; daemons included):`;
  return { results: [], figures, notes: [heading, ...notes] };
}

const sentence = (name: string, one: number, both: number): string =>
  `${name}: ${megabytes(one)} for one, ${megabytes(both)} for both, so the second one takes ${Math.round(((both - one) / one) * 100)} % more`;

const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(0)} MB`;
