import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, fstatSync, openSync, readFileSync, writeFileSync, writeSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { isErrno } from '../../../src/base/errno.ts';
import { COPY_NAME, ImageKeeper } from '../../../src/survival/image-keeper.ts';
import { endFileLease, takeFileLease } from '../../../src/system/file-lease.ts';
import { isSealedMemfd, memfdCreate } from '../../../src/system/memfd.ts';
import { until } from '../../support/until.ts';
import { useScratch } from '../store/scratch.ts';

const at = useScratch();
const CONTENT = `an image ${'of some length '.repeat(10_000)}`;

let image: number;
let log: string[];
let keeper: ImageKeeper | undefined;
let opened: number[];
let serial = 0;
let path: string;

beforeEach(() => {
  path = at(`image${serial++}`);
  writeFileSync(path, CONTENT);
  opened = [];
  image = open('r');
  log = [];
});

afterEach(() => {
  keeper?.end();
  keeper = undefined;
  opened.forEach(closeSync);
});

function open(flags: string): number {
  const fd = openSync(path, flags);
  opened.push(fd);
  return fd;
}

const say = (line: string): void => void log.push(line);
const begin = (): ImageKeeper => {
  keeper = ImageKeeper.begin(image, say);
  return keeper;
};
const textOf = (fd: number): string => readFileSync(`/proc/self/fd/${fd}`, 'utf8');

/** Whether the file system of the tests has leases: overlays and network file systems have none. */
const hasLeases = (): boolean => {
  const fd = open('r');
  const taken = takeFileLease(fd);
  endFileLease(fd);
  return !isErrno(taken);
};

describe('ImageKeeper', () => {
  test('makes no copy until a process opens the image for writing, which waits for the copy', async ({ skip }) => {
    if (!hasLeases()) skip();
    const own = begin();
    own.look();
    expect([own.source, fstatSync(own.copy).size]).toEqual([image, 0]);
    const writer = spawn('/bin/sh', ['-c', 'printf new >"$1"', 'sh', path]);
    const [status] = await once(writer, 'exit');
    expect(status).toBe(0);
    expect(readFileSync(path, 'utf8')).toBe('new');
    expect(own.source).toBe(own.copy);
    expect(textOf(own.copy)).toBe(CONTENT);
    expect(log).toEqual([]);
  });

  test('makes a copy at once if a process has the file open for writing', async () => {
    open('r+');
    const own = begin();
    own.look();
    await until('there is a copy', () => own.source === own.copy);
    expect(textOf(own.copy)).toBe(CONTENT);
    expect(() => writeSync(own.copy, 'x')).toThrow('EPERM');
  });

  test('keeps no copy of a file that was written to before the copy was complete, and reports that', async () => {
    const writing = open('r+');
    const own = begin();
    writeSync(writing, 'more', CONTENT.length);
    own.look();
    await until('it has tried', () => log.length > 0);
    expect(log).toEqual([expect.stringContaining('its file was written to')]);
    expect(own.source).toBe(image);
  });

  test('of the next server completes a copy that the earlier one had begun', async () => {
    open('r+');
    const copy = memfdCreate(COPY_NAME);
    if (isErrno(copy)) throw new Error(`memfd_create() gave ${copy}`);
    writeSync(copy, `${CONTENT}, and half of another`);
    keeper = ImageKeeper.resume(image, copy, say);
    const own = keeper;
    expect(own.source).toBe(image);
    own.look();
    own.look(); // once is enough
    await until('there is a copy', () => own.source === copy);
    expect(textOf(copy)).toBe(CONTENT);
    expect(isSealedMemfd(copy)).toBe(true);
  });

  test('of the next server continues with the existing copy', () => {
    const copy = memfdCreate(COPY_NAME);
    keeper = ImageKeeper.resume(image, copy as number, say);
    keeper.look();
    expect(log).toEqual([]);
  });

  test('works without a copy if the earlier version made none', () => {
    keeper = ImageKeeper.resume(image, -1, say);
    keeper.look();
    expect([keeper.source, keeper.copy]).toEqual([image, -1]);
  });

  test('lets writers continue when the mount ends', async () => {
    begin().end();
    keeper = undefined;
    const [status] = await once(spawn('/bin/sh', ['-c', 'printf new >"$1"', 'sh', path]), 'exit');
    expect(status).toBe(0);
    expect(log).toEqual([]);
  });
});
