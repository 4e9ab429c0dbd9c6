/** Handles as bytes and as text. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { toHex } from '../../../src/base/bytes.ts';
import {
  type FileHandle,
  formatHandle,
  fuseConnectableHandle,
  fuseHandle,
  fuseIdentity,
  parseHandle,
} from '../../../src/base/handle-format.ts';

/** The handle in docs/handles.md, which came from the kernel. */
const FILE = { id: 750932654139706, generation: 920651130 };
const DIRECTORY = { id: 0xd8dbcef2c54b2, generation: 0 };

const inode = fc.record({ id: fc.integer({ min: 1, max: 2 ** 52 - 1 }), generation: fc.nat(2 ** 32 - 1) });
const handle: fc.Arbitrary<FileHandle> = fc.record({
  type: fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }),
  bytes: fc.uint8Array({ minLength: 1, maxLength: 128 }),
});

describe('fuseHandle()', () => {
  it('writes the same words as fs/fuse/inode.c', () => {
    expect(formatHandle(fuseHandle(FILE))).toBe('0x81:f8aa02003aa919227a05e036');
    expect(formatHandle(fuseHandle({ id: 1, generation: 0 }))).toBe('0x81:000000000100000000000000');
  });

  it('for a file other than a directory, appends the parent, and sets the flags', () => {
    const file = fuseConnectableHandle(FILE, DIRECTORY);
    expect(formatHandle(file)).toBe('0x10082:f8aa02003aa919227a05e036bc8d0d00b2542cef00000000');
    expect(formatHandle(fuseConnectableHandle(DIRECTORY, undefined))).toBe('0x30081:bc8d0d00b2542cef00000000');
  });

  it('is decoded by fuseIdentity()', () => {
    fc.assert(
      fc.property(inode, inode, (file, parent) => {
        expect(fuseIdentity(fuseHandle(file))).toEqual(file);
        expect(fuseIdentity(fuseConnectableHandle(file, parent))).toEqual({ ...file, parent });
      }),
    );
  });
});

describe('fuseIdentity()', () => {
  it.each([
    ['another type', '0x1:f8aa02003aa919227a05e036'],
    ['too few bytes', '0x81:f8aa02003aa91922'],
    ['too many bytes', '0x81:f8aa02003aa919227a05e03600'],
    ['no parent', '0x82:f8aa02003aa919227a05e036'],
  ])('is undefined for %s', (_, text) => {
    expect(fuseIdentity(parseHandle(text) as FileHandle)).toBeUndefined();
  });
});

describe('parseHandle()', () => {
  it('parses the output of formatHandle(), and a struct file_handle', () => {
    fc.assert(
      fc.property(handle, (any) => {
        expect(parseHandle(formatHandle(any))).toEqual(any);
        expect(parseHandle(formatHandle(any).toUpperCase().replace('X', 'x'))).toEqual(any);
        const head = Buffer.alloc(8);
        head.writeUInt32LE(any.bytes.length, 0);
        head.writeInt32LE(any.type, 4);
        expect(parseHandle(toHex(Buffer.concat([head, any.bytes])))).toEqual(any);
      }),
    );
  });

  it.each([
    '',
    '0x81',
    '0x81:',
    '0x81:f',
    '0x81:xx',
    '81:f8aa',
    '0x81:f8aa ',
    '0x100000081:f8aa',
    // struct file_handle without its bytes, with too many, and cut off
    '0c00000081000000',
    '0100000081000000f8aa',
    '0c00000081000000f8aa02003aa91922',
    // more than the kernel takes
    `0x81:${'00'.repeat(129)}`,
    `8100000081000000${'00'.repeat(129)}`,
  ])('is undefined for "%s"', (text) => {
    expect(parseHandle(text)).toBeUndefined();
  });
});
