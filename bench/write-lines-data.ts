/** Lines that write, and read again, the content of one file. */
import { rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { CfsError } from '../src/base/error.ts';
import type { Bench, Work } from './contract.ts';
import { runFio } from './fio.ts';
import { run } from './process.ts';
import { timeProbe } from './run-probe.ts';
import { largeFileReader } from './workloads-content.ts';
import type { WriteLine, WriteTurn } from './writing.ts';

const MIB = 1_048_576;
const FILE = 'large';

/** Writes of one sample, for each file of a sample of other lines: 100,000 for 5,000. */
const WRITES_PER_FILE = 20;
const SMALL_WRITE = 512;
const BLOCK = 4096;
/** The file for random writes: a quarter of the large file. */
const RANDOM_PART = 4;

const largeWrites = ({ largeSize }: Bench): Work => ({
  count: largeSize / MIB,
  unit: 'writes',
  bytes: largeSize,
});

const largeFile = ({ largeSize }: Bench): Work => ({ count: 1, unit: 'files', bytes: largeSize });

const smallWrites = ({ writeFiles }: Bench): Work => {
  const count = writeFiles * WRITES_PER_FILE;
  return { count, unit: 'writes', bytes: count * SMALL_WRITE };
};

const randomWrites = ({ writeFiles }: Bench): Work => {
  const count = writeFiles * WRITES_PER_FILE;
  return { count, unit: 'writes', bytes: count * BLOCK };
};

const fileOf = ({ directory }: WriteTurn): string => join(directory, FILE);

const append = (turn: WriteTurn, { count, unit, bytes }: Work, size: number): Promise<number> =>
  timeProbe('append', { count, unit, bytes }, [fileOf(turn), String(count), String(size)], turn.bench);

const writeLarge = (turn: WriteTurn): Promise<number> => append(turn, largeWrites(turn.bench), MIB);

const removeFile = async (turn: WriteTurn): Promise<void> => rmSync(fileOf(turn), { force: true });

const checkSize =
  (work: (bench: Bench) => Work) =>
  async (turn: WriteTurn): Promise<void> => {
    const { size } = statSync(fileOf(turn));
    const { bytes } = work(turn.bench);
    if (size !== bytes) throw new CfsError('system', `the file has ${size} bytes, not ${bytes}`);
  };

/**
 * Memory that a virtual machine has not used for some seconds belongs to its host again. Getting it back takes longer
 * than to write to it: the file is written and removed once before.
 */
async function touchMemory(turn: WriteTurn): Promise<void> {
  await writeLarge(turn);
  await removeFile(turn);
}

export const WRITE_LARGE: WriteLine = {
  name: 'write-large',
  title: 'write a large file',
  rates: ['bytes'],
  work: largeWrites,
  prepare: touchMemory,
  run: writeLarge,
  check: checkSize(largeWrites),
  finish: removeFile,
};

export const READ_LARGE: WriteLine = {
  name: 'write-read-large',
  title: 'read it back, warm',
  rates: ['bytes'],
  work: largeFile,
  prepare: async (turn) => {
    await writeLarge(turn);
    await run(['cat', fileOf(turn)], turn.bench.signal);
  },
  run: (turn) => timeProbe('sequential', largeFile(turn.bench), [turn.directory, FILE], turn.bench),
  finish: removeFile,
};

export const SMALL_WRITES: WriteLine = {
  name: 'write-512',
  title: 'writes of 512 bytes to one file',
  rates: ['count'],
  work: smallWrites,
  run: (turn) => append(turn, smallWrites(turn.bench), SMALL_WRITE),
  check: checkSize(smallWrites),
  finish: removeFile,
};

export const RANDOM_WRITES: WriteLine = {
  name: 'write-random',
  title: 'random 4 KiB writes',
  rates: ['count'],
  work: randomWrites,
  prepare: async (turn) => {
    const bytes = Math.ceil(turn.bench.largeSize / RANDOM_PART / MIB) * MIB;
    await append(turn, { count: bytes / MIB, unit: 'writes', bytes }, MIB);
  },
  run: async (turn) => {
    const { bench } = turn;
    const work = randomWrites(bench);
    if (largeFileReader() === 'probe') return timeProbe('scatter', work, [fileOf(turn), String(work.count)], bench);
    await run(['fio', '--version'], bench.signal);
    const job = { engine: 'psync', pattern: 'randwrite', block: BLOCK, bytes: work.bytes } as const;
    return (await runFio(fileOf(turn), job, bench)).ns;
  },
  finish: removeFile,
};
