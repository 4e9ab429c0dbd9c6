import {
  closeSync,
  constants,
  ftruncateSync,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  statSync,
  truncateSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { isErrno } from '../../../src/base/errno.ts';
import {
  attachTable,
  beginChanges,
  endChanges,
  openTable,
  type ResumedTable,
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

describe('a server that takes over makes a new table in place of', () => {
  /** A table in which one inode is open; the file's descriptor. */
  function used(): number {
    const { fd, table } = opened();
    const row = table.add(77, 5);
    table.addOpens(row, 2);
    table.setBacking(row, 9);
    table.add(78, 6);
    return fd;
  }
  const overwrite = (fd: number, at: number, bytes: Uint8Array): unknown => writeSync(fd, bytes, 0, bytes.length, at);
  const row = { id: 77, generation: 5, isOrphan: false, opens: 2, backing: 9 };

  test.each<[string, (fd: number, size: number) => unknown, readonly unknown[]]>([
    ['one that was emptied', (fd) => ftruncateSync(fd, 0), []],
    ['one that is shorter', (fd, size) => ftruncateSync(fd, size / 2), [row]],
    ['one that is longer, and has nothing', (fd, size) => [0, size + 4096].map((to) => ftruncateSync(fd, to)), []],
    ['one with another header', (fd) => overwrite(fd, 0, Buffer.from('nothing')), [row]],
    ['one with a count of rows that cannot be', (fd) => overwrite(fd, 68, Buffer.from('ffffff7f', 'hex')), [row]],
    ['one with a wrong count of rows', (fd) => overwrite(fd, 64, Uint8Array.of(1)), [row]],
    ['one without its buckets', (fd) => overwrite(fd, 4096, new Uint8Array(4 << 20).fill(1)), [row]],
  ])('%s, with what can be read of it', (_name, damage, salvaged) => {
    const fd = used();
    damage(fd, statSync(path()).size);
    const next = resumeTable(fd) as ResumedTable;
    expect([next.fd, next.salvaged, next.table.count]).toEqual([fd, salvaged, 0]);
    next.table.add(80, 1);
    // the server after that one
    const last = resumeTable(fd) as ResumedTable;
    expect([last.salvaged, last.table.find(80) >= 0]).toEqual([undefined, true]);
    expect(endChanges(last)).toBe(0);
    // a later mount searches
    expect(opened().table.count).toBe(0);
  });
});
