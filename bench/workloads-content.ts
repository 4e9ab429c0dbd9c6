/** Workloads that read contents. */
import { join } from 'node:path';
import { CfsError } from '../src/base/error.ts';
import type { Bench, CacheState, Tree, Turn, Work, Workload } from './contract.ts';
import { type FioJob, runFio } from './fio.ts';
import { LARGE_FILE_NAME } from './generated-trees.ts';
import { findProgram, missingProgram, run } from './process.ts';
import { timeProbe } from './run-probe.ts';
import { SMALL_FILE_LIMIT } from './trees.ts';

const BOTH: readonly CacheState[] = ['cold', 'warm'];

/** Random reads of one sample. Cold ones go to the disk, one at a time. */
const RANDOM_READS: Readonly<Record<CacheState, number>> = { cold: 2_000, dropped: 2_000, warm: 100_000 };
const RANDOM_BLOCK = 4096;
const LARGE_BLOCK = 1_048_576;

const smallFiles = (tree: Tree): Work => ({ count: tree.small.count, unit: 'files', bytes: tree.small.bytes });

function openWith(threads: number, name: string, title: string): Workload {
  return {
    name,
    title,
    trees: ['source', 'small'],
    states: BOTH,
    rates: ['count'],
    work: smallFiles,
    run: ({ root, tree, bench }) =>
      timeProbe('open', smallFiles(tree), [root, tree.small.file, String(SMALL_FILE_LIMIT), String(threads)], bench),
  };
}

export const OPEN: Workload = openWith(1, 'open', 'open+read+close');
export const OPEN_4: Workload = openWith(4, 'open4', 'open+read+close, 4 threads');

/**
 * How much two archives of the same tree may differ in size: tar fills up to 10 KiB, the order of the names of a hard
 * link can cost a long name, and fuse-overlayfs shows some hard links as files of their own.
 */
const tarTolerance = (bytes: number): number => 65_536 + bytes * 0.001;

/** tar reads nothing when its output is /dev/null, so it goes through a pipe, to a program that counts. */
const TAR = 'set -o pipefail; tar --create --numeric-owner --file=- --directory="$1" . | wc --bytes';

async function archive(root: string, bench: Bench): Promise<{ ns: number; bytes: number }> {
  const { ns, stdout } = await run(['bash', '-c', TAR, 'bash', root], bench.signal, 'collect');
  return { ns, bytes: Number(stdout.toString()) };
}

/** The size of the archive of the directory itself. */
const archiveSize = (tree: Tree, bench: Bench): Promise<string> =>
  bench.once(`tar ${tree.name}`, async () => String((await archive(tree.path, bench)).bytes));

export const TAR_ALL: Workload = {
  name: 'tar',
  title: 'tar of everything',
  trees: ['source', 'small'],
  states: BOTH,
  rates: ['bytes'],
  // before the caches are dropped for the first time
  unavailable: async (tree, bench) => {
    await archiveSize(tree, bench);
    return undefined;
  },
  work: (tree) => ({ count: tree.files, unit: 'files', bytes: tree.bytes }),
  run: async ({ root, tree, bench }) => {
    await run(['tar', '--version'], bench.signal);
    const expected = Number(await archiveSize(tree, bench));
    const { ns, bytes } = await archive(root, bench);
    if (Math.abs(bytes - expected) <= tarTolerance(expected)) return ns;
    throw new CfsError('system', `the archive has ${bytes} bytes; that of ${tree.path} has ${expected}`);
  },
};

/** The program that reads the large file. */
export const largeFileReader = (): 'fio' | 'probe' => (findProgram('fio') === undefined ? 'probe' : 'fio');

const wholeFile = (tree: Tree): Work => ({ count: 1, unit: 'files', bytes: tree.bytes });

const fioNs = async (job: FioJob, { root, bench }: Turn): Promise<number> => {
  await run(['fio', '--version'], bench.signal);
  return (await runFio(join(root, LARGE_FILE_NAME), job, bench)).ns;
};

export const SEQUENTIAL: Workload = {
  name: 'sequential',
  title: 'sequential read',
  trees: ['large'],
  states: BOTH,
  rates: ['bytes'],
  work: wholeFile,
  run: (turn) => {
    const { root, tree, bench } = turn;
    if (largeFileReader() === 'probe') {
      return timeProbe('sequential', wholeFile(tree), [root, LARGE_FILE_NAME], bench);
    }
    return fioNs({ engine: 'sync', pattern: 'read', block: LARGE_BLOCK, bytes: tree.bytes }, turn);
  },
};

const randomWork = (state: CacheState): Work => ({
  count: RANDOM_READS[state],
  unit: 'reads',
  bytes: RANDOM_READS[state] * RANDOM_BLOCK,
});

export const RANDOM: Workload = {
  name: 'random',
  title: 'random 4 KiB reads',
  trees: ['large'],
  states: BOTH,
  rates: ['count'],
  work: (_tree, state) => randomWork(state),
  run: async (turn) => {
    const { root, state, bench } = turn;
    const work = randomWork(state);
    // warm means here that the whole file was read, not only the blocks that the previous turn chose
    if (state === 'warm') await run(['cat', join(root, LARGE_FILE_NAME)], bench.signal);
    if (largeFileReader() === 'probe') {
      return timeProbe('random', work, [root, LARGE_FILE_NAME, String(work.count)], bench);
    }
    return fioNs({ engine: 'sync', pattern: 'randread', block: RANDOM_BLOCK, bytes: work.bytes }, turn);
  },
};

export const MMAP: Workload = {
  name: 'mmap',
  title: 'read by mmap',
  trees: ['large'],
  states: BOTH,
  rates: ['bytes'],
  unavailable: () => Promise.resolve(missingProgram('fio', 'Debian: fio; node cannot map a file')),
  work: wholeFile,
  run: (turn) => fioNs({ engine: 'mmap', pattern: 'read', block: LARGE_BLOCK, bytes: turn.tree.bytes }, turn),
};
