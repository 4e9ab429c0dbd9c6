import { describe, expect, test } from 'vitest';
import { BLOCK_SIZE, type HashAlgorithm } from '../../../src/base/digest.ts';
import { Holes } from '../../../src/manifest/holes.ts';
import { lookupPath } from '../../../src/manifest/lookup.ts';
import type { ManifestTables } from '../../../src/manifest/tables.ts';
import { type Body, buildTables, file, treeOf } from './model.ts';

/** A content of blocks: "x" is data, "." zeros, each of 64 KiB; `more` bytes of zeros follow. */
const content = (blocks: string, more = 0): Buffer =>
  Buffer.concat([...[...blocks].map((block) => Buffer.alloc(BLOCK_SIZE, block === '.' ? 0 : 'x')), Buffer.alloc(more)]);

function holesOf(bodies: Record<string, Body>, hash: HashAlgorithm): [Holes, (path: string) => number] {
  const tables: ManifestTables = buildTables(treeOf(bodies, {}, hash));
  return [new Holes(tables), (path) => tables.inodes.payload[lookupPath(tables, Buffer.from(path))] as number];
}

describe.each(['blake3', 'fsverity-sha256'] as const)('the holes of objects named by %s', (hash) => {
  const [holes, object] = holesOf(
    {
      '/a': file(content('x..x.', 5)),
      '/b': file(content('...')),
      '/data': file(content('xxx')),
      '/small': file('x'),
      '/tail': file(content('x', 100)),
      '/first': file(content('.x')),
    },
    hash,
  );

  test('are counted in whole blocks', () => {
    const counts = ['/a', '/b', '/data', '/small', '/tail', '/first'].map((path) => holes.bytesOf(object(path)));
    expect(counts.map((bytes) => bytes / BLOCK_SIZE)).toEqual([3, 3, 0, 0, 0, 1]);
    expect(holes.any).toBe(true);
  });

  test.each([
    ['/a', 0, 0, 1],
    ['/a', 1.5, 3, 1.5],
    ['/a', 2, 3, 2],
    ['/a', 3.25, 3.25, 4],
    ['/a', 4.25, 5, 4.25],
    ['/b', 0, -1, 0],
    ['/b', 2.5, -1, 2.5],
    ['/data', 0.5, 0.5, 3],
    ['/first', 0, 1, 0],
    ['/first', 1, 1, 2],
  ])('of %s, sought from block %d: data at %d, a hole at %d', (path, from, data, hole) => {
    const found = (wanted: boolean): number => holes.seek(object(path), from * BLOCK_SIZE, wanted);
    expect([found(false), found(true)]).toEqual([data < 0 ? -1 : data * BLOCK_SIZE, hole * BLOCK_SIZE]);
  });

  test('end at the last block if that is shorter: it counts as data', () => {
    expect(holes.seek(object('/a'), 4 * BLOCK_SIZE, false)).toBe(5 * BLOCK_SIZE);
    expect(holes.seek(object('/a'), 5 * BLOCK_SIZE + 1, true)).toBe(5 * BLOCK_SIZE + 5);
  });

  test('do not exist in an image of data', () => {
    const [none, of] = holesOf({ '/data': file(content('xx', 7)), '/small': file('') }, hash);
    expect(none.any).toBe(false);
    expect(none.bytesOf(of('/data'))).toBe(0);
  });
});
