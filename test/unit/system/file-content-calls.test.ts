import {
  chmodSync,
  closeSync,
  constants,
  fstatSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statfsSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { afterAll, describe, expect, test } from 'vitest';
import { EBADF, EFBIG, EINVAL, EIO, ENODEV, ENOTTY, EOPNOTSUPP, EXDEV, isErrno } from '../../../src/base/errno.ts';
import {
  cloneFd,
  copyFileRange,
  copySparse,
  fallocateFd,
  syncFd,
  truncateFd,
  writeAll,
} from '../../../src/system/file-content-calls.ts';
import { statVfs } from '../../../src/system/file-status.ts';
import { O_PATH } from '../../../src/system/libc.ts';
import { SEEK_DATA, seek } from '../../../src/system/reading-writing.ts';
import { Random } from '../../support/random.ts';
import { useScratch } from '../store/scratch.ts';

const at = useScratch();
const MIB = 1 << 20;
const KEEP_SIZE = 1;
const PUNCH_HOLE = 2;

const memory = mkdtempSync('/dev/shm/cfs-test.');
afterAll(() => rmSync(memory, { recursive: true }));
/** copy_file_range(2) between `memory` and the scratch directory is refused. */
const memoryIsOther = statSync(memory).dev !== statSync(at()).dev;

const opened: number[] = [];
afterAll(() => {
  for (const fd of opened) closeSync(fd);
});

function open(path: string, flags: string | number = 'w+'): number {
  const fd = openSync(path, flags);
  opened.push(fd);
  return fd;
}

describe('the size', () => {
  const fd = open(at('size'));

  test('truncateFd() makes a file longer, beyond 4 GiB, and shorter', () => {
    for (const size of [10, 5 * 1024 * MIB + 3, 7, 0]) {
      expect(truncateFd(fd, size)).toBe(0);
      expect(fstatSync(fd).size).toBe(size);
    }
  });

  test('fallocateFd() allocates, keeps the size, and punches holes', () => {
    expect(fallocateFd(fd, 0, 0, MIB)).toBe(0);
    expect(fstatSync(fd)).toMatchObject({ size: MIB, blocks: MIB / 512 });
    expect(fallocateFd(fd, PUNCH_HOLE | KEEP_SIZE, 0, MIB)).toBe(0);
    expect(fstatSync(fd)).toMatchObject({ size: MIB, blocks: 0 });
    expect(fallocateFd(fd, KEEP_SIZE, MIB, MIB)).toBe(0);
    expect(fstatSync(fd)).toMatchObject({ size: MIB, blocks: MIB / 512 });
    expect(fallocateFd(fd, PUNCH_HOLE, 0, MIB)).toBe(EOPNOTSUPP);
    expect(fallocateFd(fd, 0, 0, 0)).toBe(EINVAL);
  });

  test.each([-1, Number.NaN, -(2 ** 63), Number.NEGATIVE_INFINITY])('%d is not a size', (size) => {
    expect([truncateFd(fd, size), fallocateFd(fd, 0, size, 1), fallocateFd(fd, 0, 0, size)]).toEqual([
      EINVAL,
      EINVAL,
      EINVAL,
    ]);
    expect(writeAll(fd, Uint8Array.of(1), size)).toBe(EINVAL);
    expect(fstatSync(fd).size).toBe(MIB);
  });

  test.each([2 ** 53 - 1, 2 ** 53, 2 ** 63, 2 ** 64, Number.POSITIVE_INFINITY])('%d is too large', (size) => {
    expect([truncateFd(fd, size), fallocateFd(fd, 0, 0, size), writeAll(fd, Uint8Array.of(1), size)]).toEqual([
      EFBIG,
      EFBIG,
      EFBIG,
    ]);
    expect(fstatSync(fd).size).toBe(MIB);
  });

  test('needs a file that is open for writing', () => {
    const reading = open(at('size'), 'r');
    // the error of ftruncate(2) is EINVAL
    expect(truncateFd(reading, 0)).toBe(EINVAL);
    expect(fallocateFd(reading, 0, 0, 1)).toBe(EBADF);
    expect(writeAll(reading, Uint8Array.of(1), 0)).toBe(EBADF);
    expect([truncateFd(-1, 0), syncFd(-1, false), syncFd(-1, true)]).toEqual([EBADF, EBADF, EBADF]);
    expect(fallocateFd(open('/dev/null', 'r+'), 0, 0, 1)).toBe(ENODEV);
  });
});

test('writeAll() writes at an offset; syncFd() waits for the disk', () => {
  const fd = open(at('written'));
  const bytes = new Random(1).bytes(3 * MIB);
  expect(writeAll(fd, bytes, 5)).toBe(3 * MIB);
  expect(readFileSync(at('written')).equals(Buffer.concat([new Uint8Array(5), bytes]))).toBe(true);
  expect(writeAll(fd, Uint8Array.of(), 100)).toBe(0);
  expect([syncFd(fd, true), syncFd(fd, false)]).toEqual([0, 0]);
  expect(syncFd(open(at(), 'r'), false)).toBe(0);
});

test('copyFileRange() copies a part, and nothing at the end', () => {
  writeFileSync(at('from'), '0123456789');
  const to = open(at('to'));
  const from = open(at('from'), 'r');
  expect(copyFileRange(from, 4, to, 2, 3)).toBe(3);
  expect(readFileSync(at('to'), 'latin1')).toBe('\0\x00456');
  expect(copyFileRange(from, 8, to, 0, 100)).toBe(2);
  expect(copyFileRange(from, 10, to, 0, 100)).toBe(0);
  expect(copyFileRange(to, 0, from, 0, 1)).toBe(EBADF);
});

test('statVfs() returns the same as statfs(2), also for an O_PATH descriptor', () => {
  const expected = statfsSync(memory);
  for (const fd of [open(memory, 'r'), open(memory, O_PATH)]) {
    const status = statVfs(fd);
    if (isErrno(status)) throw new Error(`errno ${status}`);
    // other processes write there
    expect(status).toMatchObject({ blockSize: expected.bsize, blocks: expected.blocks, nameMax: 255 });
    expect(status.blocksFree).toBeGreaterThan(0);
    expect(status.blocksFree).toBeLessThanOrEqual(status.blocks);
    expect(status.blocksAvailable).toBeLessThanOrEqual(status.blocksFree);
    expect(status.files).toBe(expected.files);
    expect(status.filesFree).toBeLessThan(status.files);
  }
  expect(statVfs(-1)).toBe(EBADF);
});

/** Data at some places, with holes between them and at the end. */
function writeSparse(path: string, size: number, places: readonly number[]): Buffer {
  const fd = openSync(path, 'w+');
  const random = new Random(7);
  for (const place of places) writeSync(fd, random.bytes(100_000), 0, 100_000, place);
  ftruncateSync(fd, size);
  closeSync(fd);
  return readFileSync(path);
}

describe.each([
  { way: 'by the kernel', from: at('sparse'), to: at('copy') },
  { way: 'from another file system', from: `${memory}/sparse`, to: at('copy') },
  { way: 'to another file system', from: at('sparse'), to: `${memory}/copy` },
])('copySparse() $way', ({ from, to }) => {
  test.runIf(memoryIsOther || (from === at('sparse') && to === at('copy'))).each([
    { what: 'a file with holes', size: 20 * MIB, places: [MIB, 5 * MIB, 13 * MIB] },
    { what: 'a file of data', size: 100_000, places: [0] },
    { what: 'data up to the end', size: 4 * MIB, places: [4 * MIB - 100_000] },
    { what: 'a hole alone', size: 6 * 1024 * MIB, places: [] },
    { what: 'an empty file', size: 0, places: [] },
  ])('copies $what', ({ size, places }) => {
    if (size > 1024 * MIB) {
      writeFileSync(from, '');
      const fd = open(from, 'r+');
      ftruncateSync(fd, size);
      const copy = open(to);
      expect(copySparse(fd, copy, size)).toBe(0);
      expect(fstatSync(copy)).toMatchObject({ size, blocks: 0 });
      return;
    }
    const content = writeSparse(from, size, places);
    const copy = open(to);
    expect(copySparse(open(from, 'r'), copy, size)).toBe(0);
    expect(readFileSync(to).equals(content)).toBe(true);
    // holes stay holes, except for a block at each end that belongs to the data beside it
    expect(fstatSync(copy).blocks).toBeLessThan(places.length * (100_000 / 512) + places.length * 16 + 8);
    if (places[0] === MIB) expect(seek(copy, 0, SEEK_DATA)).toBe(MIB);
  });

  test.runIf(memoryIsOther || (from === at('sparse') && to === at('copy')))('copies the beginning', () => {
    const content = writeSparse(from, 3 * MIB, [0, MIB]);
    for (const size of [0, 1, 50_000, 500_000, MIB + 1]) {
      const copy = open(to);
      expect(copySparse(open(from, 'r'), copy, size)).toBe(0);
      expect(readFileSync(to).equals(content.subarray(0, size))).toBe(true);
    }
  });
});

test('copySparse() returns the error', () => {
  writeFileSync(at('short'), 'short');
  const to = open(at('copy'));
  expect(copySparse(open(at('short'), 'r'), to, 6)).toBe(EIO);
  expect(fstatSync(to).size).toBe(0);
  expect(copySparse(-1, to, 6)).toBe(EBADF);
  expect(copySparse(open(at('short'), 'r'), -1, 5)).toBeLessThan(0);
  writeFileSync(at('read-only'), '');
  chmodSync(at('read-only'), 0o600);
  expect(copySparse(open(at('short'), 'r'), open(at('read-only'), constants.O_RDONLY), 5)).toBeLessThan(0);
  expect(readFileSync(at('read-only'), 'utf8')).toBe('');
});

test('cloneFd() is refused if blocks cannot be shared', () => {
  writeFileSync(`${memory}/source`, 'content');
  const from = open(`${memory}/source`, 'r');
  expect([EOPNOTSUPP, ENOTTY]).toContain(cloneFd(from, open(`${memory}/clone`)));
  expect([EXDEV, EOPNOTSUPP, ENOTTY]).toContain(cloneFd(from, open(at('clone'))));
  expect(cloneFd(-1, open(at('clone')))).toBe(EBADF);
});
