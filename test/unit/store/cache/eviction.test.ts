/** What is deleted from a cache, and what stays. */
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { digestContent, HASH_ALGORITHMS } from '../../../../src/base/digest.ts';
import { CacheDirectory, cachedImage, cachePart } from '../../../../src/store/cache/cache-directory.ts';
import { cacheUsage } from '../../../../src/store/cache/cache-usage.ts';
import { CacheWriter } from '../../../../src/store/cache/cache-writer.ts';
import { type Allowance, type Eviction, type EvictOptions, evict } from '../../../../src/store/cache/eviction.ts';
import { keepInUse } from '../../../../src/store/cache/image-use.ts';
import { initRepository, openRepository } from '../../../../src/store/open-repository.ts';

const PAGE = 4096;
/** The time of the last use is never before that of the last change, which is now. */
const NEXT_YEAR = Date.now() / 1000 + 365 * 86_400;
let directory: string;
let path: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'cfs-cache-'));
  path = join(directory, 'cache');
});

afterEach(() => rmSync(directory, { recursive: true }));

/** Objects of both algorithms and images, each of a page, in the order in which they were used. */
function fill(): readonly string[] {
  mkdirSync(join(path, 'images'), { recursive: true });
  const files = [0, 1, 2].flatMap((round) => [
    ...HASH_ALGORITHMS.map((hash) => {
      const writer = new CacheWriter(cachePart(path, hash), hash);
      const content = digestContent(hash, Buffer.alloc(PAGE, round + 1));
      writer.putBytes(Buffer.alloc(PAGE, round + 1), content);
      writer.close();
      return openRepository(cachePart(path, hash)).objectPath(content.digest);
    }),
    imageFile(round),
  ]);
  for (const [i, file] of files.entries()) utimesSync(file, NEXT_YEAR + i, NEXT_YEAR);
  return files;
}

function imageFile(number: number): string {
  const file = cachedImage(path, String(number).repeat(64));
  writeFileSync(file, Buffer.alloc(PAGE));
  return file;
}

async function evicted(allowance: Allowance, options?: EvictOptions): Promise<Eviction> {
  const cache = CacheDirectory.open(path, { toDelete: true });
  try {
    return await evict(cache, allowance, options);
  } finally {
    cache.close();
  }
}

const there = (files: readonly string[]): boolean[] => files.map((file) => existsSync(file));

test('objects of both algorithms and images count together, and the oldest go first', async () => {
  const files = fill();
  expect(await evicted((before) => before)).toMatchObject({ before: 9 * PAGE, after: 9 * PAGE });
  const plan = { before: 9 * PAGE, after: 4 * PAGE, deleted: { object: 4, image: 1, leftover: 0 }, problems: [] };
  expect(await evicted(() => 4 * PAGE + 1, { dryRun: true })).toEqual(plan);
  expect(there(files)).toEqual(Array(9).fill(true));
  const watching = new CacheWriter(cachePart(path, 'blake3'), 'blake3');
  const before = watching.evictions;
  expect(await evicted(() => 4 * PAGE + 1)).toEqual(plan);
  expect(there(files)).toEqual([...Array(5).fill(false), ...Array(4).fill(true)]);
  // mounts notice it
  expect(watching.evictions).not.toBe(before);
});

test('an image that is in use stays, and a mount knows when its image is gone', async () => {
  const files = fill();
  const image = openSync(files[2] as string, 'r');
  const gone = openSync(files[5] as string, 'r');
  try {
    expect(keepInUse(image)).toBe(true);
    const cache = CacheDirectory.open(path, { toDelete: false });
    expect(await cacheUsage(cache)).toMatchObject({ images: { count: 3, bytes: 3 * PAGE }, imagesInUse: 1 });
    cache.close();
    expect(await evicted(() => 0)).toMatchObject({ after: PAGE, deleted: { object: 6, image: 2 } });
    expect(there(files)).toEqual(files.map((file) => file === files[2]));
    expect(keepInUse(gone)).toBe(false);
  } finally {
    closeSync(image);
    closeSync(gone);
  }
  expect(await evicted(() => 0)).toMatchObject({ after: 0, deleted: { image: 1 } });
});

test('what killed programs left is deleted first, and what others planted harms nothing', async () => {
  const files = fill();
  const outside = join(directory, 'outside');
  writeFileSync(outside, 'outside');
  const yesterday = Date.now() / 1000 - 86_400;
  const leftover = join(path, 'images', `${'7'.repeat(64)}.cfs.0123456789ab.tmp`);
  const temporary = join(path, 'blake3/tmp/0123456789abcdef-0');
  for (const file of [leftover, temporary]) {
    writeFileSync(file, Buffer.alloc(PAGE));
    utimesSync(file, yesterday, yesterday);
  }
  const link = cachedImage(path, '8'.repeat(64));
  symlinkSync(outside, link);
  const foreign = join(path, 'images', 'notes.txt');
  writeFileSync(foreign, 'notes');
  mkdirSync(cachedImage(path, '9'.repeat(64)));
  // files that have just been changed may still be written
  expect(await evicted((before) => before - 1)).toMatchObject({ deleted: { leftover: 1 } });
  expect(there([link, leftover, temporary, outside])).toEqual([false, true, true, true]);
  expect(await evicted(() => 0)).toMatchObject({ after: 0 });
  expect(there([...files, outside, foreign])).toEqual([...files.map(() => false), true, true]);
});

test('other directories are not taken for a cache', () => {
  const refusal = (dir: string): string => {
    try {
      CacheDirectory.open(dir, { toDelete: true }).close();
      return 'none';
    } catch (error) {
      return (error as Error).message;
    }
  };
  expect(refusal(path)).toContain('there is no such directory');
  mkdirSync(path);
  expect(refusal(path)).toBe('none');
  mkdirSync(join(path, 'images'));
  expect(refusal(path)).toBe('none');
  writeFileSync(join(path, 'letter'), '');
  expect(refusal(path)).toContain('it contains "letter"');
  fill();
  expect(refusal(path)).toBe('none');
  expect(refusal(join(path, 'blake3'))).toContain('it is a part of a cache');
  expect(refusal(join(path, 'letter'))).toContain('not a directory');

  const store = join(directory, 'store');
  initRepository(store, 'blake3');
  expect(refusal(store)).toContain('it is a repository');
  initRepository(join(directory, 'other/blake3'), 'blake3');
  expect(refusal(join(directory, 'other'))).toContain('a repository that is no cache');
  mkdirSync(join(directory, 'linked'));
  symlinkSync(cachePart(path, 'blake3'), join(directory, 'linked/blake3'));
  expect(refusal(join(directory, 'linked'))).toContain('is a symbolic link');
});

test('a mount leaves out parts of its cache that it cannot use', async () => {
  const files = fill();
  const writer = new CacheWriter(cachePart(path, 'blake3'), 'blake3');
  rmSync(cachePart(path, 'fsverity-sha256'), { recursive: true });
  initRepository(cachePart(path, 'fsverity-sha256'), 'fsverity-sha256');
  writeFileSync(join(path, 'letter'), '');
  expect(await writer.evict(() => 0)).toMatchObject({ before: 6 * PAGE, after: 0, deleted: { object: 3, image: 3 } });
  expect(there(files)).toEqual(Array(9).fill(false));
  writer.close();
});

test('two runs at the same time, and one that is stopped', async () => {
  const files = fill();
  const signal = AbortSignal.abort(new Error('stopped'));
  await expect(evicted(() => 0, { signal })).rejects.toThrow('stopped');
  expect(there(files)).toEqual(Array(9).fill(true));
  const runs = await Promise.all([evicted(() => 0), evicted(() => 0)]);
  expect(runs.map(({ after }) => after)).toEqual([0, 0]);
  expect(there(files)).toEqual(Array(9).fill(false));
});
