import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ENOENT, type Errno } from '../../../src/base/errno.ts';
import { type Attributes, emptyAttributes } from '../../../src/fs/filesystem.ts';
import { REPLY_BUFFER_SIZE } from '../../../src/fuse/abi.ts';
import { ReplyBuffer } from '../../../src/fuse/reply.ts';
import { makeDevice } from '../../support/libc.ts';
import * as k from './kernel-structs.ts';

/** Each field has a value of its own, which is too large for a narrower field. */
const regular: Attributes = {
  ino: 0xf_1234_5678_9abc,
  shownIno: 0xd_fedc_ba98_7654,
  generation: 0xfedcba98,
  mode: 0o104755,
  nlink: 3,
  uid: 0xfffffffe,
  gid: 70_000,
  rdev: 0,
  size: 2 ** 40 + 513,
  blocks: 2 ** 33 + 7,
  mtimeLow: 0x89abcdef,
  mtimeHigh: 0x3,
  mtimeNsec: 999_999_999,
  ctimeLow: 0x9abcdef1,
  ctimeHigh: 0x4,
  ctimeNsec: 987_654_321,
};
/** One second and one nanosecond before 1970. */
const before1970: Attributes = { ...regular, mtimeLow: 0xfffffffe, mtimeHigh: 0xffffffff, mtimeNsec: 999_999_999 };
const device: Attributes = { ...regular, mode: 0o020666, size: 0, rdev: makeDevice(0xabc, 0x12345) };
const directory: Attributes = { ...regular, mode: 0o041777, ino: 2, shownIno: 3 };

const FILL = 0xaa;

/** The payload that `write` writes into a buffer with other content; the bytes after it must stay. */
function payloadOf(write: (reply: ReplyBuffer) => number): Buffer {
  const reply = new ReplyBuffer(4096);
  reply.bytes.fill(FILL);
  const length = write(reply);
  expect(reply.bytes.subarray(0, 16).every((byte) => byte === FILL)).toBe(true);
  expect(reply.bytes.subarray(16 + length).every((byte) => byte === FILL)).toBe(true);
  return Buffer.from(reply.bytes.subarray(16, 16 + length));
}

const expectBytes = (actual: Uint8Array, expected: Uint8Array): void =>
  expect(Buffer.from(actual).toString('hex')).toBe(Buffer.from(expected).toString('hex'));

describe('ReplyBuffer.header()', () => {
  test('is fuse_out_header: total length, error, unique', () => {
    const reply = new ReplyBuffer(4096);
    expect(reply.header(0x3456789a, 0x80000012, 100, 0)).toBe(116);
    expectBytes(reply.bytes.subarray(0, 16), Buffer.from('74000000' + '00000000' + '9a78563412000080', 'hex'));
  });

  test('has a negative error in two’s complement', () => {
    const reply = new ReplyBuffer(4096);
    for (const errno of [ENOENT, -511 as Errno]) {
      expect(reply.header(1, 0, 0, errno)).toBe(16);
      expectBytes(reply.bytes.subarray(0, 16), k.fuseOutHeader(0, errno, 1));
      expect(reply.bytes.readInt32LE(4)).toBe(errno);
    }
  });
});

describe('ReplyBuffer structures', () => {
  const all: readonly (readonly [string, Attributes])[] = [
    ['a large regular file', regular],
    ['a time before 1970', before1970],
    ['a device', device],
    ['a directory', directory],
    ['nothing but zeros', emptyAttributes()],
  ];

  test.each(all)('entry() is fuse_entry_out of %s', (_name, attributes) => {
    expectBytes(
      payloadOf((reply) => reply.entry(attributes)),
      k.fuseEntryOut(attributes),
    );
  });

  test.each(all)('attr() is fuse_attr_out of %s', (_name, attributes) => {
    expectBytes(
      payloadOf((reply) => reply.attr(attributes)),
      k.fuseAttrOut(attributes),
    );
  });

  test.each(all)('statx() is fuse_statx_out of %s', (_name, attributes) => {
    const [major, minor] = attributes === device ? [0xabc, 0x12345] : [0, 0];
    expectBytes(
      payloadOf((reply) => reply.statx(attributes)),
      k.fuseStatxOut(attributes, major, minor),
    );
  });

  test('entry() of a small file, byte by byte', () => {
    const small = {
      ...emptyAttributes(),
      ino: 5,
      shownIno: 5,
      generation: 7,
      mode: 0o100644,
      nlink: 1,
      uid: 1,
      gid: 2,
      size: 600,
      blocks: 2,
    };
    expectBytes(
      payloadOf((reply) => reply.entry({ ...small, mtimeLow: 0x65, mtimeNsec: 9, ctimeLow: 0x66, ctimeNsec: 8 })),
      Buffer.from(
        // nodeid, generation, entry_valid, attr_valid, *_nsec
        '0500000000000000' +
          '0700000000000000' +
          'ffffff7f00000000' +
          'ffffff7f00000000' +
          '0000000000000000' +
          // ino, size 600, blocks 2
          '0500000000000000' +
          '5802000000000000' +
          '0200000000000000' +
          // atime, mtime, ctime
          '6500000000000000' +
          '6500000000000000' +
          '6600000000000000' +
          '090000000900000008000000' +
          // mode, nlink, uid, gid, rdev, blksize, flags
          'a4810000' +
          '01000000' +
          '01000000' +
          '02000000' +
          '00000000' +
          '00100000' +
          '00000000',
        'hex',
      ),
    );
  });

  test('negativeEntry() has nodeid 0 and a life time', () => {
    expectBytes(
      payloadOf((reply) => reply.negativeEntry()),
      k.negativeEntryOut,
    );
  });

  test('open() is fuse_open_out', () => {
    expectBytes(
      payloadOf((reply) => reply.open(0x80000000, 77, 0x80, 123456)),
      k.fuseOpenOut((77n << 32n) | 0x80000000n, 0x80, 123456),
    );
  });

  test('statfs() is fuse_statfs_out with nothing free', () => {
    const statistics = { blockSize: 4096, blocks: 2 ** 40 + 1, files: 2 ** 33, nameMax: 255 };
    expectBytes(
      payloadOf((reply) => reply.statfs(statistics)),
      k.struct(
        k.u64(2 ** 40 + 1), // blocks
        k.u64(0), // bfree
        k.u64(0), // bavail
        k.u64(2 ** 33), // files
        k.u64(0), // ffree
        k.u32(4096), // bsize
        k.u32(255), // namelen
        k.u32(4096), // frsize
        k.u32(0), // padding
        k.zeros(24), // spare[6]
      ),
    );
  });

  test('xattrSize() is fuse_getxattr_out', () => {
    expectBytes(
      payloadOf((reply) => reply.xattrSize(65536)),
      k.struct(k.u32(65536), k.u32(0)),
    );
  });

  test('data() is the unchanged bytes', () => {
    const bytes = Buffer.from([0, 255, 10, 128]);
    expectBytes(
      payloadOf((reply) => reply.data(bytes)),
      bytes,
    );
  });

  test('payload() is the room after the header, as large as the largest read', () => {
    const reply = new ReplyBuffer(REPLY_BUFFER_SIZE);
    expect(reply.capacity).toBe(1 << 20);
    reply.payload(3).set([1, 2, 3]);
    expectBytes(reply.bytes.subarray(15, 20), Buffer.from([0, 1, 2, 3, 0]));
    expect(reply.payload(reply.capacity)).toHaveLength(1 << 20);
  });
});

describe('ReplyBuffer.dirent()', () => {
  const NAMES = ['a', 'seven77', 'eight888', 'n'.repeat(255), 'ü\xff\n'].map((name) => Buffer.from(name, 'latin1'));
  const types: readonly (readonly [number, number])[] = [
    [0o140777, 12], // DT_SOCK
    [0o120777, 10], // DT_LNK
    [0o100644, 8], // DT_REG
    [0o060660, 6], // DT_BLK
    [0o040755, 4], // DT_DIR
    [0o020666, 2], // DT_CHR
    [0o010600, 1], // DT_FIFO
  ];

  test.each(NAMES)('is fuse_dirent, padded to 8 bytes: %s', (name) => {
    expectBytes(
      payloadOf((reply) => reply.dirent(0, 4000, name, 2 ** 40 + 5, regular, false)),
      k.fuseDirent(regular.shownIno, 2 ** 40 + 5, 8, name),
    );
  });

  test.each(NAMES)('is fuse_direntplus with the entry before it: %s', (name) => {
    expectBytes(
      payloadOf((reply) => reply.dirent(0, 4000, name, 9, device, true)),
      k.struct(k.fuseEntryOut(device), k.fuseDirent(device.shownIno, 9, 2, name)),
    );
  });

  test.each(types)('mode 0%o has the type of readdir(3)', (mode, type) => {
    const bytes = payloadOf((reply) => reply.dirent(0, 4000, Buffer.from('x'), 1, { ...regular, mode }, false));
    expect(bytes.readUInt32LE(20)).toBe(type);
  });

  test.each(['.', '..'])('writes no nodeid for %s: the kernel must not count it as looked up', (dots) => {
    const name = Buffer.from(dots);
    expectBytes(
      payloadOf((reply) => reply.dirent(0, 4000, name, 1, directory, true)),
      k.struct(k.zeros(128), k.fuseDirent(3, 1, 4, name)),
    );
  });

  test.each(['...', '..a', '.a', 'a.'])('writes the nodeid of %s', (text) => {
    expect(payloadOf((reply) => reply.dirent(0, 4000, Buffer.from(text), 1, directory, true)).readUInt32LE(0)).toBe(2);
  });

  test('returns the offset of the next entry, and -1 if this one has no room', () => {
    const reply = new ReplyBuffer(4096);
    const name = Buffer.from('name');
    expect(reply.dirent(0, 64, name, 1, regular, false)).toBe(32);
    expect(reply.dirent(32, 64, name, 2, regular, false)).toBe(64);
    const before = Buffer.from(reply.bytes);
    expect(reply.dirent(64, 64, name, 3, regular, false)).toBe(-1);
    expect(reply.dirent(33, 64, name, 3, regular, false)).toBe(-1);
    expect(reply.dirent(0, 31, name, 1, regular, false)).toBe(-1);
    expect(reply.dirent(0, 159, name, 1, regular, true)).toBe(-1);
    expect(reply.bytes.equals(before)).toBe(true);
    expect(reply.dirent(0, 160, name, 1, regular, true)).toBe(160);
  });

  test('fills a page with any names, and writes no byte beyond it', () => {
    const reply = new ReplyBuffer(8192);
    fc.assert(
      fc.property(
        fc.array(fc.uint8Array({ minLength: 1, maxLength: 255 })),
        fc.boolean(),
        fc.nat(4096),
        (names, plus, limit) => {
          reply.bytes.fill(FILL);
          let at = 0;
          for (const name of names) {
            const end = reply.dirent(at, limit, name, 1, regular, plus);
            if (end < 0) break;
            expect(end % 8).toBe(0);
            at = end;
          }
          expect(at).toBeLessThanOrEqual(limit);
          expect(reply.bytes.subarray(16 + at).every((byte) => byte === FILL)).toBe(true);
        },
      ),
      { numRuns: 50 },
    );
  });
});
