/** Packing again: the cache of the source never changes the image, whatever happens to source, store and cache. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  appendFileSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { setTime } from '../support/libc.ts';
import { Random } from '../support/random.ts';
import { expectWhole, manyFiles, mkimage, mountTmpfs, objectsIn, packed, start, temporariesIn } from './cli.ts';
import { useScratch } from './harness.ts';
import { HERE, succeed } from './run.ts';

const scratch = useScratch();

/** The built program, in this process: its threads are not loaded from sources. */
const built = <T>(module: string): Promise<T> => import(new URL(`../../dist/src/${module}.js`, import.meta.url).href);
const { packImage } = await built<typeof import('../../src/pack/pack-image.ts')>('pack/pack-image');
const { openDirectorySource } =
  await built<typeof import('../../src/pack/sources/directory.ts')>('pack/sources/directory');
const { openOrInitRepository } =
  await built<typeof import('../../src/store/open-repository.ts')>('store/open-repository');

const SETTLED_MS = 30;

/** Packs without waiting two seconds for files to settle. */
function pack(source: string, store: string, rehash = false): ReturnType<typeof packImage> {
  const repository = openOrInitRepository(store);
  const options = { useEpoch: false, skipXattrs: false, skipDevices: false, oneFileSystem: false, warn: () => {} };
  return packImage(openDirectorySource(source, options), {
    repository,
    image: `${store}.cfs`,
    inlineMax: 64,
    threads: 2,
    durable: false,
    repositories: [],
    rehash,
    register: true,
    settledMs: SETTLED_MS,
  });
}

const settle = (): Promise<void> => sleep(SETTLED_MS + 30);
const cacheFiles = (store: string): string[] => readdirSync(`${store}/cache`).map((name) => `${store}/cache/${name}`);

/** A source of `files` files and a store that remembers them all. */
async function remembered(files = 20): Promise<{ source: string; store: string; id: string }> {
  const source = manyFiles(scratch.directory('source'), files);
  const store = scratch.directory('store');
  await settle();
  const { id, unchangedFiles } = await pack(source, store);
  expect(unchangedFiles).toBe(0);
  expect(await pack(source, store)).toMatchObject({ id, unchangedFiles: files, newObjects: 0 });
  return { source, store, id };
}

describe('packing again', () => {
  test('reads nothing if nothing changed, and makes the same image', async () => {
    const { source, store, id } = await remembered();
    expect(await pack(source, store, true)).toMatchObject({ id, unchangedFiles: 0, newObjects: 0 });
    expect(temporariesIn(store)).toEqual([]);
  });

  test('reads only the files with another size, time or inode', async () => {
    const { source, store } = await remembered();
    const [grown, rewritten, replaced] = readdirSync(source).map((name) => `${source}/${name}`) as [
      string,
      string,
      string,
    ];
    appendFileSync(grown, 'more');
    // same size, same mtime: rsync and git would not see the change without ctime
    const { mtimeMs, size } = statSync(rewritten);
    writeFileSync(rewritten, Buffer.alloc(size, 'x'), { flag: 'r+' });
    setTime(rewritten, Math.floor(mtimeMs / 1000), 0);
    writeFileSync(`${source}/new`, readFileSync(replaced));
    renameSync(`${source}/new`, replaced);
    await settle();
    const again = await pack(source, store);
    expect(again.unchangedFiles).toBe(17);
    expect((await pack(source, scratch.directory('fresh'))).id).toBe(again.id);
  });

  test('reads a file again that changed while it was read, even if size and mtime are the same', async () => {
    const source = scratch.directory('racy');
    const store = scratch.directory('racy-store');
    for (let i = 0; i < 10; i++) {
      writeFileSync(`${source}/file`, `${i} `.padEnd(100, 'a'));
      setTime(`${source}/file`, 1000, 0);
      await pack(source, store);
      writeFileSync(`${source}/file`, `${i} `.padEnd(100, 'b'), { flag: 'r+' });
      setTime(`${source}/file`, 1000, 0);
      const { id } = await pack(source, store);
      expect(id).toBe((await pack(source, store, true)).id);
    }
  });

  test('stores an object again that was removed', async () => {
    const { source, store, id } = await remembered();
    for (const name of objectsIn(store).slice(0, 3)) unlinkSync(`${store}/objects/${name}`);
    expect(await pack(source, store)).toMatchObject({ id, unchangedFiles: 17, newObjects: 3 });
    expectWhole(store);
  });

  test('reports an object of another size', async () => {
    const { source, store } = await remembered();
    truncateSync(`${store}/objects/${objectsIn(store)[0]}`, 1);
    await expect(pack(source, store)).rejects.toThrow(/is damaged: object .* has 1 bytes instead of/);
  });

  test.each([
    ['cut off', (path: string) => truncateSync(path, statSync(path).size >> 1)],
    ['empty', (path: string) => writeFileSync(path, '')],
    ['foreign', (path: string) => writeFileSync(path, 'something else')],
    ['gone', unlinkSync],
  ])('does not mind a cache that is %s, and makes a new one', async (_what, damage) => {
    const { source, store, id } = await remembered();
    for (const path of cacheFiles(store)) damage(path);
    expect(await pack(source, store)).toMatchObject({ id, unchangedFiles: 0 });
    expect(await pack(source, store)).toMatchObject({ id, unchangedFiles: 20 });
  });

  test('does not trust an overlayfs', async () => {
    const root = await mountTmpfs(scratch.at('overlay'));
    for (const name of ['lower', 'upper', 'work', 'merged']) mkdirSync(`${root}/${name}`);
    manyFiles(`${root}/lower`, 5);
    const layers = `lowerdir=${root}/lower,upperdir=${root}/upper,workdir=${root}/work`;
    await succeed(['mount', '-t', 'overlay', 'overlay', '-o', layers, `${root}/merged`]);
    try {
      const store = scratch.directory('overlay-store');
      await settle();
      for (let i = 0; i < 2; i++) expect((await pack(`${root}/merged`, store)).unchangedFiles).toBe(0);
    } finally {
      await succeed(['umount', `${root}/merged`]);
    }
  });

  test('by several processes at once makes one image', async () => {
    const { source, store, id } = await remembered(500);
    const results = await Promise.all([1, 2, 3].map((n) => pack(source, store, n === 2)));
    expect(results.map((result) => result.id)).toEqual([id, id, id]);
    expect(await pack(source, store)).toMatchObject({ id, unchangedFiles: 500 });
    expectWhole(store);
  });
});

describe('after any changes between two runs', () => {
  test.each([1, 2, 3])('the image is the same as without a cache (seed %i)', async (seed) => {
    const random = new Random(seed);
    const source = manyFiles(scratch.directory('edited'), 12);
    const store = scratch.directory('edited-store');
    const other = scratch.directory('other-store');
    let serial = 0;
    const below = (n: number): number => Buffer.from(random.bytes(4)).readUInt32LE(0) % n;
    const some = (): string => {
      const names = readdirSync(source);
      return `${source}/${names[below(names.length)]}`;
    };
    const edits: readonly ((path: string) => void)[] = [
      (path) => appendFileSync(path, random.bytes(1 + below(100_000))),
      (path) => writeFileSync(path, random.bytes(statSync(path).size), { flag: 'r+' }),
      (path) => {
        const { mtimeMs, size } = lstatSync(path);
        writeFileSync(path, random.bytes(size), { flag: 'r+' });
        setTime(path, Math.floor(mtimeMs / 1000), 0);
      },
      (path) => truncateSync(path, below(300)),
      (path) => linkSync(path, `${source}/link${serial++}`),
      (path) => renameSync(path, `${source}/moved${serial++}`),
      (path) => {
        if (readdirSync(source).length > 6) unlinkSync(path);
      },
      () => writeFileSync(`${source}/new${serial++}`, random.bytes(below(70_000))),
      (path) => setTime(path, below(1000), below(1000)),
      () => {
        const name = objectsIn(store)[0];
        if (name !== undefined) rmSync(`${store}/objects/${name}`);
      },
    ];
    let unread = 0;
    for (let round = 0; round < 12; round++) {
      for (let n = below(4); n > 0; n--) edits[below(edits.length)]?.(some());
      if (below(3) > 0) await settle();
      const result = await pack(source, store);
      unread += result.unchangedFiles;
      expect((await pack(source, other, true)).id).toBe(result.id);
      await succeed(HERE.tool('cfs-info', ['missing', '--repo', store, `${store}.cfs`]));
    }
    expect(unread).toBeGreaterThan(20);
    expectWhole(store);
  });
});

describe('cfs-mkimage', () => {
  test('prints the number of files that it did not read; --rehash reads all; cfs-repo does not count the cache', async () => {
    const source = manyFiles(scratch.directory('source'), 10);
    const store = scratch.directory('store');
    const args = ['--store', store, source, scratch.at('again.cfs')];
    await sleep(2100);
    const { id } = await packed(scratch, args);
    expect(await packed(scratch, args)).toMatchObject({ id, unchangedFiles: 10 });
    expect((await mkimage(scratch, args)).stdout).toContain('10 files unchanged, not read');
    expect(await packed(scratch, ['--rehash', ...args])).toMatchObject({ id, unchangedFiles: 0 });
    const counts = JSON.parse(await succeed(HERE.tool('cfs-repo', ['stat', '--json', store]))) as object;
    expect(counts).toMatchObject({ objects: 10, temporaries: 0 });
  });

  test('reports after a second what it waits for', async () => {
    const source = manyFiles(scratch.directory('source'), 1);
    const store = scratch.directory('store');
    await packed(scratch, ['--store', store, source, scratch.at('waits.cfs')]);
    const holder = spawn('flock', ['-x', `${store}/lock`, 'sh', '-c', 'echo locked; exec cat'], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    await once(holder.stdout, 'data');
    const { child, outcome } = start(scratch, 'cfs-mkimage', ['--store', store, source, scratch.at('waits.cfs')]);
    child.stderr?.once('data', () => holder.stdin.end());
    const { status, stderr } = await outcome;
    expect(status).toBe(0);
    expect(stderr).toMatch(new RegExp(`^cfs-mkimage: waiting for ${store}/lock, which process \\d+ has locked\n$`));
  });
});
