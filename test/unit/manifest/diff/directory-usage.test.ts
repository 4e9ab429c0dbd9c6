import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  type DirectoryUsage,
  directoryUsage,
  listUsage,
  sharedObjects,
} from '../../../../src/manifest/diff/directory-usage.ts';
import { lookupPath } from '../../../../src/manifest/lookup.ts';
import { anyTree } from '../arbitrary.ts';
import { versions } from '../edits.ts';
import { buildTables, directory, file, inline, linksInOrder, symlink, type Tree, treeOf } from '../model.ts';

const ALL = 1_000_000;
type Sums = Omit<DirectoryUsage, 'row' | 'depth' | 'path'>;

/** By path, as latin1 text. */
function usageOf(trees: readonly Tree[]): Map<string, Sums>[] {
  const images = trees.map((tree) => buildTables(tree));
  const shared = sharedObjects(images);
  return images.map((tables, i) => {
    const sums = directoryUsage(tables, shared[i] as Uint8Array);
    return new Map(
      [...listUsage(tables, sums, 0, Buffer.from('/'), ALL)].map(({ row: _, depth: __, path, ...rest }) => [
        Buffer.from(path).toString('latin1'),
        rest,
      ]),
    );
  });
}

/** A file of a tree: what it holds, and its paths. */
interface Held {
  readonly inode: string;
  readonly content: string;
  readonly size: number;
  readonly path: string;
}

/** The same from definitions alone: all names below a directory, and sets. */
function naiveUsage(trees: readonly Tree[]): Map<string, Sums>[] {
  const held = trees.map((tree, i) => heldBy(tree, i));
  return trees.map((tree, i) => {
    const links = linksInOrder(tree).map(({ path, inode }) => ({ path: path.toString('latin1'), inode }));
    const directories = links.filter(({ inode }) => tree.inodes[inode]?.body.type === 'directory');
    return new Map(
      directories.map(({ path }) => {
        const within = (other: string): boolean => other.startsWith(path === '/' ? '/' : `${path}/`);
        const inside = (held[i] as Held[]).filter((each) => within(each.path));
        const outside = held.flatMap((files, j) => files.filter((each) => j !== i || !within(each.path)));
        const elsewhere = new Set(outside.map(({ content }) => content));
        const contents = new Map(inside.map(({ content, size }) => [content, size]));
        const files = new Map(inside.map(({ inode, size }) => [inode, size]));
        const sum = (sizes: Iterable<number>): number => [...sizes].reduce((all, size) => all + size, 0);
        return [
          path,
          {
            entries: links.filter((link) => link.path !== '/' && within(link.path)).length,
            files: files.size,
            size: sum(files.values()),
            total: sum(contents.values()),
            unique: sum([...contents].flatMap(([content, size]) => (elsewhere.has(content) ? [] : [size]))),
          },
        ];
      }),
    );
  });
}

function heldBy(tree: Tree, image: number): Held[] {
  return linksInOrder(tree).flatMap(({ path, inode }) => {
    const body = tree.inodes[inode]?.body;
    if (body?.type !== 'file') return [];
    const hex = Buffer.from(body.content).toString('hex');
    // an image holds the inline content of each inode
    const content = body.stored === 'inline' ? `${image} inline ${inode}` : `${tree.hash} ${hex}`;
    return [{ inode: `${inode}`, content, size: body.content.length, path: path.toString('latin1') }];
  });
}

describe('directoryUsage()', () => {
  test('counts equal contents once, for the directories that have them', () => {
    const [usage] = usageOf([
      treeOf({
        '/a': directory,
        '/a/one': file('12345'),
        '/a/same': file('12345'),
        '/b': directory,
        '/b/c': directory,
        '/b/c/two': file('1234567'),
        '/b/three': file('1234567'),
        '/b/link': symlink('three'),
        '/four': file('12345'),
        '/b/hard': '/a/one',
        '/b/short': inline('123'),
      }),
    ]);
    expect(usage).toEqual(
      new Map([
        ['/', { entries: 11, files: 6, size: 32, total: 15, unique: 15 }],
        ['/b', { entries: 6, files: 4, size: 22, total: 15, unique: 10 }],
        ['/b/c', { entries: 1, files: 1, size: 7, total: 7, unique: 0 }],
        ['/a', { entries: 2, files: 2, size: 10, total: 5, unique: 0 }],
      ]),
    );
  });

  test('knows what other images share', () => {
    const old = treeOf({ '/d': directory, '/d/a': file('1'), '/d/b': file('22'), '/d/i': inline('333') });
    const now = treeOf({ '/e': directory, '/e/b': file('22'), '/f': file('4444') });
    const [first, second] = usageOf([old, now]) as [Map<string, Sums>, Map<string, Sums>];
    expect(first.get('/d')).toMatchObject({ total: 6, unique: 4 });
    expect(second.get('/')).toMatchObject({ total: 6, unique: 4 });
    expect(second.get('/e')).toMatchObject({ total: 2, unique: 0 });
  });

  test('is what the definitions say, for any tree', () => {
    fc.assert(
      fc.property(anyTree(), (tree) => {
        expect(usageOf([tree])).toEqual(naiveUsage([tree]));
      }),
    );
  });

  test('is what the definitions say, for any two and three images', () => {
    fc.assert(
      fc.property(versions, versions, ([old, now], [other]) => {
        expect(usageOf([old, now])).toEqual(naiveUsage([old, now]));
        expect(usageOf([now, other, old])).toEqual(naiveUsage([now, other, old]));
      }),
    );
  });
});

describe('listUsage()', () => {
  const tables = buildTables(
    treeOf({
      '/small': directory,
      '/small/f': file('1'),
      '/large': directory,
      '/large/deep': directory,
      '/large/deep/f': file('22'),
      '/empty-b': directory,
      '/empty-a': directory,
    }),
  );
  const sums = directoryUsage(tables, new Uint8Array(2));
  const paths = (start: string, most: number): string[] =>
    [...listUsage(tables, sums, lookupPath(tables, Buffer.from(start)), Buffer.from(start), most)].map(
      ({ path, depth }) => `${depth} ${Buffer.from(path)}`,
    );

  test('lists directories to a depth, the largest first, equal ones by name', () => {
    expect(paths('/', 0)).toEqual(['0 /']);
    expect(paths('/', 1)).toEqual(['0 /', '1 /large', '1 /small', '1 /empty-a', '1 /empty-b']);
    expect(paths('/', ALL)).toEqual(['0 /', '1 /large', '2 /large/deep', '1 /small', '1 /empty-a', '1 /empty-b']);
    expect(paths('/large', 1)).toEqual(['0 /large', '1 /large/deep']);
  });
});
