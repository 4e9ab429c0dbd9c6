/**
 * The loops, run as a separate process so that they are the same for every system:
 *
 *     node probe.js LOOP ROOT ARGUMENTS…
 *
 * Prints {"ns", "count", "bytes"}: the time of the loop alone, without the start of node and the reading that prepares
 * it.
 */
import { closeSync, fstatSync, lstatSync, openSync, readFileSync, readSync } from 'node:fs';
import { readInThreads } from './probe-threads.ts';
import { seeded, shuffle } from './random.ts';
import { WRITE_LOOPS } from './write-probe.ts';

export interface Probed {
  readonly ns: number;
  readonly count: number;
  readonly bytes: number;
}

type Done = Omit<Probed, 'ns'>;
type Loop = () => Done | Promise<Done>;

const MIB = 1_048_576;
const BLOCK = 4096;
const SEED = 4096;

/** The absolute paths of a NUL-terminated list. */
function pathsIn(root: string, list: string): Buffer[] {
  const relative = readFileSync(list, 'latin1').split('\0').slice(0, -1);
  return relative.map((path) => Buffer.concat([Buffer.from(`${root}/`), Buffer.from(path, 'latin1')]));
}

/** `stat ROOT LIST`: lstat(2) of each path, in an order that a fixed seed chooses. */
function statEach(root: string, list: string): Loop {
  const paths = shuffle(pathsIn(root, list), seeded(SEED));
  return () => {
    for (const path of paths) lstatSync(path);
    return { count: paths.length, bytes: 0 };
  };
}

/**
 * `missing ROOT LIST`: lstat(2) of a name that does not exist, beside each path; counts the names that are not found.
 */
function statMissing(root: string, list: string): Loop {
  const paths = shuffle(pathsIn(root, list), seeded(SEED));
  const missing = paths.map((path, i) => {
    return Buffer.concat([path.subarray(0, path.lastIndexOf('/') + 1), Buffer.from(`.cfs-bench-missing-${i}`)]);
  });
  return () => {
    let count = 0;
    for (const path of missing) if (lstatSync(path, { throwIfNoEntry: false }) === undefined) count++;
    return { count, bytes: 0 };
  };
}

/** `open ROOT LIST SIZE THREADS`: open, read up to SIZE bytes, close, for each path; the threads share the paths. */
function openEach(root: string, list: string, size: string, threads: string): Promise<Loop> {
  return readInThreads(pathsIn(root, list), Number(size), Number(threads));
}

/** `sequential ROOT NAME`: open, read 1 MiB at a time to the end, close. */
function readAll(root: string, name: string): Loop {
  const buffer = Buffer.alloc(MIB);
  return () => {
    const fd = openSync(`${root}/${name}`, 'r');
    let bytes = 0;
    for (let n = 1; n > 0; bytes += n) n = readSync(fd, buffer, 0, buffer.length, null);
    closeSync(fd);
    return { count: 1, bytes };
  };
}

/** `random ROOT NAME COUNT`: open, read COUNT aligned blocks of 4 KiB chosen by a fixed seed, close. */
function readRandom(root: string, name: string, count: string): Loop {
  const buffer = Buffer.alloc(BLOCK);
  const random = seeded(SEED);
  const choices = Float64Array.from({ length: Number(count) }, () => random.next() / 0x1_0000_0000);
  return () => {
    const fd = openSync(`${root}/${name}`, 'r');
    const blocks = Math.floor(fstatSync(fd).size / BLOCK);
    let bytes = 0;
    for (const choice of choices) bytes += readSync(fd, buffer, 0, BLOCK, Math.floor(choice * blocks) * BLOCK);
    closeSync(fd);
    return { count: choices.length, bytes };
  };
}

const LOOPS: Readonly<Record<string, (...args: string[]) => Loop | Promise<Loop>>> = {
  stat: statEach,
  missing: statMissing,
  open: openEach,
  sequential: readAll,
  random: readRandom,
  ...WRITE_LOOPS,
};

const [, , name = '', ...args] = process.argv;
const loop = await LOOPS[name]?.(...args);
if (loop === undefined) throw new Error(`no loop "${name}"; there are ${Object.keys(LOOPS).join(', ')}`);
try {
  const begin = process.hrtime.bigint();
  const { count, bytes } = await loop();
  const ns = Number(process.hrtime.bigint() - begin);
  process.stdout.write(`${JSON.stringify({ ns, count, bytes } satisfies Probed)}\n`);
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
