/** Trees at the limits: directories of 20,000 entries, a path 2,000 deep, sparse files of gigabytes, 10,000 files. */
import { chmodSync, mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate as breathe } from 'node:timers/promises';
import { beforeAll, describe, expect, test } from 'vitest';
import { generateTree, removeTree } from '../support/tree-generator.ts';
import { compare, expectEqual, type Mounted, type Packed, useScratch } from './harness.ts';
import { run, succeed } from './run.ts';

const scratch = useScratch();
const HUGE = 20_000;
const DEPTH = 2_000;
/** Sizes and offsets beyond 32 bits. */
const SPARSE = 4.25 * 2 ** 30;

describe('a tree with all types of files', () => {
  const source = scratch.at('everything');
  let packed: Packed;

  beforeAll(async () => {
    const { skipped } = generateTree(source, {
      seed: 1,
      files: 1000,
      directories: 100,
      oddities: true,
      hugeDirectory: HUGE,
      deep: DEPTH,
      sparse: SPARSE,
    });
    expect(skipped).toEqual([]);
    packed = await scratch.pack(source);
  });

  test('keeps a sparse file cheap in the store', async () => {
    expect(packed.bytes).toBeGreaterThan(SPARSE);
    const { stdout } = await scratch.tool('cfs-repo', ['stat', '--json', scratch.store]);
    const { bytes, allocatedBytes } = JSON.parse(stdout) as { bytes: number; allocatedBytes: number };
    expect(bytes).toBeGreaterThan(SPARSE);
    expect(allocatedBytes).toBeLessThan(100_000_000);
  });

  test('is equal to its source through the kernel driver', async () => {
    const mounted = await scratch.mount(packed.image);
    const result = await expectEqual(source, mounted.path);
    expect([result.entries, result.files, result.bytes]).toEqual([packed.entries, packed.files, packed.bytes]);
    expect(result.entries).toBeGreaterThan(HUGE + DEPTH);
  });

  test('equals its source through fuse-native, as far as that supports it', async () => {
    // part by part: a path of 2,000 levels is longer than the paths of libfuse
    const mounted = await scratch.mount(packed.image, { words: ['driver=fuse-native', 'noallow_other'] });
    await expectEqual(join(source, 'tree'), mounted.at('tree'), { ignore: ['mtimeNsec'] });
    expect(readdirSync(mounted.at('huge')).sort()).toEqual(readdirSync(join(source, 'huge')).sort());
    expect(readdirSync(mounted.at('deep/l1/l2/l3'))).toEqual(['l4']);
    expect(statSync(mounted.at('sparse')).size).toBe(SPARSE);
  });

  test('lists a directory of 20,000 entries the same each time, by several readers at once', async () => {
    const mounted = await scratch.mount(packed.image);
    const list = async (path: string): Promise<string> =>
      await succeed(['sh', '-c', 'ls -1U "$1" | LC_ALL=C sort | sha256sum', 'sh', join(path, 'huge')]);
    const lists = await Promise.all(Array.from({ length: 4 }, () => list(mounted.path)));
    expect(new Set(lists)).toEqual(new Set([await list(source)]));
  });

  test('lets cp copy a sparse file, whether or not it sees the holes', async () => {
    const mounted = await scratch.mount(packed.image);
    const copy = scratch.at('copy');
    await succeed(['cp', '--sparse=auto', mounted.at('odd/sparse/holes'), copy]);
    const { status } = await run(['cmp', copy, join(source, 'odd/sparse/holes')]);
    expect(status).toBe(0);
  });
});

describe('a tree of 10,000 files', () => {
  const source = scratch.at('many');
  const DIRECTORIES = 40;
  const FILES_EACH = 250;
  let packed: Packed;
  let mounted: Mounted;

  beforeAll(async () => {
    mkdirSync(source);
    for (let d = 0; d < DIRECTORIES; d++) {
      const directory = join(source, `directory-${d}`);
      mkdirSync(directory);
      for (let f = 0; f < FILES_EACH; f++) {
        // most contents are in the manifest, some files have an object of their own, some share one
        const content =
          f % 10 === 0 ? `${d} ${f} `.padEnd(200, 'own ') : f % 10 === 1 ? `${f}`.padEnd(300, 'shared ') : `${d} ${f}`;
        writeFileSync(join(directory, `file-${f}`), content);
      }
      await breathe(); // vitest assumes that a process is dead if it does not answer for a minute
    }
    packed = await scratch.pack(source);
    mounted = await scratch.mount(packed.image);
  });

  test('is packed whole, each content once', () => {
    expect(packed.files).toBe(DIRECTORIES * FILES_EACH);
    expect(packed.objects).toBe((DIRECTORIES * FILES_EACH) / 10 + FILES_EACH / 10);
  });

  test('is equal to its source', async () => {
    const { entries, files } = await expectEqual(source, mounted.path);
    expect([entries, files]).toEqual([packed.entries, packed.files]);
  });

  test('differs from its next version only at changed files', async () => {
    const changed = join(source, 'directory-7');
    writeFileSync(join(changed, 'file-0'), 'changed '.repeat(100));
    chmodSync(join(changed, 'file-1'), 0o600);
    const next = await scratch.pack(source);
    expect(next.newObjects).toBe(1);
    expect(next.id).not.toBe(packed.id);
    const later = await scratch.mount(next.image);
    const { differences } = await compare(mounted.at('directory-7'), later.at('directory-7'));
    expect(new Set(differences.map(({ path }) => path))).toEqual(new Set(['/file-0', '/file-1']));
    await expectEqual(mounted.at('directory-8'), later.at('directory-8'));
    expect(readdirSync(later.path)).toHaveLength(DIRECTORIES);
    removeTree(source);
  });
});
