import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeManifest } from '../../../src/manifest/decode.ts';
import { encodeManifest } from '../../../src/manifest/encode.ts';
import { lookupPath, pathOfRow, rowOfId, walkTree } from '../../../src/manifest/lookup.ts';
import { type ManifestTables, u64 } from '../../../src/manifest/tables.ts';
import { buildTables, directory, file, treeOf } from './model.ts';

describe('rowOfId()', () => {
  it('finds no row for an id between, below and above the existing ones', () => {
    const tables = buildTables(treeOf({ '/a': file('a'), '/b': file('b') }));
    const ids = Array.from({ length: 3 }, (_, row) => u64(tables.inodes.id, row));
    for (const id of ids.flatMap((n) => [n - 1, n + 1])) {
      if (!ids.includes(id)) expect(rowOfId(tables, id)).toBe(-1);
    }
    expect(rowOfId(tables, 0)).toBe(-1);
    expect(rowOfId(tables, 2 ** 52)).toBe(-1);
    expect(rowOfId(tables, Number.MAX_SAFE_INTEGER)).toBe(-1);
  });

  it('finds every row in few steps even if ids are very unevenly spread', () => {
    fc.assert(
      fc.property(
        fc.uniqueArray(fc.integer({ min: 2, max: 2 ** 52 - 1 }), { minLength: 1, maxLength: 200 }),
        (list) => {
          const sorted = [1, ...list.map((id, i) => (i % 3 === 0 ? id : (id % 1000) + 2)), 2 ** 52 - 1];
          const ids = [...new Set(sorted)].sort((a, b) => a - b);
          const id = new Uint32Array(ids.flatMap((n) => [n % 2 ** 32, Math.floor(n / 2 ** 32)]));
          const tables = { inodes: { id } } as ManifestTables;
          ids.forEach((n, row) => {
            expect(rowOfId(tables, n)).toBe(row);
            if (!ids.includes(n + 1)) expect(rowOfId(tables, n + 1)).toBe(-1);
          });
        },
      ),
    );
  });
});

describe('lookupPath()', () => {
  const tables = buildTables(treeOf({ '/d': directory, '/d/e': directory, '/d/e/f': file('f') }));
  const look = (path: string): number => lookupPath(tables, Buffer.from(path));

  it('accepts paths with and without a leading slash, and repeated slashes', () => {
    const f = look('/d/e/f');
    expect(f).toBeGreaterThan(0);
    for (const path of ['d/e/f', '//d///e//f', '/d/e/f']) expect(look(path)).toBe(f);
    for (const path of ['', '/', '//']) expect(look(path)).toBe(0);
  });

  it('finds nothing below a file, and no file if the path ends with a slash', () => {
    for (const path of ['/d/e/f/g', '/d/e/f/', '/d/e/f//', '/d/x', '/x', '/x/']) expect(look(path)).toBe(-1);
    expect(look('/d/e/')).toBe(look('/d/e'));
  });
});

describe('walkTree()', () => {
  /** A chain of directories whose path is longer than any buffer with which a walk begins. */
  const levels = 60;
  const name = 'n'.repeat(200);
  const paths = Array.from({ length: levels }, (_, i) => `/${name}`.repeat(i + 1));
  const deep = treeOf(Object.fromEntries(paths.map((path) => [path, directory])));
  const tables = decodeManifest(encodeManifest(buildTables(deep)));

  it('walks a path of 12,000 bytes', () => {
    const seen: number[] = [];
    walkTree(tables, ({ path }) => seen.push(path.length));
    expect(seen).toEqual([1, ...paths.map((path) => path.length)]);
  });

  it('visits everything below a directory, with its path as the prefix', () => {
    for (const from of [0, 3, 40]) {
      const prefix = Buffer.from(paths[from] as string);
      const seen: string[] = [];
      walkTree(tables, ({ path }) => seen.push(Buffer.from(path).toString()), lookupPath(tables, prefix), prefix);
      expect(seen).toEqual(paths.slice(from));
    }
  });

  it('visits a single file', () => {
    const one = buildTables(treeOf({ '/f': file('f') }));
    const seen: string[] = [];
    const f = Buffer.from('/f');
    walkTree(one, ({ path }) => seen.push(Buffer.from(path).toString()), lookupPath(one, f), f);
    expect(seen).toEqual(['/f']);
  });
});

describe('pathOfRow()', () => {
  it('returns the first of the names in path order, which is not the order of the paths as bytes', () => {
    const first = (paths: Record<string, ReturnType<typeof file> | string>, path: string): string => {
      const tables = buildTables(treeOf(paths));
      return Buffer.from(pathOfRow(tables, lookupPath(tables, Buffer.from(path)))).toString();
    };
    expect(first({ '/bin': directory, '/bin/x': file('x'), '/z': '/bin/x' }, '/z')).toBe('/bin/x');
    expect(first({ '/bin': directory, '/bin/x': file('x'), '/a': '/bin/x' }, '/bin/x')).toBe('/a');
    // "!" sorts before the slash, but the name "b" sorts before the name "b!"
    expect(first({ '/b': directory, '/b!': directory, '/b!/a': file('x'), '/b/z': '/b!/a' }, '/b!/a')).toBe('/b/z');
    expect(first({ '/b': directory, '/b/f!': file('x'), '/b/f': '/b/f!' }, '/b/f!')).toBe('/b/f');
  });
});
