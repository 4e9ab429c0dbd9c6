/** Requests that no kernel sends, directories that need several replies, and requests that arrive twice. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { EINVAL, EIO } from '../../../src/base/errno.ts';
import { type Filesystem, ROOT_INO } from '../../../src/fs/filesystem.ts';
import type { ImageFilesystem } from '../../../src/fs/image-filesystem.ts';
import * as abi from '../../../src/fuse/abi.ts';
import { imageFixture, inoOf, smallTree } from '../fs/image-fixture.ts';
import { useScratch } from '../store/scratch.ts';
import { Client } from './client.ts';
import { fuseReadIn, fuseRequest, struct, u32, u64, zeros } from './kernel-structs.ts';

const at = useScratch();
const { fs } = imageFixture(smallTree, at('small'));
const client = new Client(fs);
const many = inoOf(fs, '/many');
const name = (text: string): Buffer => Buffer.from(`${text}\0`);

const RESENT = 1n << 63n;

/** Every opcode, with a well-formed body. */
const requests: readonly (readonly [number, Buffer])[] = [
  [abi.FUSE_LOOKUP, name('bin')],
  [abi.FUSE_LOOKUP, name('nothing')],
  [abi.FUSE_GETATTR, zeros(16)],
  [abi.FUSE_STATX, zeros(24)],
  [abi.FUSE_READDIR, fuseReadIn(0, 0, 4096)],
  [abi.FUSE_READDIRPLUS, fuseReadIn(0, 0, 4096)],
  [abi.FUSE_STATFS, zeros(0)],
  [abi.FUSE_GETXATTR, struct(u32(100), u32(0), name('user.a'))],
  [abi.FUSE_LISTXATTR, zeros(8)],
  [abi.FUSE_OPENDIR, zeros(8)],
  [abi.FUSE_WRITE, zeros(40)],
  [9999, zeros(40)],
];

describe('a resent request', () => {
  test.each(requests)('opcode %i is answered as before, with bit 63 in unique', (opcode, body) => {
    const first = client.send(fuseRequest(opcode, ROOT_INO, body, 0x1234n));
    const again = client.send(fuseRequest(opcode, ROOT_INO, body, RESENT | 0x1234n));
    expect(first?.unique).toBe(0x1234n);
    expect(again).toEqual({ ...first, unique: RESENT | 0x1234n });
  });

  test('unique is copied, not computed: every bit of it is returned', () => {
    for (const unique of [2n, 2n ** 32n, 2n ** 53n + 1n, 2n ** 64n - 1n, RESENT, 0xdeadbeef_fffffffen]) {
      expect(client.send(fuseRequest(abi.FUSE_GETATTR, ROOT_INO, zeros(16), unique))?.unique).toBe(unique);
    }
  });
});

describe('a directory larger than a reply', () => {
  const sizes = [280, 512, 1000, 4096, 65_536, 1 << 20];
  const expected = client.readDirectory(abi.FUSE_READDIR, many, false, 1 << 20).map((entry) => entry.name);

  test('is whole to begin with', () => {
    expect(expected).toHaveLength(302);
    expect(new Set(expected).size).toBe(302);
    expect(expected.slice(0, 2)).toEqual(['.', '..']);
  });

  test.each(sizes)('is listed by READDIR with %i bytes, every entry once, in order', (size) => {
    expect(client.readDirectory(abi.FUSE_READDIR, many, false, size).map((entry) => entry.name)).toEqual(expected);
  });

  test.each(sizes)('is listed by READDIRPLUS with %i bytes, every entry once, in order', (size) => {
    const entries = client.readDirectory(abi.FUSE_READDIRPLUS, many, true, size);
    expect(entries.map((entry) => entry.name)).toEqual(expected);
    for (const { name: text, ino, entry } of entries) {
      const nodeid = Number(entry?.readBigUInt64LE(0));
      expect(nodeid).toBe(text === '.' || text === '..' ? 0 : ino);
    }
  });

  test('READDIRPLUS returns the same entry as LOOKUP', () => {
    for (const { name: text, entry } of client.readDirectory(abi.FUSE_READDIRPLUS, many, true, 4096).slice(2, 20)) {
      expect(entry?.equals(client.ask(abi.FUSE_LOOKUP, many, name(text)))).toBe(true);
    }
  });

  test('READDIR has the inode numbers and types of LOOKUP', () => {
    for (const { name: text, ino, type } of client.readDirectory(abi.FUSE_READDIR, ROOT_INO, false, 4096).slice(2)) {
      const entry = client.ask(abi.FUSE_LOOKUP, ROOT_INO, name(text));
      expect(ino).toBe(Number(entry.readBigUInt64LE(0)));
      expect(type).toBe(entry.readUInt32LE(100) >>> 12);
    }
  });

  test('a buffer too small for one entry is an error, not the end of the directory', () => {
    expect(client.call(abi.FUSE_READDIR, many, fuseReadIn(0, 0, 31)).error).toBe(EINVAL);
    expect(client.call(abi.FUSE_READDIRPLUS, many, fuseReadIn(0, 0, 151)).error).toBe(EINVAL);
  });

  test('a cookie beyond the end returns the end', () => {
    for (const cookie of [303n, 2n ** 32n, 2n ** 63n, 2n ** 64n - 1n]) {
      expect(client.ask(abi.FUSE_READDIR, many, fuseReadIn(0, cookie, 4096))).toHaveLength(0);
    }
  });
});

describe('a malformed request', () => {
  test.each([0, 1, 39])('of %i bytes gets no answer and a line in the log', (length) => {
    const other = new Client(fs);
    expect(other.send(fuseRequest(abi.FUSE_GETATTR, 1, zeros(16)).subarray(0, length))).toBeUndefined();
    expect(other.log).toEqual([
      `ignored bytes that are not a FUSE request: a request of ${length} bytes has no header`,
    ]);
  });

  test('that claims another length gets no answer', () => {
    const other = new Client(fs);
    const bytes = fuseRequest(abi.FUSE_GETATTR, 1, zeros(16));
    bytes.writeUInt32LE(40, 0);
    expect(other.send(bytes)).toBeUndefined();
    expect(other.log[0]).toContain('a request of 56 bytes claims 40');
  });

  test.each([abi.FUSE_LOOKUP, abi.FUSE_GETXATTR])('opcode %i without a NUL after its name returns EINVAL', (opcode) => {
    client.ask(abi.FUSE_GETATTR, ROOT_INO, zeros(200)); // NULs that must not be found
    expect(client.call(opcode, ROOT_INO, Buffer.from('user.name without end')).error).toBe(EINVAL);
    expect(client.call(opcode, ROOT_INO).error).toBe(EINVAL);
  });

  test.each(requests.map(([opcode]) => opcode))('opcode %i without its body is answered', (opcode) => {
    const { error } = client.call(opcode, ROOT_INO);
    expect(error).toBeGreaterThan(-512);
    expect(error).toBeLessThanOrEqual(0);
  });

  test('that makes the file system throw returns EIO, and logs a line with the place', () => {
    const broken = new Client({
      slots: 1,
      features: { xattrs: true, acls: false },
      getattr: () => {
        throw new Error('a bug');
      },
    } as unknown as Filesystem);
    expect(broken.call(abi.FUSE_GETATTR, 77, zeros(16)).error).toBe(EIO);
    expect(broken.log).toHaveLength(1);
    expect(broken.log[0]).toMatch(/^GETATTR of inode 77 failed, EIO: Error: a bug \|/);
    expect(broken.log[0]).not.toContain('\n');
  });
});

/** Accepts only handles that it returned: a random RELEASE must not close a descriptor of the test. */
function guarded(inner: ImageFilesystem): Filesystem {
  const handles = new Set<number>();
  return {
    slots: inner.slots,
    features: inner.features,
    lookup: (parent, text, out) => inner.lookup(parent, text, out),
    getattr: (ino, out) => inner.getattr(ino, out),
    readdir: (ino, from, out, sink) => inner.readdir(ino, from, out, sink),
    readlink: (ino) => inner.readlink(ino),
    open(slot) {
      const file = inner.open(slot);
      if (typeof file === 'object') handles.add(file.handle);
      return file;
    },
    read: (ino, handle, offset, into) => (handles.has(handle) ? inner.read(ino, handle, offset, into) : EIO),
    release(handle) {
      if (handles.delete(handle)) inner.release(handle);
    },
    seek: (ino, offset, hole) => inner.seek(ino, offset, hole),
    getxattr: (ino, text) => inner.getxattr(ino, text),
    listxattr: (ino) => inner.listxattr(ino),
    slotOf: (ino) => inner.slotOf(ino),
    sizeOf: (slot) => inner.sizeOf(slot),
    current: (slot) => inner.current(slot),
    ioctl: (ino, command, input, room) => inner.ioctl(ino, command, input, room),
    statfs: () => inner.statfs(),
  };
}

describe('random requests', () => {
  const fuzzed = new Client(guarded(fs));
  const inodes = ['/', '/bin', '/bin/tool', '/bin/small', '/etc/conf.d/a', '/etc/current', '/null', '/many'].map(
    (path) => BigInt(inoOf(fs, path)),
  );

  /** The conditions that the kernel sets for a reply (fs/fuse/dev.c, fuse_dev_do_write). */
  function expectAcceptable(bytes: Uint8Array): void {
    const reply = fuzzed.send(bytes);
    if (reply === undefined) return;
    expect(reply.error).toBeGreaterThan(-512);
    expect(reply.error).toBeLessThanOrEqual(0);
    expect(reply.unique).toBe(Buffer.from(bytes).readBigUInt64LE(8));
    if (reply.error !== 0) expect(reply.payload).toHaveLength(0);
  }

  const nodeid = fc.oneof(fc.constantFrom(...inodes), fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }));
  const opcode = fc.oneof(fc.integer({ min: 0, max: 60 }), fc.nat(0xffffffff));
  const word = fc.oneof(fc.constantFrom(0, 1, 2, 100, 4096, 0x7fffffff, 0x80000000, 0xffffffff), fc.nat(0xffffffff));
  const body = fc.oneof(
    fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
    fc.array(word, { maxLength: 20 }).map((words) => struct(...words.map(u32))),
    fc.constantFrom(name('bin'), name('..'), name('tool'), struct(zeros(8), name('user.a'))),
  );

  test('with a header get valid answers', () => {
    fc.assert(
      fc.property(opcode, nodeid, body, fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), (op, id, bytes, unique) => {
        expectAcceptable(fuseRequest(op, id, bytes, unique));
      }),
      { numRuns: 5000 },
    );
  });

  test('of any bytes never throw', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.boolean(), (bytes, honest) => {
        const request = Buffer.from(bytes);
        if (honest && request.length >= 4) request.writeUInt32LE(request.length, 0);
        expectAcceptable(request);
      }),
      { numRuns: 5000 },
    );
  });

  test('cut off anywhere never throw', () => {
    for (const [op, bytes] of requests) {
      const whole = fuseRequest(op, many, bytes);
      for (let length = 40; length <= whole.length; length++) {
        const cut = Buffer.from(whole.subarray(0, length));
        cut.writeUInt32LE(length, 0);
        expectAcceptable(cut);
      }
    }
  });

  test('leave the dispatcher able to answer', () => {
    expect(fuzzed.ask(abi.FUSE_LOOKUP, ROOT_INO, name('bin')).readBigUInt64LE(0)).toBe(BigInt(inoOf(fs, '/bin')));
    expect(fuzzed.ask(abi.FUSE_READDIR, ROOT_INO, struct(u64(0), u64(0), u32(4096), zeros(20))).length).toBeGreaterThan(
      0,
    );
  });
});
