import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { FUSE_GETXATTR, FUSE_LOOKUP } from '../../../src/fuse/abi.ts';
import { RequestBuffer } from '../../../src/fuse/request.ts';
import { fuseRequest, struct, u32, u64 } from './kernel-structs.ts';

const SIZE = 4096;

/** A buffer into which `bytes` were read; `accepted` is the result of `accept`. */
function requestOf(
  bytes: Uint8Array,
  buffer = new RequestBuffer(SIZE),
): { r: RequestBuffer; accepted: string | undefined } {
  buffer.bytes.set(bytes);
  return { r: buffer, accepted: buffer.accept(bytes.length) };
}

describe('RequestBuffer', () => {
  test('reads a LOOKUP, byte by byte', () => {
    // by hand: len 46, opcode 1, unique 0x1a, nodeid 1, uid 3, gid 4, pid 0x2b1, then "hello\0"
    const bytes = Buffer.from(
      '2e00000001000000' +
        '1a00000000000000' +
        '0100000000000000' +
        '0300000004000000' +
        'b102000000000000' +
        '68656c6c6f00',
      'hex',
    );
    const { r, accepted } = requestOf(bytes);
    expect(accepted).toBeUndefined();
    expect(r.opcode).toBe(FUSE_LOOKUP);
    expect([r.uniqueLow, r.uniqueHigh]).toEqual([0x1a, 0]);
    expect(r.nodeid).toBe(1);
    expect([r.uid, r.gid, r.pid]).toEqual([3, 4, 0x2b1]);
    expect(r.bodyLength).toBe(6);
    expect(Buffer.from(r.name(0) ?? []).toString()).toBe('hello');
  });

  test('keeps all 64 bits of unique, including bit 63 of a resent request', () => {
    const { r } = requestOf(fuseRequest(3, 1, Buffer.alloc(16), (1n << 63n) | 0x123456789an));
    expect(r.uniqueLow).toBe(0x3456789a);
    expect(r.uniqueHigh).toBe(0x80000012);
  });

  test.each([1, 0xffffffff, 0x1_0000_0000, 2 ** 52 - 1])('reads nodeid %i exactly', (nodeid) => {
    expect(requestOf(fuseRequest(3, nodeid)).r.nodeid).toBe(nodeid);
  });

  test('reads a nodeid beyond every id as a number beyond every id', () => {
    for (const nodeid of [1n << 52n, (1n << 53n) + 1n, (1n << 64n) - 1n]) {
      expect(requestOf(fuseRequest(3, nodeid)).r.nodeid).toBeGreaterThanOrEqual(2 ** 52);
    }
  });

  test('reads words and 64-bit fields of the body', () => {
    const { r } = requestOf(fuseRequest(15, 1, struct(u64(0x80000000_00000005n), u64(2 ** 52 - 1), u32(0xfffffffe))));
    expect([r.word(0), r.word(1)]).toEqual([5, 0x80000000]);
    expect(r.long(2)).toBe(2 ** 52 - 1);
    expect(r.word(4)).toBe(0xfffffffe);
  });

  test('finds a name after a structure', () => {
    const { r } = requestOf(fuseRequest(FUSE_GETXATTR, 1, struct(u32(100), u32(0), Buffer.from('user.a\0'))));
    expect(Buffer.from(r.name(8) ?? []).toString()).toBe('user.a');
  });

  test('reads a name as bytes, including an empty one', () => {
    const name = Buffer.from([0xff, 0x0a, 0x2f, 0x01]);
    expect(Buffer.from(requestOf(fuseRequest(1, 1, struct(name, Buffer.of(0)))).r.name(0) ?? []).equals(name)).toBe(
      true,
    );
    expect(requestOf(fuseRequest(1, 1, Buffer.of(0))).r.name(0)).toHaveLength(0);
  });
});

describe('RequestBuffer with too few bytes', () => {
  test.each([0, 1, 39])('accept() refuses %i bytes', (length) => {
    const buffer = new RequestBuffer(SIZE);
    buffer.bytes.set(fuseRequest(1, 1, Buffer.from('name\0')));
    expect(buffer.accept(length)).toContain(`a request of ${length} bytes has no header`);
  });

  test.each([-1, 1])('accept() refuses a length that is wrong by %i', (by) => {
    const bytes = fuseRequest(3, 1, Buffer.alloc(16));
    bytes.writeUInt32LE(bytes.length + by, 0);
    expect(requestOf(bytes).accepted).toContain(`a request of 56 bytes claims ${56 + by}`);
  });

  test('accepts a header alone', () => {
    const { r, accepted } = requestOf(fuseRequest(17, 1));
    expect(accepted).toBeUndefined();
    expect(r.bodyLength).toBe(0);
  });

  test('returns 0 beyond the end, not bytes of the previous request', () => {
    const buffer = new RequestBuffer(SIZE);
    requestOf(fuseRequest(15, 1, Buffer.alloc(40, 0xff)), buffer);
    const { r } = requestOf(fuseRequest(15, 1, Buffer.alloc(6, 0xee)), buffer);
    expect(r.word(0)).toBe(0xeeeeeeee);
    expect([r.word(1), r.word(2), r.long(4)]).toEqual([0, 0, 0]);
  });

  test('finds no name without its own NUL', () => {
    const buffer = new RequestBuffer(SIZE);
    requestOf(fuseRequest(1, 1, Buffer.alloc(40)), buffer); // leaves NULs in the buffer
    expect(requestOf(fuseRequest(1, 1, Buffer.from('name')), buffer).r.name(0)).toBeUndefined();
    expect(requestOf(fuseRequest(1, 1), buffer).r.name(0)).toBeUndefined();
    expect(requestOf(fuseRequest(FUSE_GETXATTR, 1, u32(5)), buffer).r.name(8)).toBeUndefined();
  });

  test('finds no name if the buffer is full and has no NUL', () => {
    const buffer = new RequestBuffer(64);
    expect(requestOf(fuseRequest(1, 1, Buffer.alloc(24, 0x61)), buffer).r.name(0)).toBeUndefined();
  });

  test('never throws, for any bytes', () => {
    const buffer = new RequestBuffer(512);
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 512 }), fc.nat(600), (bytes, at) => {
        const { r } = requestOf(bytes, buffer);
        expect(r.word(at)).toBeGreaterThanOrEqual(0);
        expect(r.long(at)).toBeGreaterThanOrEqual(0);
        expect(r.name(at)?.length ?? 0).toBeLessThanOrEqual(bytes.length);
        expect([r.opcode, r.uniqueHigh, r.uniqueLow, r.nodeid].every((value) => value >= 0)).toBe(true);
      }),
      { numRuns: 1000 },
    );
  });
});
