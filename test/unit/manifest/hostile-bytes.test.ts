/** Bytes that are not an image: cut off, with flipped bits, mutated, or well-formed CBOR of another kind. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { concatBytes } from '../../../src/base/bytes.ts';
import { encodeManifest } from '../../../src/manifest/encode.ts';
import {
  array,
  byteString,
  head,
  imageBytes,
  MAJOR,
  map,
  type Overrides,
  selfDescribed,
  tagged,
  text,
  topEntries,
  uint,
} from './cbor-writer.ts';
import { exercise, refusal, refusedOrServes } from './exercise.ts';
import { sampleTables } from './sample.ts';

const tables = sampleTables();
const image = encodeManifest(tables);
const hex = (digits: string): Uint8Array => Buffer.from(digits.replaceAll(' ', ''), 'hex');

/** The refusal of the sample image with some of its items replaced. */
const refusalWith = (overrides: Overrides): string => refusal(imageBytes(tables, overrides));

describe('decodeManifest() and damage', () => {
  it('accepts the sample image, and every lookup in it works', () => {
    expect(refusedOrServes(image)).toBe(true);
    exercise(tables);
  });

  it('refuses an image that is cut off at any byte', () => {
    for (let length = 0; length < image.length; length++) refusal(image.subarray(0, length));
  });

  it('refuses an image with any bit flipped, or serves it without a crash', () => {
    const copy = Uint8Array.from(image);
    let accepted = 0;
    for (let i = 0; i < copy.length * 8; i++) {
      const at = i >> 3;
      copy[at] = (copy[at] as number) ^ (1 << (i & 7));
      if (refusedOrServes(copy)) accepted++;
      copy[at] = image[at] as number;
    }
    // most of an image is digests, names and numbers, which may have any value
    expect(accepted).toBeGreaterThan(1000);
    expect(accepted).toBeLessThan(copy.length * 7);
  });

  it('refuses an image with random changes, or serves it without a crash', () => {
    const change = fc.record({
      at: fc.nat({ max: image.length - 1 }),
      bytes: fc.oneof(fc.uint8Array({ minLength: 1, maxLength: 8 }), fc.constantFrom(hex('ffffffff'), hex('00000000'))),
      kind: fc.constantFrom('overwrite', 'insert', 'delete', 'repeat'),
    });
    fc.assert(
      fc.property(fc.array(change, { minLength: 1, maxLength: 4 }), (changes) => {
        let bytes: Uint8Array = image;
        for (const { at, bytes: piece, kind } of changes) {
          const end = kind === 'overwrite' || kind === 'delete' ? at + piece.length : at;
          const middle =
            kind === 'delete' ? new Uint8Array(0) : kind === 'repeat' ? bytes.subarray(at, at + 64) : piece;
          bytes = concatBytes(bytes.subarray(0, at), middle, bytes.subarray(end));
        }
        refusedOrServes(bytes);
      }),
      { numRuns: 3000 },
    );
  });

  it('refuses random bytes after the tag', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        refusal(concatBytes(hex('d9d9f7'), bytes));
      }),
      { numRuns: 3000 },
    );
  });
});

describe('decodeManifest() and the form of the file', () => {
  const refusals: readonly (readonly [what: string, bytes: Uint8Array, message: string])[] = [
    ['an empty file', hex(''), 'the file is empty'],
    ['a file without the tag', image.subarray(3), 'does not begin with the CBOR tag 55799'],
    ['text', Buffer.from('#!/bin/sh\necho hello\n'), 'does not begin with the CBOR tag 55799'],
    ['the tag alone', hex('d9d9f7'), 'cut off at byte 3'],
    ['the tag twice', concatBytes(hex('d9d9f7'), image), 'tag 55799 at byte 3 has no place'],
    ['a byte after the end', concatBytes(image, hex('00')), '1 bytes follow the end'],
    ['two images in one file', concatBytes(image, image), 'bytes follow the end'],
    ['a number', selfDescribed(uint(1)), 'the top level is not a map'],
    ['an array', selfDescribed(array([])), 'the top level is not a map'],
    ['an empty map', selfDescribed(map([])), 'its version is missing'],
  ];
  for (const [what, bytes, message] of refusals) {
    it(`refuses ${what}`, () => expect(refusal(bytes)).toContain(message));
  }

  const items: readonly (readonly [what: string, overrides: Overrides, message: string])[] = [
    ['version 0', { version: uint(0) }, 'its version is 0; this program reads version 1'],
    ['version 2', { version: uint(2) }, 'its version is 2; this program reads version 1'],
    ['a version that is text', { version: text('1') }, 'its version is "1";'],
    ['an unknown hash', { hash: text('md5') }, 'its hash is "md5"; known are'],
    ['a hash that is not text', { hash: byteString(Buffer.from('blake3')) }, 'its hash is a byte string;'],
    ['a hash that is a large number', { hash: uint(2 ** 40) }, 'its hash is 1099511627776; known are'],
    ['a hash that is a map', { hash: map([]) }, 'its hash is a map;'],
    ['a hash that moves the cursor', { hash: text('\x1b[2J\n') }, 'its hash is "\\x1b[2J\\x0a"; known are'],
    ['a huge hash', { hash: text('h'.repeat(1000)) }, `its hash is "${'h'.repeat(60)}…"; known are`],
    ['a version that is a large number', { version: uint(2 ** 40) }, 'its version is 1099511627776;'],
    ['a block size that is a large number', { blockSize: uint(2 ** 40) }, 'its block size is 1099511627776;'],
    ['another block size', { blockSize: uint(4096) }, 'its block size is 4096'],
    ['a table that is not a map', { inodes: array([]) }, 'inodes is not a map'],
    ['a table without its columns', { directories: map([]) }, 'directories has the keys ; it must have inode, parent'],
    [
      'a uint32 column that is bytes',
      { 'inodes.mode': byteString(hex('00')) },
      'inodes.mode is not an array of uint32',
    ],
    ['a uint32 column of uint64', { 'inodes.mode': tagged(71, byteString(hex(''))) }, 'inodes.mode is not an array of'],
    [
      'a uint64 column of uint32',
      { 'inodes.id': tagged(70, byteString(hex(''))) },
      'inodes.id is not an array of uint64',
    ],
    ['a sint64 column of uint64', { 'inodes.mtime': tagged(71, byteString(hex(''))) }, 'is not an array of sint64'],
    ['bytes that are a uint32 column', { 'dirents.names': tagged(70, byteString(hex(''))) }, 'is not a byte string'],
    ['bytes that are text', { 'dirents.names': text('name') }, 'dirents.names is not a byte string'],
    ['a column of plain numbers', { 'inodes.mode': array([uint(1)]) }, 'inodes.mode is not an array of uint32'],
    ['a column of 5 bytes', { 'inodes.mode': tagged(70, byteString(hex('0102030405'))) }, 'no multiple of 4'],
    ['no repositories', { repositories: uint(0) }, 'repositories is not an array'],
    ['a repository that is not a map', { repositories: array([uint(1)]) }, 'repositories row 0 is not a map'],
    [
      'a repository without a hint',
      { repositories: array([map([['uuid', text('u')]])]) },
      'repositories row 0 has the keys',
    ],
  ];
  for (const [what, overrides, message] of items) {
    it(`refuses ${what}`, () => expect(refusalWith(overrides)).toContain(message));
  }

  it('refuses a repository name that is not text', () => {
    const entry = map([
      ['uuid', uint(1)],
      ['hint', text('')],
    ]);
    expect(refusalWith({ repositories: array([entry]) })).toContain('repositories row 0 is not text');
  });

  it('refuses keys in another order, and missing, additional or mistyped keys', () => {
    const entries = topEntries(tables);
    const [first, second, ...rest] = entries as [[string, Uint8Array], [string, Uint8Array]];
    const keys = (list: readonly (readonly [string, Uint8Array])[]): string => refusal(selfDescribed(map(list)));
    expect(keys([second, first, ...rest])).toContain('the top level has the keys hash, version');
    expect(keys(entries.slice(0, -1))).toContain('the top level has the keys');
    expect(keys([...entries, ['\x1b]0;t\x07\ncfs: good', uint(1)]])).toContain(
      '\\x1b]0;t\\x07\\x0acfs: good; it must have version',
    );
    expect(keys([...entries, ['more', uint(1)]])).toContain('the top level has the keys');
    const numbered = concatBytes(head(MAJOR.map, 1), uint(1), uint(1));
    expect(refusal(selfDescribed(numbered))).toContain('its version is missing');
  });

  it('refuses a duplicate key', () => {
    const entries = topEntries(tables);
    const [version] = entries as [[string, Uint8Array]];
    refusal(selfDescribed(map([version, ...entries])));
    refusal(selfDescribed(map([...entries, version])));
    const repository = map([
      ['uuid', text('u')],
      ['hint', text('h')],
      ['uuid', text('u')],
    ]);
    refusalWith({ repositories: array([repository]) });
  });

  it('refuses text that is not UTF-8', () => {
    const bad = concatBytes(head(MAJOR.text, 2), hex('ff fe'));
    const repository = concatBytes(head(MAJOR.map, 2), text('uuid'), text('u'), text('hint'), bad);
    refusalWith({ repositories: array([repository]) });
  });
});

describe('decodeManifest() and CBOR that is not allowed in an image', () => {
  const items: readonly (readonly [what: string, item: Uint8Array, message: string])[] = [
    ['an indefinite byte string', hex('5f 41 00 ff'), 'an indefinite or reserved length'],
    ['an indefinite text', hex('7f 61 61 ff'), 'an indefinite or reserved length'],
    ['an indefinite array', hex('9f ff'), 'an indefinite or reserved length'],
    ['an indefinite map', hex('bf ff'), 'an indefinite or reserved length'],
    ['a break', hex('ff'), 'of major type 7'],
    ['a reserved length', hex('1c'), 'an indefinite or reserved length'],
    ['a negative number', hex('20'), 'major type 1'],
    ['false', hex('f4'), 'major type 7'],
    ['null', hex('f6'), 'major type 7'],
    ['undefined', hex('f7'), 'major type 7'],
    ['a half float', hex('f9 3c00'), 'major type 7'],
    ['a float', hex('fa 3f800000'), 'major type 7'],
    ['a small double', hex('fb 0000000100000000'), 'major type 7'],
    ['a double', hex('fb 3ff0000000000000'), 'of major type 7'],
    ['a simple value', hex('e1'), 'major type 7'],
    ['a date', tagged(1, uint(1)), 'tag 1 '],
    ['a bignum', tagged(2, byteString(hex('010000000000000000'))), 'tag 2 '],
    ['a negative bignum', tagged(3, byteString(hex('01'))), 'tag 3 '],
    ['a shared string', tagged(25, uint(0)), 'tag 25 '],
    ['a serialized object (tag 27)', tagged(27, array([text('RegExp'), text('a')])), 'tag 27 '],
    ['a shared value', tagged(28, array([])), 'tag 28 '],
    ['a cycle', tagged(29, uint(0)), 'tag 29 '],
    ['a uint8 array', tagged(64, byteString(hex('00'))), 'tag 64 '],
    ['a big-endian uint32 array', tagged(66, byteString(hex('00000000'))), 'tag 66 '],
    ['a double array', tagged(86, byteString(hex('0000000000000000'))), 'tag 86 '],
    ['a record definition of cbor-x', tagged(0xe000, array([array([text('a')]), uint(1)])), 'tag 57344 '],
    ['a record definition of cbor-x, the other way', tagged(105, array([uint(0), array([])])), 'tag 105 '],
    ['a bundled string table of cbor-x', tagged(14, uint(1)), 'tag 14 '],
    ['a packed value', tagged(51, array([array([]), uint(0)])), 'tag 51 '],
    ['a set', tagged(258, array([])), 'tag 258 '],
    ['an array tag on text', tagged(70, text('abcd')), 'tag 70 at byte'],
    ['an array tag on an array', tagged(70, array([])), 'tag 70 at byte'],
    ['a tag on a tag', tagged(70, tagged(70, byteString(hex('')))), 'tag 70 at byte'],
    ['a tag with nothing behind it', tagged(70, hex('')), 'tag 70 at byte'],
    ['a number in too many bytes', head(MAJOR.unsigned, 1, 1), 'not in its shortest form'],
    ['a number in eight bytes', head(MAJOR.unsigned, 65536, 8), 'not in its shortest form'],
    ['a length in too many bytes', concatBytes(head(MAJOR.text, 1, 2), hex('61')), 'not in its shortest form'],
    ['a tag in too many bytes', concatBytes(head(MAJOR.tag, 70, 4), byteString(hex(''))), 'not in its shortest form'],
    ['a number of 2^53', concatBytes(hex('1b'), hex('0020000000000000')), 'is out of range'],
    ['the largest number', hex('1b ffffffffffffffff'), 'is out of range'],
    ['arrays in arrays', concatBytes(new Uint8Array(1000).fill(0x81), uint(0)), 'nested deeper'],
    ['a million arrays in arrays', concatBytes(new Uint8Array(1_000_000).fill(0x81), uint(0)), 'nested deeper'],
    ['a million tags', concatBytes(new Uint8Array(1_000_000).fill(0xc6), uint(0)), 'tag 6 '],
    ['200,000 numbers', array(new Array<Uint8Array>(200_000).fill(uint(0))), 'more than 100000 items'],
  ];
  for (const [what, item, message] of items) {
    it(`refuses ${what}`, () => {
      expect(refusal(selfDescribed(item))).toContain(message);
      expect(refusalWith({ blockSize: item })).toContain(message);
      expect(refusalWith({ repositories: item })).toContain(message);
    });
  }
});

describe('decodeManifest() and claimed sizes', () => {
  const billion = 1_000_000_000;
  const claims: readonly (readonly [what: string, item: Uint8Array])[] = [
    ['a byte string of a billion bytes', head(MAJOR.bytes, billion)],
    ['a byte string of 2^52 bytes', head(MAJOR.bytes, 2 ** 52)],
    ['a text of a billion bytes', head(MAJOR.text, billion)],
    ['an array of a billion items', head(MAJOR.array, billion)],
    ['an array of 2^52 items', head(MAJOR.array, 2 ** 52)],
    ['a map of a billion entries', head(MAJOR.map, billion)],
    ['a column of a billion rows', tagged(70, head(MAJOR.bytes, 4 * billion))],
  ];
  for (const [what, item] of claims) {
    it(`refuses ${what}, without using the memory`, () => {
      const before = process.memoryUsage();
      for (let i = 0; i < 10; i++) {
        expect(refusal(selfDescribed(item))).toMatch(/cut off/);
        expect(refusalWith({ 'inodes.mode': item })).toMatch(/cut off/);
        expect(refusalWith({ repositories: item })).toMatch(/cut off/);
      }
      const after = process.memoryUsage();
      expect(after.arrayBuffers - before.arrayBuffers).toBeLessThan(50e6);
      expect(after.heapUsed - before.heapUsed).toBeLessThan(50e6);
    });
  }
});
