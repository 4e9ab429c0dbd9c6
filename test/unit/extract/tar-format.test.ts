import { spawnSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import {
  aclText,
  BLOCK,
  DIRECTORY,
  endOf,
  FILE,
  headersOf,
  RECORD,
  type TarMember,
  timeText,
} from '../../../src/extract/tar-format.ts';

const plain: TarMember = {
  type: FILE,
  path: Buffer.from('file'),
  mode: 0o644,
  uid: 1000,
  gid: 1001,
  mtime: 1_700_000_000n,
  mtimeNsec: 0,
  size: 0,
};

const archive = (...members: readonly TarMember[]): Buffer => {
  const bytes = Buffer.concat(members.map(headersOf));
  return Buffer.concat([bytes, endOf(bytes.length)]);
};

/** What GNU tar lists. */
function list(...members: readonly TarMember[]): string {
  const { stdout, stderr, status } = spawnSync('tar', ['--numeric-owner', '--full-time', '--utc', '-tvf', '-'], {
    input: archive(...members),
    encoding: 'utf8',
    env: { ...process.env, LC_ALL: 'C' },
  });
  expect({ stderr, status }).toEqual({ stderr: '', status: 0 });
  return stdout.trimEnd();
}

describe('headersOf()', () => {
  it('is one block if everything fits into it, with the checksum of its bytes', () => {
    const bytes = headersOf(plain);
    expect(bytes.length).toBe(BLOCK);
    const sum = bytes.reduce((total, byte, i) => total + (i >= 148 && i < 156 ? 0x20 : byte), 0);
    expect(Number.parseInt(Buffer.from(bytes.subarray(148, 154)).toString(), 8)).toBe(sum);
    expect(list(plain)).toBe('-rw-r--r-- 1000/1001         0 2023-11-14 22:13:20 file');
  });

  it('has records for numbers that do not fit', () => {
    const sparse = { size: 10 ** 13, data: [[10 ** 13, 0]] as const };
    const member = { ...plain, uid: 2 ** 32 - 2, gid: 2 ** 21, mtime: 2n ** 33n, mtimeNsec: 1, sparse };
    expect(list(member)).toBe('-rw-r--r-- 4294967294/2097152 10000000000000 2242-03-16 12:56:32.000000001 file');
    const header = headersOf({ ...plain, size: 2 ** 40 });
    expect(Buffer.from(header).toString('latin1')).toContain('22 size=1099511627776\n');
  });

  it.each([1, 99, 100, 101, 200, 255, 256, 257, 3000])(
    'keeps a path of %i bytes, with slashes or without',
    (length) => {
      const slashes = Buffer.from(
        'abcdefghi/'
          .repeat(Math.ceil(length / 10))
          .slice(0, length - 1)
          .concat('z'),
      );
      for (const path of [Buffer.alloc(length, 0x61), slashes]) {
        expect(list({ ...plain, path }).slice(-path.length)).toBe(path.toString());
      }
      const directory = Buffer.concat([slashes, Buffer.from('/')]);
      expect(list({ ...plain, type: DIRECTORY, path: directory }).slice(-directory.length)).toBe(directory.toString());
    },
  );

  it('has a length of each record that counts its own digits', () => {
    for (let n = 80; n < 120; n++) {
      const text = Buffer.from(headersOf({ ...plain, xattrs: [[Buffer.from('user.a'), Buffer.alloc(n, 0x78)]] }));
      const record = /^(\d+) SCHILY\.xattr\.user\.a=x+\n/.exec(text.subarray(BLOCK).toString('latin1'));
      expect(record?.[0].length).toBe(Number(record?.[1]));
    }
  });
});

describe('timeText()', () => {
  it.each([
    [0n, 0, '0'],
    [1n, 500_000_000, '1.5'],
    [1n, 1, '1.000000001'],
    [-1n, 0, '-1'],
    [-1n, 500_000_000, '-0.5'],
    [-2n, 1, '-1.999999999'],
    [10n, 0, '10'],
  ])('of %i s and %i ns is %s', (seconds, nanoseconds, text) => {
    expect(timeText(seconds, nanoseconds)).toBe(text);
  });
});

describe('aclText()', () => {
  const entry = (tag: number, permissions: number, id = 0xffffffff): Buffer => {
    const bytes = Buffer.alloc(8);
    bytes.writeUInt16LE(tag, 0);
    bytes.writeUInt16LE(permissions, 2);
    bytes.writeUInt32LE(id, 4);
    return bytes;
  };
  const VERSION = Buffer.from([2, 0, 0, 0]);

  it('has a number for each named user and group', () => {
    const entries = [entry(1, 6), entry(2, 4, 1000), entry(4, 5), entry(8, 7, 2 ** 31), entry(16, 7), entry(32, 0)];
    expect(aclText(Buffer.concat([VERSION, ...entries]))).toBe(
      'user::rw-,user:1000:r--,group::r-x,group:2147483648:rwx,mask::rwx,other::---',
    );
  });

  it('refuses other bytes', () => {
    for (const bytes of ['', 'abc', '\x02\0\0', '\x01\0\0\0', '\x02\0\0\0abc']) {
      expect(aclText(Buffer.from(bytes, 'latin1'))).toBeUndefined();
    }
    expect(aclText(Buffer.concat([VERSION, entry(3, 1)]))).toBeUndefined();
  });
});

describe('endOf()', () => {
  it('fills the last record, after two blocks of zeros', () => {
    for (const length of [0, BLOCK, RECORD - BLOCK, RECORD - 2 * BLOCK, RECORD, 7 * BLOCK]) {
      const end = endOf(length);
      expect((length + end.length) % RECORD).toBe(0);
      expect(end.length).toBeGreaterThanOrEqual(2 * BLOCK);
      expect(end.length).toBeLessThan(RECORD + 2 * BLOCK);
      expect(end.every((byte) => byte === 0)).toBe(true);
    }
  });
});
