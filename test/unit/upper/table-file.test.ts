import {
  closeSync,
  constants,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  statSync,
  truncateSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { isErrno } from '../../../src/base/errno.ts';
import {
  attachTable,
  beginChanges,
  endChanges,
  openTable,
  resumeTable,
  type TableFile,
} from '../../../src/upper/table-file.ts';
import { useScratch } from '../store/scratch.ts';

const at = useScratch();
const KEY = new Uint8Array(32).fill(7);
const open: number[] = [];
let work: number;
let number = 0;

beforeEach(() => {
  const path = at(`work-${number++}`);
  mkdirSync(path);
  work = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
  open.push(work);
});

afterEach(() => {
  for (const fd of open.splice(0)) closeSync(fd);
});

const path = (): string => join(at(`work-${number - 1}`), 'cfs-ids');

function opened(key = KEY): TableFile {
  const file = openTable(work, key);
  if (isErrno(file)) throw new Error(`${file}`);
  open.push(file.fd);
  return file;
}

/** A table with one row, of a mount that has ended. */
function leftBehind(): void {
  const file = opened();
  expect(beginChanges(file, true)).toBe(0);
  file.table.add(1234, 5);
  expect(endChanges(file)).toBe(0);
}

test('a new table is a file that only its user may read, with holes', () => {
  const { table, notKept } = opened();
  expect([table.count, notKept]).toEqual([0, undefined]);
  const { mode, size, blocks } = statSync(path());
  expect(mode & 0o777).toBe(0o600);
  expect(blocks * 512).toBeLessThan(size / 4);
});

test('the table of a mount that has ended is used again', () => {
  leftBehind();
  const { table } = opened();
  expect(table.find(1234)).toBeGreaterThanOrEqual(0);
});

test('the table of a mount that has not ended is made anew', () => {
  leftBehind();
  const second = opened();
  expect(beginChanges(second, true)).toBe(0);
  expect(opened().table.count).toBe(0);
});

test('a table for other layers is made anew', () => {
  leftBehind();
  expect(opened(new Uint8Array(32).fill(8)).table.count).toBe(0);
});

test('a table of another size, and one that is damaged, are made anew', () => {
  leftBehind();
  const { size } = statSync(path());
  truncateSync(path(), size - 4096);
  expect(opened().table.count).toBe(0);

  leftBehind();
  const fd = openSync(path(), 'r+');
  // the count of rows
  writeSync(fd, Uint8Array.of(0), 0, 1, 64);
  closeSync(fd);
  expect(opened().table.count).toBe(0);
});

test('a table that is made anew is a new file: another name of the old one shows nothing of it', () => {
  leftBehind();
  linkSync(path(), `${path()}-other`);
  const { ino } = statSync(path());
  opened(new Uint8Array(32).fill(8));
  expect(statSync(path()).ino).not.toBe(ino);
  expect(readdirSync(at(`work-${number - 1}`)).sort()).toEqual(['cfs-ids', 'cfs-ids-other']);
});

test('what is not a file, and cannot be removed, leaves the table in memory', () => {
  mkdirSync(path());
  const { table, notKept } = opened();
  expect(isErrno(notKept as number)).toBe(true);
  expect(table.add(99, 1)).toBeGreaterThanOrEqual(0);
});

test('threads, and a server that takes over, see the rows of the first one', () => {
  const { fd, table } = opened();
  table.add(77, 1);
  const attached = attachTable(fd);
  if (isErrno(attached as number)) throw new Error('not mapped');
  expect((attached as TableFile['table']).find(77)).toBe(table.find(77));
  const next = resumeTable(fd) as TableFile;
  expect(next.table.find(77)).toBe(table.find(77));
  next.table.remove(next.table.find(77));
  expect(table.find(77)).toBe(-1);
});

test('a server that takes over does not use a file in which there is no table', () => {
  const { fd } = opened();
  truncateSync(path(), 0);
  truncateSync(path(), 1 << 30);
  expect(resumeTable(fd)).toBeUndefined();
});
