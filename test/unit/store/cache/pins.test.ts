/** Objects and files of pinned images stay. */
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { digestContent } from '../../../../src/base/digest.ts';
import { CacheDirectory, cachedImage, cachePart } from '../../../../src/store/cache/cache-directory.ts';
import { type CacheUsage, cacheUsage } from '../../../../src/store/cache/cache-usage.ts';
import { CacheWriter } from '../../../../src/store/cache/cache-writer.ts';
import { type Eviction, type EvictOptions, evict } from '../../../../src/store/cache/eviction.ts';
import { unpin } from '../../../../src/store/cache/pins.ts';
import { registerImage } from '../../../../src/store/gc/register.ts';
import { openCache } from '../../../../src/store/open-repository.ts';

const ID = 'a'.repeat(64);
const OTHER = 'b'.repeat(64);
let directory: string;
let path: string;
let objects: readonly { readonly digest: Uint8Array; readonly file: string }[];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'cfs-cache-'));
  path = join(directory, 'cache');
  const writer = new CacheWriter(part(), 'blake3');
  objects = Array.from({ length: 6 }, (_, i) => {
    const content = Buffer.from(`object ${i}`);
    const digest = digestContent('blake3', content);
    writer.putBytes(content, digest);
    return { digest: digest.digest, file: openCache(part(), 'blake3').objectPath(digest.digest) };
  });
  writer.close();
  mkdirSync(join(path, 'images'));
  for (const id of [ID, OTHER]) writeFileSync(cachedImage(path, id), 'image');
});

afterEach(() => rmSync(directory, { recursive: true }));

const part = (): string => cachePart(path, 'blake3');

/** Pins an image that needs these objects, and one that the cache does not have. */
async function pin(image: string, rows: readonly number[]): Promise<void> {
  const digests = [...rows.map((row) => (objects[row] as { digest: Uint8Array }).digest), new Uint8Array(32)];
  await registerImage(
    openCache(part(), 'blake3'),
    {
      image,
      hash: 'blake3',
      bytes: 100,
      path: '',
      complete: false,
      digests: Buffer.concat(digests.sort(Buffer.compare)),
    },
    true,
  );
}

async function inCache<T>(work: (cache: CacheDirectory) => Promise<T>): Promise<T> {
  const cache = CacheDirectory.open(path, { toDelete: true });
  try {
    return await work(cache);
  } finally {
    cache.close();
  }
}

const cleared = (options?: EvictOptions): Promise<Eviction> => inCache((cache) => evict(cache, () => 0, options));
const usage = (): Promise<CacheUsage> => inCache((cache) => cacheUsage(cache));
const there = (): boolean[] => objects.map(({ file }) => existsSync(file));

test('objects of pinned images stay, with the image files', async () => {
  await pin(ID, [0, 1]);
  await pin(OTHER, [1, 2]);
  rmSync(cachedImage(path, OTHER));
  expect(await cleared()).toMatchObject({ deleted: { object: 3, image: 0 }, problems: [] });
  expect(there()).toEqual([true, true, true, false, false, false]);
  expect((await usage()).pins).toMatchObject([
    { id: ID, objects: 3, cached: 2, hasImage: true, problem: undefined },
    { id: OTHER, objects: 3, cached: 2, hasImage: false },
  ]);
  expect(await inCache(async ({ repositories: [repository] }) => unpin(repository as never, ID))).toBe(true);
  expect(await cleared()).toMatchObject({ deleted: { object: 1, image: 1 } });
  expect(there()).toEqual([false, true, true, false, false, false]);
  expect(await inCache(async ({ repositories: [repository] }) => unpin(repository as never, ID))).toBe(false);
  for (const name of ['leases', 'tmp']) expect(readdirSync(join(part(), name))).toEqual([]);
  // eviction by a mount obeys pins, too
  const writer = new CacheWriter(part(), 'blake3');
  expect(await writer.evict(() => 0)).toMatchObject({ deleted: { object: 0 } });
  writer.close();
});

test.each([
  ['cut off', () => truncateSync(join(part(), 'roots', ID), 50)],
  ['empty', () => truncateSync(join(part(), 'roots', ID), 0)],
  [
    'a link',
    () => {
      rmSync(join(part(), 'roots', ID));
      symlinkSync('/etc/passwd', join(part(), 'roots', ID));
    },
  ],
  [
    'a directory',
    () => {
      rmSync(join(part(), 'roots', ID));
      mkdirSync(join(part(), 'roots', ID, 'deep'), { recursive: true });
    },
  ],
])('a pin that is %s is reported, and can be given up', async (_, damage) => {
  await pin(ID, [0, 1]);
  await pin(OTHER, [2]);
  damage();
  await expect(cleared({ strict: true })).rejects.toThrow('Nothing is deleted');
  expect((await usage()).pins).toMatchObject([{ id: ID, objects: undefined, problem: expect.any(String) }, {}]);
  // a mount must go on
  expect(await cleared()).toMatchObject({ deleted: { object: 5, image: 0 }, problems: [expect.any(String)] });
  expect(there()).toEqual([false, false, true, false, false, false]);
  expect(await inCache(async ({ repositories: [repository] }) => unpin(repository as never, ID))).toBe(true);
  expect((await usage()).pins).toMatchObject([{ id: OTHER }]);
  expect(await cleared({ strict: true })).toMatchObject({ deleted: { image: 1 }, problems: [] });
  expect(readdirSync(join(part(), 'leases'))).toEqual([]);
});

test('an image that is pinned while files are deleted keeps its objects', async () => {
  await pin(ID, [0, 1]);
  const [root, aside] = [join(part(), 'roots', ID), join(directory, 'aside')];
  renameSync(root, aside);
  let asked = 0;
  const pinning = (): number => {
    asked++;
    renameSync(aside, root);
    return 0;
  };
  expect(await inCache((cache) => evict(cache, pinning))).toMatchObject({ deleted: { object: 4, image: 1 } });
  expect([asked, there()]).toEqual([1, [true, true, false, false, false, false]]);
});

test('a pin is no eviction', async () => {
  const writer = new CacheWriter(part(), 'blake3');
  const before = writer.evictions;
  await pin(ID, [0]);
  expect(writer.evictions).toBe(before);
  await cleared();
  expect(writer.evictions).not.toBe(before);
});

test('a cache is made again beside the pins of one that is just being deleted', async () => {
  await pin(ID, [0]);
  rmSync(join(part(), 'meta.json'));
  openCache(part(), 'blake3');
  expect(await cleared({ strict: true })).toMatchObject({ deleted: { object: 5, image: 1 } });
});
