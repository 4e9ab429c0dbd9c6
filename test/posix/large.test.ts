/**
 * Large things: files of 8 TiB, many names in one directory, and long ones. `make test-posix` makes a million names.
 * Paths beyond PATH_MAX are in names.test.ts.
 */
import {
  closeSync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  lstatSync,
  mkdirSync,
  opendirSync,
  openSync,
  readSync,
  rmSync,
  statSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { useScratch } from '../e2e/harness.ts';
import * as calls from './calls.ts';
import { SECONDS } from './duration.ts';
import { MAKE_SITE, type Site, TESTED } from './sites.ts';

const scratch = useScratch();

const TIB = 2 ** 40;
const SIZE = 8 * TIB;
const [SEEK_DATA, SEEK_HOLE] = [3, 4];
const BLOCK = 65_536;

const NAMES = SECONDS > 0 ? 1_000_000 : 5_000;
const LOWER_NAMES = 300;
/** Milliseconds, on a busy machine. */
const LONG = SECONDS > 0 ? 7_200_000 : 300_000;

/** 255 bytes each; two names differ in the last ones. */
const longName = (i: number): string => `${i}`.padStart(255, 'n');

function makeLower(): string {
  const lower = scratch.directory('lower');
  mkdirSync(join(lower, 'many'));
  for (let i = 0; i < LOWER_NAMES; i++) writeFileSync(join(lower, 'many', longName(i)), '');
  return lower;
}

/** The names in a directory, each of which must be listed once. */
function namesIn(path: string): Set<string> {
  const names = new Set<string>();
  const directory = opendirSync(path, { bufferSize: 1024 });
  for (let entry = directory.readSync(); entry !== null; entry = directory.readSync()) {
    if (names.has(entry.name)) throw new Error(`${entry.name} is listed twice`);
    names.add(entry.name);
  }
  directory.closeSync();
  return names;
}

function timed(what: string, work: () => void): void {
  const began = performance.now();
  work();
  if (SECONDS > 0) console.log(`${what}: ${((performance.now() - began) / 1000).toFixed(1)} s`);
}

describe.each(TESTED)('on %s', (name) => {
  let site: Site;
  /** Descriptors of a test, also of one that fails. */
  const open: number[] = [];
  const opened = (path: string, flags: string): number => {
    const fd = openSync(path, flags);
    open.push(fd);
    return fd;
  };
  const closeAll = (): void => {
    for (const fd of open.splice(0)) closeSync(fd);
  };
  const at = (...names: string[]): string => join(site.root, ...names);

  beforeEach(async () => {
    site = await MAKE_SITE[name](scratch, makeLower());
  });
  afterEach(async () => {
    closeAll();
    await site.end();
  });

  test('a sparse file of 8 TiB is written, read and cut off anywhere, also after a remount', {
    timeout: LONG,
  }, async () => {
    const path = at('large');
    const places = [0, TIB, 4 * TIB + 5 * BLOCK, SIZE - BLOCK];
    const fd = opened(path, 'wx+');
    ftruncateSync(fd, SIZE);
    for (const place of places) writeSync(fd, Buffer.from(`at ${place}`), 0, null, place);
    fsyncSync(fd);
    closeAll();
    await site.remount();
    const again = opened(path, 'r+');
    const { size, blocks } = fstatSync(again);
    expect(size).toBe(SIZE);
    expect(blocks * 512).toBeLessThan(100 * BLOCK);
    const text = Buffer.alloc(20);
    for (const place of places) {
      const read = readSync(again, text, 0, `at ${place}`.length, place);
      expect(text.toString('latin1', 0, read)).toBe(`at ${place}`);
    }
    expect(readSync(again, text, 0, 20, 6 * TIB)).toBe(20);
    expect(text).toEqual(Buffer.alloc(20));
    expect(readSync(again, text, 0, 20, SIZE)).toBe(0);
    // data begins at a block of the file system
    const data = calls.lseek(again, TIB + BLOCK, SEEK_DATA) as number;
    expect([data <= 4 * TIB + 5 * BLOCK, data > 4 * TIB]).toEqual([true, true]);
    const hole = calls.lseek(again, SIZE - BLOCK, SEEK_HOLE) as number;
    expect([hole > SIZE - BLOCK, hole <= SIZE]).toEqual([true, true]);
    closeAll();
    truncateSync(path, TIB + 4);
    expect(statSync(path).size).toBe(TIB + 4);
    truncateSync(path, SIZE);
    const last = opened(path, 'r');
    expect(readSync(last, text, 0, 20, TIB)).toBe(20);
    expect(text.toString('latin1')).toBe(`at 1${'\0'.repeat(16)}`);
  });

  test(`${NAMES} names in one directory`, { timeout: LONG }, async () => {
    mkdirSync(at('directory'));
    const path = (i: number): string => at('directory', `file-${i}`);
    timed(`${name}: making ${NAMES} files`, () => {
      for (let i = 0; i < NAMES; i++) closeSync(openSync(path(i), 'wx'));
    });
    timed(`${name}: listing them`, () => expect(namesIn(at('directory')).size).toBe(NAMES));
    for (let i = 0; i < NAMES; i += 7) unlinkSync(path(i));
    const left = NAMES - Math.ceil(NAMES / 7);
    expect(namesIn(at('directory')).size).toBe(left);
    const numbers = [1, 2, NAMES - 1].filter((i) => i % 7 !== 0).map((i) => [i, lstatSync(path(i)).ino] as const);
    await site.remount();
    timed(`${name}: listing them after a remount`, () => expect(namesIn(at('directory')).size).toBe(left));
    // xfstests and others want them to stay
    if (name === 'cfs') for (const [i, ino] of numbers) expect(lstatSync(path(i)).ino).toBe(ino);
    timed(`${name}: removing them`, () => rmSync(at('directory'), { recursive: true }));
  });

  test('names of 255 bytes of both layers are listed once', { timeout: LONG }, async () => {
    const expected = new Set(Array.from({ length: LOWER_NAMES * 2 }, (_, i) => longName(i)));
    for (let i = LOWER_NAMES; i < LOWER_NAMES * 2; i++) writeFileSync(at('many', longName(i)), 'new');
    for (let i = 0; i < LOWER_NAMES; i += 3) writeFileSync(at('many', longName(i)), 'changed');
    for (let i = 1; i < LOWER_NAMES * 2; i += 3) {
      unlinkSync(at('many', longName(i)));
      expected.delete(longName(i));
    }
    expect(namesIn(at('many'))).toEqual(expected);
    await site.remount();
    expect(namesIn(at('many'))).toEqual(expected);
    expect(statSync(at('many', longName(0))).size).toBe(7);
  });
});
