import { describe, expect, test } from 'vitest';
import { CfsError } from '../../../src/base/error.ts';
import {
  CACHE_SYMLINKS,
  DO_READDIRPLUS,
  EXPORT_SUPPORT,
  FUSE_INIT,
  HAS_RESEND,
  INIT_EXT,
  LARGE_REQUEST_BUFFER_SIZE,
  NO_OPENDIR_SUPPORT,
  PASSTHROUGH,
  POSIX_ACL,
} from '../../../src/fuse/abi.ts';
import { decodeInit, encodeInitReply, negotiate } from '../../../src/fuse/init.ts';
import { fuseInitIn, fuseOutHeader, fuseRequest, struct, u16, u32, zeros } from './kernel-structs.ts';

// bits of include/uapi/linux/fuse.h that cfs never sets, or only for some images
const FUSE_POSIX_LOCKS = 1;
const FUSE_READDIRPLUS_AUTO = 14;
const FUSE_WRITEBACK_CACHE = 16;
const FUSE_NO_OPEN_SUPPORT = 17;
const FUSE_SECURITY_CTX = 32;

const ALL = 0xffffffff;
const initRequest = (minor: number, flags: number, flags2: number): Buffer =>
  fuseRequest(FUSE_INIT, 0, fuseInitIn(minor, flags, flags2), 0xabc);
const plain = { passthrough: false, acls: false, openless: false };

/** The payload of the reply to the kernel's INIT. */
function answerTo(request: Buffer, wishes: Parameters<typeof negotiate>[1]): Buffer {
  const decoded = decodeInit(request);
  const reply = encodeInitReply(request, decoded, negotiate(decoded, wishes));
  expect(Buffer.from(reply.subarray(0, 16)).equals(fuseOutHeader(64, 0, 0xabc))).toBe(true);
  return Buffer.from(reply.subarray(16));
}

function failure(bytes: Uint8Array): CfsError {
  try {
    decodeInit(bytes);
  } catch (error) {
    expect(error).toBeInstanceOf(CfsError);
    return error as CfsError;
  }
  throw new Error('it did not throw');
}

describe('decodeInit()', () => {
  test('reads version, readahead and all 64 flags', () => {
    const { major, minor, maxReadahead, flags } = decodeInit(initRequest(45, 0x80000001, 0x80000021));
    expect({ major, minor, maxReadahead }).toEqual({ major: 7, minor: 45, maxReadahead: 0x20000 });
    expect([...flags].sort((a, b) => a - b)).toEqual([0, 31, 32, 37, 63]);
  });

  test('reads the 16 bytes of kernels before 5.17, which have no flags2', () => {
    const short = fuseRequest(FUSE_INIT, 0, fuseInitIn(34, ALL, 0).subarray(0, 16));
    expect([...decodeInit(short).flags].every((bit) => bit < 32)).toBe(true);
  });

  test('reads a request at any offset in a larger buffer', () => {
    const buffer = Buffer.alloc(200, 0xff);
    initRequest(40, 1, 0).copy(buffer, 33);
    expect([...decodeInit(buffer.subarray(33, 33 + 104)).flags]).toEqual([0]);
  });

  test.each([
    ['another opcode', fuseRequest(FUSE_INIT + 1, 0, fuseInitIn(40, 0, 0))],
    ['half a body', fuseRequest(FUSE_INIT, 0, fuseInitIn(40, 0, 0).subarray(0, 12))],
    ['nothing', new Uint8Array(0)],
  ])('refuses %s', (_what, bytes) => {
    expect(failure(bytes).kind).toBe('mount');
    expect(failure(bytes).message).toContain('did not begin with an INIT request');
  });

  test.each([
    ['an older minor version', fuseInitIn(30, 0, 0), '7.30'],
    ['another major version', fuseInitIn(40, 0, 0, 8), '8.40'],
    ['an older major version', fuseInitIn(99, 0, 0, 6), '6.99'],
  ])('refuses %s, and names the one that is needed', (_what, body, version) => {
    const error = failure(fuseRequest(FUSE_INIT, 0, body));
    expect(error.kind).toBe('mount');
    expect(error.message).toContain(`the kernel speaks FUSE ${version}`);
    expect(error.message).toContain('7.31');
  });
});

describe('negotiate()', () => {
  const offer = (flags: number, flags2: number, minor = 45): ReturnType<typeof decodeInit> =>
    decodeInit(initRequest(minor, flags, flags2));

  test('requests nothing that was not offered', () => {
    expect([...negotiate(offer(0, 0), { passthrough: true, acls: true, openless: false }).flags]).toEqual([]);
    expect([...negotiate(offer(1 << EXPORT_SUPPORT, 0), plain).flags]).toEqual([EXPORT_SUPPORT]);
  });

  test('requests the features that the design needs', () => {
    const { flags } = negotiate(offer(ALL, ALL), plain);
    for (const bit of [EXPORT_SUPPORT, DO_READDIRPLUS, CACHE_SYMLINKS, NO_OPENDIR_SUPPORT, INIT_EXT, HAS_RESEND]) {
      expect(flags).toContain(bit);
    }
  });

  test('does not request features that would change semantics or cost speed', () => {
    const { flags } = negotiate(offer(ALL, ALL), { passthrough: true, acls: true, openless: false });
    const unwanted = [
      FUSE_POSIX_LOCKS,
      FUSE_READDIRPLUS_AUTO,
      FUSE_WRITEBACK_CACHE,
      FUSE_NO_OPEN_SUPPORT,
      FUSE_SECURITY_CTX,
    ];
    for (const bit of unwanted) expect(flags).not.toContain(bit);
  });

  test('requests passthrough and ACLs only on demand', () => {
    for (const passthrough of [true, false]) {
      for (const acls of [true, false]) {
        const { flags } = negotiate(offer(ALL, ALL), { passthrough, acls, openless: false });
        expect(flags.has(PASSTHROUGH)).toBe(passthrough);
        expect(flags.has(POSIX_ACL)).toBe(acls);
      }
    }
  });

  test('uses the older of both minor versions', () => {
    expect(negotiate(offer(0, 0, 31), plain).minor).toBe(31);
    expect(negotiate(offer(0, 0, 1000), plain).minor).toBe(41);
  });
});

describe('negotiate() of a writable mount', () => {
  const writable = { ...plain, writable: true };
  const take = (flags: number, flags2: number, wishes = writable): ReturnType<typeof negotiate> =>
    negotiate(decodeInit(initRequest(45, flags, flags2)), wishes);
  // bits of include/uapi/linux/fuse.h
  const needed = [
    ['ATOMIC_O_TRUNC', 3],
    ['BIG_WRITES', 5],
    ['DONT_MASK', 6],
    ['POSIX_ACL', 20],
    ['HANDLE_KILLPRIV_V2', 28],
    ['SETXATTR_EXT', 29],
  ] as const;

  test.each(needed)('wants %s, and does not do without', (_what, bit) => {
    expect(take(ALL, ALL).flags).toContain(bit);
    expect(() => take(ALL & ~(1 << bit), ALL)).toThrow(`needs (bits ${bit} of INIT)`);
    expect(negotiate(decodeInit(initRequest(45, ALL, ALL)), plain).flags).not.toContain(bit);
  });

  test('collects small writes in the kernel only if it does not write the files itself', () => {
    const passthrough = { ...writable, passthrough: true };
    expect(take(ALL, ALL, passthrough).flags).not.toContain(FUSE_WRITEBACK_CACHE);
    expect(take(ALL, ALL, passthrough).flags).toContain(PASSTHROUGH);
    // an older kernel, which has no passthrough
    expect(take(ALL, 0, passthrough).flags).toContain(FUSE_WRITEBACK_CACHE);
    expect(take(ALL, ALL).flags).toContain(FUSE_WRITEBACK_CACHE);
    expect(negotiate(decodeInit(initRequest(45, ALL, ALL)), plain).flags).not.toContain(FUSE_WRITEBACK_CACHE);
  });

  test('leaves locks to the kernel, and asks for every open', () => {
    const { flags } = take(ALL, ALL);
    const FUSE_FLOCK_LOCKS = 10;
    for (const bit of [FUSE_POSIX_LOCKS, FUSE_FLOCK_LOCKS, FUSE_NO_OPEN_SUPPORT, FUSE_READDIRPLUS_AUTO]) {
      expect(flags).not.toContain(bit);
    }
  });

  test('takes writes of a MiB', () => {
    const request = initRequest(45, ALL, ALL);
    expect(answerTo(request, writable).readUInt32LE(20)).toBe(1 << 20);
    expect(answerTo(request, plain).readUInt32LE(20)).toBe(4096);
    // fuse_in_header, fuse_write_in and the bytes (fs/fuse/dev.c, fuse_dev_do_read)
    expect(LARGE_REQUEST_BUFFER_SIZE).toBe(40 + 40 + (1 << 20));
  });
});

describe('encodeInitReply()', () => {
  test('is fuse_init_out of the common features', () => {
    expect(
      answerTo(initRequest(45, ALL, ALL), { passthrough: true, acls: true, openless: false }).toString('hex'),
    ).toBe(
      struct(
        u32(7), // major
        u32(41), // minor
        u32(0x20000), // max_readahead
        // ASYNC_READ, EXPORT_SUPPORT, DO_READDIRPLUS, PARALLEL_DIROPS, POSIX_ACL, MAX_PAGES, CACHE_SYMLINKS,
        // NO_OPENDIR_SUPPORT, INIT_EXT
        u32(0x41d42011),
        u16(64), // max_background
        u16(48), // congestion_threshold
        u32(4096), // max_write
        u32(1), // time_gran
        u16(256), // max_pages
        u16(0), // map_alignment
        u32((1 << 5) | (1 << 7)), // flags2: PASSTHROUGH, HAS_RESEND
        u32(1), // max_stack_depth
        zeros(24), // request_timeout, unused[11]
      ).toString('hex'),
    );
  });

  test('sets max_stack_depth only with passthrough: the kernel refuses 0 with it, and ignores it without', () => {
    expect(answerTo(initRequest(45, ALL, ALL), plain).readUInt32LE(36)).toBe(0);
    expect(
      answerTo(initRequest(45, ALL, 0), { passthrough: true, acls: false, openless: false }).readUInt32LE(36),
    ).toBe(0);
  });

  test('sets no flags2 for a kernel without them', () => {
    const request = fuseRequest(FUSE_INIT, 0, fuseInitIn(34, ALL & ~(1 << INIT_EXT), 0).subarray(0, 16), 0xabc);
    const reply = answerTo(request, { passthrough: true, acls: true, openless: false });
    expect(reply.readUInt32LE(32)).toBe(0);
    expect(reply.readUInt32LE(12) & (1 << INIT_EXT)).toBe(0);
  });

  test('copies all 64 bits of unique', () => {
    const request = initRequest(45, ALL, ALL);
    request.writeBigUInt64LE((1n << 63n) | 5n, 8);
    const decoded = decodeInit(request);
    const reply = Buffer.from(encodeInitReply(request, decoded, negotiate(decoded, plain)));
    expect(reply.readBigUInt64LE(8)).toBe((1n << 63n) | 5n);
  });
});
