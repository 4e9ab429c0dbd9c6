import { Encoder } from 'cbor-x';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { CborTag, readCbor } from '../../../src/sign/cbor-reader.ts';
import { byteString, head, MAJOR, text, uint } from '../manifest/cbor-writer.ts';
import { refusalOf } from './sign1.ts';

const hex = (digits: string): Uint8Array => Buffer.from(digits.replaceAll(' ', ''), 'hex');

describe('readCbor()', () => {
  // RFC 8949 appendix A
  test.each([
    ['00', 0],
    ['17', 23],
    ['1818', 24],
    ['1903e8', 1000],
    ['1a000f4240', 1_000_000],
    ['1b000000e8d4a51000', 1_000_000_000_000],
    ['20', -1],
    ['3863', -100],
    ['f4', false],
    ['f5', true],
    ['f6', null],
    ['62c3bc', 'ü'],
    ['80', []],
    ['8301820203820405', [1, [2, 3], [4, 5]]],
  ])('reads %s', (bytes, value) => {
    expect(readCbor(hex(bytes))).toEqual(value);
  });

  test('reads byte strings, maps and tags', () => {
    expect(readCbor(hex('4401020304'))).toEqual(Buffer.from([1, 2, 3, 4]));
    expect(readCbor(hex('a2 01 02 61 61 20'))).toEqual(
      new Map<unknown, unknown>([
        [1, 2],
        ['a', -1],
      ]),
    );
    expect(readCbor(hex('d2 80'))).toEqual(new CborTag(18, []));
  });

  test.each([
    ['', 'cut off at byte 0'],
    ['0000', '1 bytes follow its end'],
    ['18', 'cut off: 1 bytes are needed'],
    ['1817', 'not in its shortest form'],
    ['190017', 'not in its shortest form'],
    ['1b0020000000000000', 'out of range'],
    ['1bffffffffffffffff', 'out of range'],
    ['1c', 'indefinite or reserved length'],
    ['5f41ff ff', 'indefinite or reserved length'],
    ['9fff', 'indefinite or reserved length'],
    ['5affffffff', 'cut off: 4294967295 bytes'],
    ['7b001fffffffffffff', 'cut off: 9007199254740991 bytes'],
    ['9affffffff', 'cut off: 4294967295 bytes'],
    ['9b001fffffffffffff', 'cut off: 9007199254740991 bytes'],
    ['baffffffff', 'cut off: 8589934590 bytes'],
    ['61ff', 'not UTF-8'],
    ['a1 80 00', 'a key at byte 1 is neither'],
    ['a2 01 00 01 00', 'a key at byte 3 occurs twice'],
    ['f7', 'no place there'],
    ['f93c00', 'no place there'],
    ['ff', 'no place there'],
    ['818181818181818181 80', 'nested deeper than 8 levels'],
    ['d2d2d2d2d2d2d2d2d2 00', 'nested deeper than 8 levels'],
  ])('refuses %s', (bytes, reason) => {
    expect(refusalOf(() => readCbor(hex(bytes)))).toContain(reason);
  });

  test('treats a number and a text that look alike as two keys', () => {
    expect(readCbor(Buffer.concat([head(MAJOR.map, 2), uint(1), uint(0), text('1'), uint(0)]))).toHaveProperty(
      'size',
      2,
    );
  });

  test('never allocates a size that only a head claims', () => {
    const before = process.memoryUsage().arrayBuffers;
    for (const major of [2, 3, 4, 5]) refusalOf(() => readCbor(head(major, 0x7fff_ffff, 8)));
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(1 << 20);
  });

  test('reads the output of cbor-x', () => {
    const encoder = new Encoder({ useRecords: false, mapsAsObjects: false, tagUint8Array: false });
    const leaf = fc.oneof(fc.integer(), fc.string({ unit: 'grapheme' }), fc.boolean(), fc.constant(null));
    const { item } = fc.letrec((tie) => ({
      item: fc.oneof(
        { maxDepth: 5 },
        leaf,
        fc.array(tie('item'), { maxLength: 5 }),
        fc
          .array(fc.tuple(fc.oneof(fc.integer(), fc.string()), tie('item')), { maxLength: 5 })
          .map((entries) => new Map(entries)),
      ),
    }));
    fc.assert(
      fc.property(item, (value) => {
        expect(readCbor(encoder.encode(value))).toEqual(value);
      }),
    );
  });

  test('reads or refuses any bytes without a crash', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
        try {
          readCbor(bytes);
        } catch {
          refusalOf(() => readCbor(bytes));
        }
      }),
      { numRuns: 20_000 },
    );
  });

  test('returns views of byte strings, also of a part of a buffer', () => {
    const buffer = Buffer.concat([Buffer.from('xx'), byteString(Buffer.from('abc')), Buffer.from('yy')]);
    expect(Buffer.from(readCbor(buffer.subarray(2, -2)) as Uint8Array).toString()).toBe('abc');
  });
});
