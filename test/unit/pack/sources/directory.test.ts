import { execFileSync } from 'node:child_process';
import {
  closeSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { compareBytes } from '../../../../src/base/bytes.ts';
import type { CfsError } from '../../../../src/base/error.ts';
import { S_IFMT } from '../../../../src/base/stat-bits.ts';
import type { SourceEntry, SyncSource } from '../../../../src/pack/source.ts';
import { type DirectoryOptions, openDirectorySource } from '../../../../src/pack/sources/directory.ts';
import { mknod, setTime, setXattr } from '../../../support/libc.ts';
import { isRoot } from '../../../support/root.ts';
import { generateTree } from '../../../support/tree-generator.ts';
import { failureOf } from '../../store/failure.ts';
import { useScratch } from '../../store/scratch.ts';

const at = useScratch();
let serial = 0;
let root: string;
let warnings: string[];

beforeEach(() => {
  root = at(`source${serial++}`);
  mkdirSync(root);
  warnings = [];
});

const openDescriptors = (): number => readdirSync('/proc/self/fd').length;
let before: number;
beforeEach(() => {
  before = openDescriptors();
});
afterEach(() => {
  expect(openDescriptors()).toBe(before);
});

function sourceOf(options: Partial<DirectoryOptions> = {}, path = root): SyncSource {
  return openDirectorySource(path, {
    useEpoch: false,
    skipXattrs: false,
    skipDevices: false,
    oneFileSystem: false,
    warn: (line) => void warnings.push(line),
    ...options,
  });
}

const put = (path: string, content = path): void => writeFileSync(join(root, path), content);
const makeDirectory = (path: string): unknown => mkdirSync(join(root, path), { recursive: true });

/** The path of an entry below the source. */
const below = (entry: SourceEntry): string =>
  Buffer.from(entry.path)
    .toString('latin1')
    .slice(root.length + 1);

/** Opens and closes the content of an entry, as packing does. */
function close(entry: SourceEntry): SourceEntry {
  if (entry.inode.kind === 'regular') closeSync(entry.inode.content.open().fd);
  return entry;
}

/**
 * Walks the source. A function of `when` is called after the entry of its path was returned and before the next one is
 * looked for, so it runs in the middle of the walk.
 */
function walk(source: SyncSource, when: Readonly<Record<string, () => void>> = {}): SourceEntry[] {
  const all: SourceEntry[] = [];
  for (const entry of source.entries()) {
    all.push(close(entry));
    when[below(entry)]?.();
  }
  return all;
}

const failureOfWalk = (when: Readonly<Record<string, () => void>>, options?: Partial<DirectoryOptions>): CfsError =>
  failureOf(() => walk(sourceOf(options), when));

describe('DirectorySource', () => {
  test('returns directories before their entries, names in bytewise order', () => {
    for (const path of ['b', 'a/z', 'a/y/x', 'a.b']) makeDirectory(path);
    for (const path of ['a/y/file', 'é', 'Z', 'a-']) put(path);
    const paths = walk(sourceOf()).map(below);
    expect(paths).toEqual(['Z', 'a', 'a/y', 'a/y/file', 'a/y/x', 'a/z', 'a-', 'a.b', 'b', 'Ã©']);
  });

  test('numbers parents in the order of the stream, the root being 0', () => {
    makeDirectory('a/b');
    for (const path of ['a/b/1', 'a/2', '3']) put(path);
    const parents = walk(sourceOf()).map((entry) => [below(entry), entry.parent]);
    expect(parents).toEqual([
      ['3', 0],
      ['a', 0],
      ['a/2', 2],
      ['a/b', 2],
      ['a/b/1', 4],
    ]);
  });

  test('returns a hard link as a link to the entry that came first', () => {
    put('first');
    linkSync(join(root, 'first'), join(root, 'second'));
    symlinkSync('first', join(root, 'symlink'));
    linkSync(join(root, 'symlink'), join(root, 'symlink2'));
    const kinds = walk(sourceOf()).map(({ inode }) => (inode.kind === 'link' ? `link ${inode.to}` : inode.kind));
    expect(kinds).toEqual(['regular', 'link 1', 'symlink', 'link 3']);
  });

  test('returns names that are not UTF-8, and every other oddity, as exact bytes', () => {
    generateTree(join(root, 'tree'), { seed: 3, oddities: true });
    if (!isRoot) execFileSync('chmod', ['-R', 'u+rwX', '--', join(root, 'tree')]);
    const entries = walk(sourceOf());
    const names = readdirSync(join(root, 'tree/odd/names'), { encoding: 'buffer' }).sort(compareBytes);
    const given = entries
      .filter((entry) => below(entry).startsWith('tree/odd/names/'))
      .map(({ name }) => Buffer.from(name));
    expect(given).toEqual(names);
  });

  test('follows no symbolic links, except the source itself', () => {
    makeDirectory('directory');
    put('directory/file');
    symlinkSync('directory', join(root, 'link'));
    symlinkSync('/etc/passwd', join(root, 'passwd'));
    symlinkSync(root, at('source-link'));
    expect(walk(sourceOf()).map(below)).toEqual(['directory', 'directory/file', 'link', 'passwd']);
    expect(walk(sourceOf({}, at('source-link')))).toHaveLength(4);
    unlinkSync(at('source-link'));
  });

  test('does not open a fifo or a socket', () => {
    mknod(join(root, 'fifo'), 0o10644);
    mknod(join(root, 'socket'), 0o140644);
    const modes = walk(sourceOf()).map(({ inode }) => (inode.kind === 'new' ? inode.metadata.mode & S_IFMT : 0));
    expect(modes).toEqual([0o10000, 0o140000]);
  });

  test('holds few descriptors in a deep tree, with paths longer than a system call accepts', () => {
    generateTree(join(root, 'tree'), { seed: 3, deep: 2000 });
    let most = 0;
    for (const entry of sourceOf().entries()) {
      close(entry);
      most = Math.max(most, openDescriptors());
    }
    expect(most).toBeLessThan(before + 200);
  });

  test('has nothing open after it was ended early', () => {
    for (const path of ['a/b/c', 'd']) makeDirectory(path);
    for (const entry of sourceOf().entries()) {
      close(entry);
      if (below(entry) === 'a/b') break;
    }
    expect(openDescriptors()).toBe(before);
  });
});

describe('DirectorySource metadata', () => {
  const metadata = (path: string, options?: Partial<DirectoryOptions>): Record<string, unknown> => {
    const inode = walk(sourceOf(options)).find((entry) => below(entry) === path)?.inode;
    return inode === undefined || inode.kind === 'link' ? {} : { ...inode.metadata };
  };

  test.each([
    [0, 0],
    [-1, 500_000_000],
    [-2_000_000_000, 1],
    [2 ** 33, 999_999_999],
  ])('has mtime %i s and %i ns', (seconds, nanoseconds) => {
    put('file');
    setTime(join(root, 'file'), seconds, nanoseconds);
    expect(metadata('file')).toMatchObject({ mtime: seconds, mtimeNsec: nanoseconds });
    expect(metadata('file', { useEpoch: true })).toMatchObject({ mtime: 0, mtimeNsec: 0 });
  });

  test('useEpoch also sets the time of the root', () => {
    setTime(root, 12345, 6);
    const [plain, epoch] = [sourceOf(), sourceOf({ useEpoch: true })];
    expect([plain.root.mtime, plain.root.mtimeNsec]).toEqual([12345, 6]);
    expect([epoch.root.mtime, epoch.root.mtimeNsec]).toEqual([0, 0]);
    walk(plain);
    walk(epoch);
  });

  test('leaves out xattrs whose names mounts answer themselves, and reports that', () => {
    put('file');
    makeDirectory('directory');
    const own = ['user.cfs.object', ...(isRoot ? ['trusted.cfs.path'] : [])];
    for (const name of [...own, 'user.cfs', 'user.kept']) {
      for (const path of ['file', 'directory', '.']) setXattr(join(root, path), name, Buffer.from('v'));
    }
    const names = (xattrs: unknown): string[] =>
      (xattrs as [Uint8Array, Uint8Array][]).map(([name]) => Buffer.from(name).toString()).sort();
    for (const path of ['file', 'directory']) {
      expect(names(metadata(path)['xattrs'])).toEqual(['user.cfs', 'user.kept']);
      for (const name of own) {
        expect(warnings.filter((line) => line.includes(name) && line.includes(`/${path} `))).toHaveLength(1);
      }
      warnings = [];
    }
  });

  test('has the xattrs that an image keeps, or none', () => {
    put('file');
    setXattr(join(root, 'file'), 'user.b', Buffer.from([0, 255]));
    if (isRoot) setXattr(join(root, 'file'), 'trusted.a', Buffer.alloc(0));
    const xattrs = (metadata('file')['xattrs'] as [Uint8Array, Uint8Array][]).map(([name, value]) => [
      Buffer.from(name).toString(),
      [...value],
    ]);
    expect(xattrs.sort()).toEqual([...(isRoot ? [['trusted.a', []]] : []), ['user.b', [0, 255]]]);
    expect(metadata('file', { skipXattrs: true })['xattrs']).toEqual([]);
  });

  test.runIf(isRoot)('skipDevices leaves out only devices', () => {
    mknod(join(root, 'null'), 0o20666, 0x103);
    mknod(join(root, 'disk'), 0o60660, 0x811);
    mknod(join(root, 'fifo'), 0o10644);
    expect(walk(sourceOf()).map(below)).toEqual(['disk', 'fifo', 'null']);
    expect(walk(sourceOf({ skipDevices: true })).map(below)).toEqual(['fifo']);
  });

  test('leaves out the store, in any place, and reports that', () => {
    makeDirectory('var/store/objects');
    put('var/file');
    const exclude = (store: string): { store: string; image: string } => ({ store, image: at('nowhere') });
    expect(walk(sourceOf({ exclude: exclude(join(root, 'var/store')) })).map(below)).toEqual(['var', 'var/file']);
    expect(warnings).toEqual([`${root}/var/store is the store: left out`]);
    expect(walk(sourceOf({ exclude: exclude(at('nowhere')) }))).toHaveLength(4);
  });

  test('leaves out the image that is being replaced, under each of its names, and reports that', () => {
    for (const path of ['image.cfs', 'other.cfs']) put(path);
    linkSync(join(root, 'image.cfs'), join(root, 'second'));
    const exclude = { store: at('nowhere'), image: join(root, 'image.cfs') };
    expect(walk(sourceOf({ exclude })).map(below)).toEqual(['other.cfs']);
    expect(warnings).toEqual([`${root}/image.cfs is the image: left out`, `${root}/second is the image: left out`]);
  });

  test('refuses to pack the store itself', () => {
    const error = failureOf(() => sourceOf({ exclude: { store: root, image: root } }));
    expect(error.kind).toBe('source');
    expect(error.message).toContain('it is the repository');
  });
});

describe('DirectorySource of a tree that changes', () => {
  beforeEach(() => {
    for (const path of ['a/deep', 'z']) makeDirectory(path);
    for (const path of ['a/1', 'a/2', 'a/deep/3', 'z/4']) put(path);
  });

  const remove = (path: string) => (): void => rmSync(join(root, path), { recursive: true });

  test('is whole if nothing changes', () => {
    expect(walk(sourceOf())).toHaveLength(7);
  });

  test('names a file that vanished', () => {
    const error = failureOfWalk({ 'a/1': remove('a/2') });
    expect(error.kind).toBe('source');
    expect(error.message).toBe(`Cannot read ${root}/a/2: no such file or directory. It vanished while it was packed.`);
  });

  test('names a directory that vanished', () => {
    expect(failureOfWalk({ 'a/2': remove('a/deep') }).message).toContain(`Cannot read ${root}/a/deep: no such file`);
    makeDirectory('a/deep');
  });

  test('notices that the directory of the walk was removed', () => {
    expect(failureOfWalk({ 'a/deep/3': remove('a/deep') }).message).toContain(`${root}/a/deep: it changed`);
  });

  test.each([
    ['a file was added', () => put('a/0')],
    ['a file was removed', remove('a/1')],
    ['a file was renamed', () => renameSync(join(root, 'a/1'), join(root, 'a/9'))],
    [
      'a file became a symbolic link',
      () => {
        unlinkSync(join(root, 'a/1'));
        symlinkSync('/etc/passwd', join(root, 'a/1'));
      },
    ],
  ])('names the directory in which %s behind the walk', (_what, happen) => {
    const error = failureOfWalk({ 'a/2': happen });
    expect(error.kind).toBe('source');
    expect(error.message).toContain(`Cannot pack ${root}/a: it changed while it was packed`);
    expect(error.hint).toBe('Pack a snapshot, or stop the program that writes to it.');
  });

  test('names the root if a file was added to it', () => {
    expect(failureOfWalk({ 'z/4': () => put('new') }).message).toContain(`Cannot pack ${root}: it changed`);
  });

  test('is not led out of the tree by a directory that was moved away during the walk', () => {
    const deep = Array.from({ length: 200 }, (_, i) => `d${i}`).join('/');
    makeDirectory(`a/${deep}`);
    const bottom = `a/${deep}`;
    const error = failureOfWalk({ [bottom]: () => renameSync(join(root, 'a/d0/d1'), at(`moved${serial}`)) });
    expect(error.kind).toBe('source');
    expect(error.message).toContain('it changed while it was packed');
  });

  test('opens a file in its current state, and passes on its state at the time of the listing', () => {
    const sizes: number[] = [];
    for (const entry of sourceOf().entries()) {
      if (below(entry) === 'a/1') truncateSync(join(root, 'a/2'), 1);
      if (entry.inode.kind === 'regular') {
        const { content } = entry.inode;
        const { fd, state } = content.open();
        sizes.push(content.size);
        expect(state.size).toBe(content.size);
        expect(readFileSync(fd)).toHaveLength(content.size);
        closeSync(fd);
      }
    }
    expect(sizes).toEqual([3, 1, 8, 3]);
  });
});

describe('openDirectorySource()', () => {
  test.each([
    ['is missing', 'nowhere', 'no such file or directory'],
    ['is a file', 'file', 'not a directory'],
  ])('names a source that %s', (_what, name, reason) => {
    put('file');
    const error = failureOf(() => sourceOf({}, join(root, name)));
    expect(error.kind).toBe('source');
    expect(error.message).toContain(reason);
  });
});
