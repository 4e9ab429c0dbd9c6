import { beforeEach, describe, expect, test } from 'vitest';
import { ReadingOrder } from '../../../src/fs/reading-order.ts';
import { lookupDirent, lookupPath } from '../../../src/manifest/lookup.ts';
import type { ManifestTables } from '../../../src/manifest/tables.ts';
import { type Body, buildTables, directory, file, inline, symlink, treeOf } from '../manifest/model.ts';

/** /a with 100 files f00…f99 and other things between them; /b with 10 files; /c with one. */
function tree(): ManifestTables {
  const bodies: Record<string, Body> = { '/a': directory, '/b': directory, '/c': directory };
  for (let i = 0; i < 100; i++) bodies[`/a/f${String(i).padStart(2, '0')}`] = file(`content of a ${i}`);
  bodies['/a/f05-link'] = symlink('f05');
  bodies['/a/f06-inline'] = inline('tiny');
  bodies['/a/f07-dir'] = directory;
  for (let i = 0; i < 10; i++) bodies[`/b/f${i}`] = file(`content of b ${i}`);
  bodies['/c/only'] = file('content of c');
  return buildTables(treeOf(bodies));
}

const tables = tree();
const row = (path: string): number => lookupPath(tables, Buffer.from(path));
const objectOf = (path: string): number => tables.inodes.payload[row(path)] as number;
const inA = (i: number): string => `/a/f${String(i).padStart(2, '0')}`;
const direntOf = (dir: string, name: string): number => lookupDirent(tables, row(dir), Buffer.from(name));

let fetched: number[];
let order: ReadingOrder;

beforeEach(() => {
  fetched = [];
  order = new ReadingOrder(tables, (object) => fetched.push(object));
});

/** Lists /a, and opens its files `from` to `to` in order. */
function readA(from: number, to: number): void {
  order.listed(row('/a'));
  for (let i = from; i < to; i++) order.opened(row(inA(i)));
}

describe('ReadingOrder', () => {
  test('fetches nothing after a few opens', () => {
    readA(0, 2);
    expect(fetched).toEqual([]);
  });

  test('fetches the files that follow, each once, in order, and only files with an object', () => {
    readA(0, 3);
    expect(fetched).toEqual(Array.from({ length: 32 }, (_, i) => objectOf(inA(i + 3))));
    order.opened(row(inA(3)));
    expect(fetched).toHaveLength(33);
    for (let i = 4; i < 100; i++) order.opened(row(inA(i)));
    expect(fetched).toEqual(Array.from({ length: 97 }, (_, i) => objectOf(inA(i + 3))));
  });

  test('continues with the directory that is listed next, from its first file', () => {
    readA(0, 5);
    fetched = [];
    order.listed(row('/b'));
    expect(fetched).toEqual(Array.from({ length: 10 }, (_, i) => objectOf(`/b/f${i}`)));
    order.opened(row('/b/f0'));
    order.listed(row('/c'));
    expect(fetched.at(-1)).toBe(objectOf('/c/only'));
  });

  test('returns to the directory above', () => {
    readA(0, 5);
    order.listed(row('/b'));
    order.opened(row('/b/f0'));
    fetched = [];
    order.opened(row(inA(5)));
    expect(fetched).toEqual([objectOf(inA(37))]);
  });

  test('follows names that are looked up in directories that were not listed', () => {
    for (let i = 0; i < 5; i++) {
      order.looked(direntOf('/b', `f${i}`));
      order.opened(row(`/b/f${i}`));
    }
    expect(fetched).toEqual([3, 4, 5, 6, 7, 8, 9].map((i) => objectOf(`/b/f${i}`)));
  });

  test('fetches nothing for a reader that opens files in random places', () => {
    order.listed(row('/a'));
    for (const i of [50, 3, 77, 12, 99, 41, 8, 60]) order.opened(row(inA(i)));
    order.opened(row('/c/only'));
    expect(fetched).toEqual([]);
  });

  test('stops when the order ends, and begins again with a new one', () => {
    readA(0, 5);
    fetched = [];
    order.opened(row(inA(90)));
    order.listed(row('/b'));
    expect(fetched).toEqual([]);
    for (let i = 0; i < 4; i++) order.opened(row(`/b/f${i}`));
    expect(fetched).not.toEqual([]);
  });

  test('accepts any numbers', () => {
    for (const number of [0, 1, 5_000, 0xffffffff, row('/a/f05-link'), direntOf('/a', 'f07-dir')]) {
      order.listed(number);
      order.looked(number);
      order.opened(number);
    }
    expect(fetched).toEqual([]);
  });
});
