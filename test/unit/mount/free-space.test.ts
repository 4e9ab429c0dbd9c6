import { expect, test } from 'vitest';
import type { DiskPart } from '../../../src/base/byte-size.ts';
import { type DiskSpace, FreeSpace } from '../../../src/mount/free-space.ts';

const DISK: DiskSpace = { size: 1000, free: 80 };
const NOW = Date.now();
const LONG_AGO = NOW - 60_000;

const spaceOf = (wanted: DiskPart | undefined, disk: DiskSpace | undefined = DISK): FreeSpace =>
  new FreeSpace('/cache', wanted, () => disk);

test('what is missing of the free space', () => {
  expect(spaceOf({ bytes: 100 }).missing(LONG_AGO, NOW)).toBe(20);
  expect(spaceOf({ percent: 10 }).missing(LONG_AGO, NOW)).toBe(20);
  expect(spaceOf({ bytes: 80 }).missing(LONG_AGO, NOW)).toBe(0);
  expect(spaceOf(undefined).missing(LONG_AGO, NOW)).toBe(0);
  // a real directory, and one that is gone
  expect(new FreeSpace('/', { percent: 99 }).missing(0)).toBeGreaterThan(0);
  expect(new FreeSpace('/no/such/cache', { percent: 99 }).missing(0)).toBe(0);
});

test('deleted files are waited for', () => {
  const space = spaceOf({ bytes: 100 });
  expect(space.missing(NOW - 5_000, NOW)).toBe(0);
  expect(space.missing(NOW - 25_000, NOW)).toBe(20);
  // a clock that was set back does not stop it forever
  expect(space.missing(NOW + 86_400_000, NOW)).toBe(20);
});

test('the disk is looked at after some stored bytes', () => {
  const space = spaceOf({ bytes: 100 });
  expect([1 << 20, 62 << 20, 1 << 20, 1 << 20].map((bytes) => space.stored(bytes))).toEqual([
    false,
    false,
    true,
    false,
  ]);
  expect(spaceOf(undefined).stored(1 << 30)).toBe(false);
});

test('whether more can be stored', () => {
  expect(spaceOf(undefined).isTooLittleFor(80)).toBe(false);
  expect(spaceOf(undefined).isTooLittleFor(81)).toBe(true);
  expect(spaceOf({ bytes: 50 }).isTooLittleFor(31)).toBe(true);
  expect(spaceOf({ percent: 5 }).isTooLittleFor(30)).toBe(false);
});
