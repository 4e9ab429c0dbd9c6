/** Reads and writes a large file with fio(1), which many people use for that. */
import { CfsError } from '../src/base/error.ts';
import type { Bench } from './contract.ts';
import { run } from './process.ts';

export interface FioJob {
  /** `sync`: read(2); `psync`: pwrite(2); `mmap`: memory that the file is mapped to. */
  readonly engine: 'sync' | 'psync' | 'mmap';
  /** `randwrite` changes a file that exists, and syncs nothing. */
  readonly pattern: 'read' | 'randread' | 'randwrite';
  /** Bytes of one read or write. */
  readonly block: number;
  /** Bytes in all. */
  readonly bytes: number;
}

export interface FioTime {
  /** From before the file is opened until the last byte is read or written; fio reports milliseconds. */
  readonly ns: number;
  /** Reads or writes. */
  readonly count: number;
  readonly bytes: number;
}

/** The arguments of fio for one job on `file`. */
export function fioArguments(file: string, { engine, pattern, block, bytes }: FioJob): string[] {
  return [
    '--name=cfs-bench',
    `--filename=${file.replace(/[:\\]/g, '\\$&')}`,
    `--ioengine=${engine}`,
    `--rw=${pattern}`,
    `--bs=${block}`,
    `--io_size=${bytes}`,
    '--norandommap',
    ...(pattern === 'randwrite' ? ['--overwrite=1', '--fallocate=none'] : ['--readonly']),
    '--thread',
    // fio would throw the file out of the page cache at its start
    '--invalidate=0',
    '--output-format=json',
  ];
}

/** What fio reports of one direction: milliseconds, operations, bytes. */
interface Transfers {
  readonly runtime: number;
  readonly total_ios: number;
  readonly io_bytes: number;
}

/** @param output the output of fio --output-format=json. @throws CfsError (system) if it is invalid, or fio failed */
export function parseFio(output: string): FioTime {
  // messages of fio may come before the object
  const text = output.slice(Math.max(0, output.search(/^\{/m)));
  try {
    const { jobs } = JSON.parse(text) as {
      jobs: { error: number; read: Transfers; write?: Transfers }[];
    };
    const [job] = jobs;
    if (job === undefined || job.error !== 0) throw new Error(`error ${job?.error}`);
    const { read, write } = job;
    const { runtime, total_ios, io_bytes } = write !== undefined && write.total_ios > 0 ? write : read;
    // less than a millisecond is reported as 0, and dividing by it is impossible
    return { ns: Math.max(runtime, 1) * 1e6, count: total_ios, bytes: io_bytes };
  } catch (error) {
    throw new CfsError('system', `Cannot parse the output of fio: ${(error as Error).message}`);
  }
}

/** Runs one job. @throws CfsError (system) if it read or wrote less than it should */
export async function runFio(file: string, job: FioJob, bench: Bench): Promise<FioTime> {
  const { stdout } = await run(['fio', ...fioArguments(file, job)], bench.signal, 'collect');
  const time = parseFio(stdout.toString());
  if (time.bytes !== job.bytes)
    throw new CfsError('system', `fio transferred ${time.bytes} bytes of ${file}, not ${job.bytes}`);
  return time;
}
