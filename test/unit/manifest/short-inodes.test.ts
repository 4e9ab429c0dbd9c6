import { expect, test } from 'vitest';
import { shortInodeNumbers } from '../../../src/manifest/short-inodes.ts';
import { inodeCount, type ManifestTables } from '../../../src/manifest/tables.ts';
import { Random } from '../../support/random.ts';

/** Only the column that is read: ids in ascending order, high word and low word. */
const tablesOf = (...ids: readonly (readonly [high: number, low: number])[]): ManifestTables =>
  ({
    inodes: {
      id: Uint32Array.from(ids.flatMap(([high, low]) => [low, high])),
      mode: new Uint32Array(ids.length),
    },
  }) as unknown as ManifestTables;

test('a short inode number is the low word of the id, if no other inode has it', () => {
  expect([...shortInodeNumbers(tablesOf([0, 1], [0, 7], [1, 5], [9, 0xffff_ffff]))]).toEqual([1, 7, 5, 0xffff_ffff]);
});

test('a later inode with the same low word has the next free number; never 0, nor that of the root', () => {
  const numbers = shortInodeNumbers(
    tablesOf([0, 1], [1, 5], [2, 5], [2, 6], [3, 5], [4, 0], [5, 1], [6, 0xffff_ffff], [7, 0xffff_ffff]),
  );
  expect([...numbers]).toEqual([1, 5, 7, 6, 8, 2, 3, 0xffff_ffff, 4]);
});

test('short inode numbers are distinct, and the same each time', () => {
  const random = new Random(1);
  const ids = Array.from({ length: 5000 }, (_, i): [number, number] => [i, random.integer(0, 3000)]);
  const tables = tablesOf([0, 1], ...ids.slice(1));
  const numbers = shortInodeNumbers(tables);
  expect(new Set(numbers).size).toBe(inodeCount(tables));
  expect(Math.min(...numbers)).toBe(1);
  expect(shortInodeNumbers(tables)).toEqual(numbers);
});
