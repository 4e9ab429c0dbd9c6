/** The parts of a report: space by directory, common objects, comparisons, and their limits. */
import { utimesSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { toHex } from '../../../src/base/bytes.ts';
import { shortened } from '../../../src/base/log.ts';
import { objectCount } from '../../../src/manifest/tables.ts';
import { compareTables } from '../../../src/report/comparison.ts';
import { latestFirst } from '../../../src/report/repository-report.ts';
import { objectsOf, sharingOf } from '../../../src/report/sharing.ts';
import { type SpaceNode, spaceTree } from '../../../src/report/space-tree.ts';
import { registerImage } from '../../../src/store/gc/register.ts';
import { listRoots } from '../../../src/store/gc/roots.ts';
import { type Body, buildTables, directory, treeOf } from '../manifest/model.ts';
import { GcFixture } from '../store/gc/gc-fixture.ts';

const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString();

/** A file with this content in an object. */
const object = (length: number, fill: number): Body => ({
  type: 'file',
  content: new Uint8Array(length).fill(fill),
  stored: 'object',
});

const OLD = buildTables(
  treeOf({
    '/a': directory,
    '/a/one': object(1000, 1),
    '/a/same': object(1000, 1),
    '/a/two': object(2000, 2),
    '/b': directory,
    '/b/three': object(3000, 3),
    '/b/link': '/a/two',
    '/b/small': { type: 'file', content: new Uint8Array(9), stored: 'inline' },
  }),
);

const flat = (node: SpaceNode, above = ''): [path: string, bytes: number, unique: number][] => [
  [`${above}${text(node.name)}`, node.bytes, node.unique],
  ...(node.children ?? []).flatMap((child) => flat(child, `${above}${text(node.name)}/`)),
];

const nodesOf = (node: SpaceNode): number => 1 + (node.children ?? []).reduce((sum, child) => sum + nodesOf(child), 0);

describe('latestFirst()', () => {
  const fixture = new GcFixture();

  test('images that were registered in one second are in the order in which their lists were written', async () => {
    const { repository } = fixture;
    const ids: string[] = [];
    for (let i = 0; i < 4; i++) {
      const image = fixture.image(1);
      await registerImage(repository, image, false);
      ids.unshift(image.image);
      utimesSync(join(repository.rootsDirectory, image.image), 1000, 1000 + i / 10);
    }
    const roots = listRoots(repository).flatMap((root) =>
      root.header === undefined ? [] : [{ ...root, header: { ...root.header, time: 1000 } }],
    );
    expect(latestFirst(roots).map(({ image }) => image)).toEqual(ids);
    // the time in the header comes first: the files of a copied repository may have other times
    const last = roots.map((root) =>
      root.image === ids[0] ? { ...root, header: { ...root.header, time: 999 } } : root,
    );
    expect(latestFirst(last).map(({ image }) => image)).toEqual([...ids.slice(1), ids[0]]);
  });
});

describe('spaceTree()', () => {
  test('counts a content once, at its first name, and inline contents as nothing', () => {
    const unique = new Uint8Array(objectCount(OLD)).fill(1);
    expect(flat(spaceTree(OLD, unique, 100)).sort()).toEqual([
      ['', 6000, 6000],
      ['/a', 3000, 3000],
      ['/a/one', 1000, 1000],
      ['/a/same', 0, 0],
      ['/a/two', 2000, 2000],
      ['/b', 3000, 3000],
      ['/b/link', 0, 0],
      ['/b/small', 0, 0],
      ['/b/three', 3000, 3000],
    ]);
  });

  test('counts unique objects apart', () => {
    const none = spaceTree(OLD, new Uint8Array(objectCount(OLD)), 100);
    expect([none.bytes, none.unique]).toEqual([6000, 0]);
  });

  test('has at most as many nodes as allowed, and no byte is lost', () => {
    const paths: Record<string, Body> = {};
    for (let d = 0; d < 20; d++) {
      paths[`/d${d}`] = directory;
      for (let f = 0; f < 60; f++) paths[`/d${d}/f${f}`] = object(100 + d * 60 + f, d * 11 + f);
    }
    const tables = buildTables(treeOf(paths));
    const unique = new Uint8Array(objectCount(tables)).fill(1);
    for (const limit of [1, 2, 3, 10, 41, 100, 500]) {
      const tree = spaceTree(tables, unique, limit);
      expect(nodesOf(tree), `${limit}`).toBeLessThanOrEqual(limit);
      const check = ({ bytes, unique: own, children }: SpaceNode): void => {
        if (children === undefined) return;
        expect(children.reduce((sum, child) => sum + child.bytes, 0)).toBe(bytes);
        expect(children.reduce((sum, child) => sum + child.unique, 0)).toBe(own);
        for (const child of children) check(child);
      };
      check(tree);
    }
    // the rest of a directory is one node with the number of its entries
    const [heaviest] = spaceTree(tables, unique, 100).children ?? [];
    expect(heaviest?.children?.at(-1)).toMatchObject({ entries: 21 });
    expect(heaviest?.children).toHaveLength(40);
  });

  test('a tree without contents is one node', () => {
    expect(spaceTree(buildTables(treeOf({})), new Uint8Array(0), 10)).toMatchObject({ bytes: 0, unique: 0 });
  });
});

describe('shortened()', () => {
  test.each([
    ['a'.repeat(10), 10, 'a'.repeat(10)],
    ['0123456789x', 10, '01234…789x'],
    ['', 10, ''],
  ])('"%s" in %d characters', (text, most, short) => {
    expect(shortened(text, most)).toBe(short);
    expect(short.length).toBeLessThanOrEqual(most);
  });
});

describe('sharingOf()', () => {
  const fixture = new GcFixture();

  test('adds up common objects; images that were not read count by their lists', async () => {
    const now = buildTables(treeOf({ '/x': object(3000, 3), '/y': object(4000, 4), '/z': object(500, 5) }));
    const { repository } = fixture;
    const third = buildTables(treeOf({ '/z': object(500, 5) }));
    await registerImage(
      repository,
      {
        image: toHex(new Uint8Array(32).fill(7)),
        hash: 'blake3',
        bytes: 1,
        path: '',
        complete: true,
        digests: objectsOf(third).digests,
      },
      false,
    );
    const sharing = sharingOf(
      repository,
      new Map([
        ['1'.repeat(64), objectsOf(OLD)],
        ['2'.repeat(64), objectsOf(now)],
      ]),
    );
    expect(sharing.bytes.map((row) => [...row])).toEqual([
      [6000, 3000],
      [3000, 7500],
    ]);
    const uniqueBytes = [OLD, now].map((tables, i) => spaceTree(tables, sharing.unique[i] as Uint8Array, 10).unique);
    expect(uniqueBytes).toEqual([3000, 4000]);
  });
});

describe('compareTables()', () => {
  const NOW = buildTables(
    treeOf({
      '/a': directory,
      '/a/one': object(1500, 9),
      '/c': directory,
      '/c/three': object(3000, 3),
      '/new': object(70, 8),
    }),
  );

  test('counts and lists the changes', () => {
    const { lines, ...counts } = compareTables(OLD, NOW, 100);
    expect(counts.added).toEqual({ entries: 2, bytes: 70 });
    expect(counts.changed).toMatchObject({ bytes: 500 });
    expect(counts.renamed).toEqual({ entries: 1, bytes: 0 });
    const sums = lines.filter(({ kind }) => kind === 'removed').reduce((sum, { bytes }) => sum + bytes, 0);
    expect(counts.removed.bytes).toBe(-sums);
    expect(lines.map(({ kind, path }) => `${kind} ${text(path)}`)).toContain('renamed /c/three');
    expect(lines.find(({ kind }) => kind === 'renamed')?.from).toEqual(new Uint8Array(Buffer.from('/b/three')));
    const total = counts.added.entries + counts.removed.entries + counts.changed.entries + counts.renamed.entries;
    expect(lines).toHaveLength(total);
  });

  test('keeps the largest changes, in path order', () => {
    const all = compareTables(OLD, NOW, 100).lines;
    const largest = [...all].sort((a, b) => Math.abs(b.bytes) - Math.abs(a.bytes)).slice(0, 3);
    const kept = compareTables(OLD, NOW, 3).lines;
    expect(kept).toEqual(all.filter((line) => largest.includes(line)));
  });

  test('equal trees have no changes', () => {
    expect(compareTables(OLD, OLD, 10).lines).toEqual([]);
  });
});
