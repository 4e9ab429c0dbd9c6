/** The trees that are generated. All of their bytes come from one seed. */
import { closeSync, openSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import type { Bench, Tree } from './contract.ts';
import { run } from './process.ts';
import { type Random, seeded } from './random.ts';
import { surveyTree } from './trees.ts';

/** The name of the only file of the large tree. */
export const LARGE_FILE_NAME = 'large.bin';

const MIB = 1_048_576;
const SEED = 20_240_607;
const FILES_PER_DIRECTORY = 100;

export type Sizes = (random: Random) => number;

/** `count` files of 1 to 16 KiB in directories of 100. */
export async function makeSmallTree(count: number, bench: Bench): Promise<Tree> {
  bench.progress(`making ${count} small files`);
  const name = `small-${count}`;
  const path = bench.scratch.directory(name);
  await writeFiles(path, count, (random) => 1024 + random.below(15 * 1024), SEED, bench);
  return surveyTree('small', name, path, bench);
}

/**
 * Writes `count` files of bytes that neither compress nor repeat, in directories of 100.
 * @param from number of the first: files of equal number and seed have equal contents
 */
export async function writeFiles(
  path: string,
  count: number,
  sizes: Sizes,
  seed: number,
  bench: Bench,
  from = 0,
): Promise<void> {
  const random = seeded(seed);
  const pool = Buffer.alloc(MIB);
  fill(pool, random);
  for (let i = from; i < from + count; i++) {
    if (i % FILES_PER_DIRECTORY === 0 || i === from) bench.scratch.directory(directoryOf(path, i, bench));
    const size = sizes(random);
    const start = random.below(pool.length - size);
    pool.writeUInt32LE(i, start); // no two have the same content
    const name = `f${String(i).padStart(7, '0')}`;
    writeFileSync(join(bench.scratch.path, directoryOf(path, i, bench), name), pool.subarray(start, start + size));
    if (i % 1000 === 0) await breathe(bench);
  }
}

/** Relative to the scratch directory. */
const directoryOf = (path: string, file: number, bench: Bench): string =>
  join(
    path.slice(bench.scratch.path.length + 1),
    `d${String(Math.floor(file / FILES_PER_DIRECTORY)).padStart(5, '0')}`,
  );

/** One file of `size` bytes that neither compress nor repeat. */
export async function makeLargeTree(size: number, bench: Bench): Promise<Tree> {
  bench.progress(`making a file of ${size} bytes`);
  const directory = bench.scratch.directory('large');
  const random = seeded(SEED);
  const piece = Buffer.alloc(MIB);
  fill(piece, random);
  const fd = openSync(join(directory, LARGE_FILE_NAME), 'w');
  try {
    for (let at = 0; at < size; at += piece.length) {
      for (let block = 0; block < piece.length; block += 4096) piece.writeUInt32LE((at + block) / 4096, block);
      writeSync(fd, piece, 0, Math.min(piece.length, size - at));
      if (at % (64 * MIB) === 0) await breathe(bench);
    }
  } finally {
    closeSync(fd);
  }
  return surveyTree('large', 'large', directory, bench);
}

/** Of every file of the checkout, so that the index is younger than all of them: git then trusts the index. */
const CHECKOUT_TIME = '2020-01-01 00:00:00 UTC';

/** A git checkout of `count` files of 1 to 8 KiB, all unchanged. @param name of the tree and its directory */
export async function makeCheckout(count: number, bench: Bench, name = 'checkout'): Promise<Tree> {
  bench.progress(`making a git checkout of ${count} files`);
  const path = bench.scratch.directory(name);
  await writeFiles(path, count, (random) => 1024 + random.below(7 * 1024), SEED, bench);
  const git = (...args: readonly string[]): Promise<unknown> =>
    run(
      ['git', '-C', path, '-c', 'user.name=cfs-bench', '-c', 'user.email=cfs-bench@localhost', ...args],
      bench.signal,
    );
  await git('init', '--quiet', '--template=');
  await git('add', '--all');
  await git('-c', 'gc.auto=0', 'commit', '--quiet', '--no-verify', '--message=cfs-bench');
  await git('repack', '-adq', '--window=0');
  await run(
    ['find', path, '-path', `${path}/.git`, '-prune', '-o', '-exec', 'touch', '-d', CHECKOUT_TIME, '{}', '+'],
    bench.signal,
  );
  await git('status', '--porcelain'); // the index learns the times
  return surveyTree('checkout', name, path, bench);
}

function fill(bytes: Buffer, random: Random): void {
  for (let at = 0; at + 4 <= bytes.length; at += 4) bytes.writeUInt32LE(random.next(), at);
}

/** Lets a signal in. */
async function breathe(bench: Bench): Promise<void> {
  await new Promise(setImmediate);
  bench.signal.throwIfAborted();
}
