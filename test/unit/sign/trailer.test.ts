import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { concatBytes, equalBytes } from '../../../src/base/bytes.ts';
import { encodeManifest } from '../../../src/manifest/encode.ts';
import { MAX_SIGN1_BYTES } from '../../../src/sign/cose-sign1.ts';
import { signImageId } from '../../../src/sign/encode-sign1.ts';
import { asEmbedded, splitSignature, TRAILER_SIZE } from '../../../src/sign/trailer.ts';
import { byteString, text } from '../manifest/cbor-writer.ts';
import { refusal as manifestRefusal } from '../manifest/exercise.ts';
import { sampleTables } from '../manifest/sample.ts';
import { header, messageOf, refusalOf, rfc8032Pair } from './sign1.ts';

const MAGIC = Buffer.from('6366732d736967ff', 'hex');
const manifest = encodeManifest(sampleTables());
const signature = signImageId(new Uint8Array(32), rfc8032Pair().signing);
const signedImage = concatBytes(manifest, asEmbedded(signature));

const u32 = (value: number): Uint8Array => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
};
/** A file whose trailer says `length`. */
const claiming = (length: number, ...parts: readonly Uint8Array[]): Uint8Array =>
  Buffer.concat([...parts, u32(length), MAGIC]);
const refusal = (file: Uint8Array): string => refusalOf(() => splitSignature(file));

describe('splitSignature()', () => {
  test('returns the parts', () => {
    expect(signedImage.length).toBe(manifest.length + signature.length + TRAILER_SIZE);
    const parts = splitSignature(signedImage);
    expect(equalBytes(parts.manifest, manifest)).toBe(true);
    expect(parts.signature).toEqual(signature);
    // also if the file is a part of a buffer
    const inside = concatBytes(Uint8Array.of(1, 2, 3), signedImage).subarray(3);
    expect(equalBytes(splitSignature(inside).manifest, manifest)).toBe(true);
  });

  test('returns views: nothing of a large image is copied', () => {
    const { manifest: view } = splitSignature(signedImage);
    expect([view.buffer, view.byteOffset]).toEqual([signedImage.buffer, signedImage.byteOffset]);
  });

  test.each([
    ['an image without one', manifest],
    ['no bytes', new Uint8Array()],
    ['a byte of the magic', Uint8Array.of(0xff)],
    ['a cut magic', signedImage.subarray(0, -1)],
    ['bytes behind it', concatBytes(signedImage, Uint8Array.of(0))],
  ])('finds no signature in %s', (_, file) => {
    expect(splitSignature(file)).toEqual({ manifest: file, signature: undefined });
  });

  test.each([
    ['the magic alone', MAGIC, 'its trailer is cut off'],
    ['a length of which a byte is missing', Buffer.concat([Buffer.alloc(3), MAGIC]), 'its trailer is cut off'],
    ['a trailer alone', claiming(1), 'leaves none for the manifest'],
    ['a length of 0', claiming(0, manifest), 'by its trailer it has no bytes'],
    ['a huge length', claiming(0xffff_ffff, manifest, signature), 'by its trailer it has 4294967295 bytes'],
    [
      'a length above the limit',
      claiming(MAX_SIGN1_BYTES + 1, new Uint8Array(20_000)),
      `has ${MAX_SIGN1_BYTES + 1} bytes`,
    ],
    ['a length of the whole file', claiming(200, new Uint8Array(200)), 'leaves none for the manifest'],
    ['a length beyond the file', claiming(201, new Uint8Array(200)), 'leaves none for the manifest'],
    [
      'a length that reaches into the manifest',
      claiming(signature.length + 1, manifest, signature),
      'malformed signature',
    ],
    ['a length that is short of one byte', claiming(signature.length - 1, manifest, signature), 'malformed signature'],
    [
      'a signature without its tag',
      claiming(signature.length - 1, manifest, signature.subarray(1)),
      'do not begin with the CBOR tag 18',
    ],
    ['bytes that are not a signature', claiming(manifest.length - 1, manifest), 'malformed signature'],
    ['a cut signature', claiming(100, manifest, signature.subarray(0, 100)), 'malformed signature: cut off'],
  ])('refuses %s', (_, file, reason) => {
    expect(refusal(file)).toContain(reason);
  });

  test('leaves a second trailer in the manifest, which is then invalid', () => {
    const twice = concatBytes(signedImage, asEmbedded(signature));
    const { manifest: inner } = splitSignature(twice);
    expect(equalBytes(inner, signedImage)).toBe(true);
    expect(manifestRefusal(inner)).toContain(
      `${signedImage.length - manifest.length} bytes follow the end of the manifest`,
    );
  });

  test('accepts the largest signature', () => {
    const filler = (size: number): Uint8Array =>
      messageOf({ open: header([[text('x'), byteString(new Uint8Array(size))]]) });
    const large = filler(MAX_SIGN1_BYTES - filler(10_000).length + 10_000);
    expect(large.length).toBe(MAX_SIGN1_BYTES);
    expect(splitSignature(concatBytes(manifest, asEmbedded(large))).signature).toEqual(large);
  });

  test('splits or refuses any bytes without a crash', () => {
    const anyFile = fc.tuple(
      fc.uint8Array({ maxLength: 300 }),
      fc.oneof(fc.nat({ max: 400 }), fc.nat({ max: 0xffff_ffff })),
    );
    fc.assert(
      fc.property(anyFile, fc.boolean(), ([bytes, length], isSigned) => {
        const file = isSigned ? claiming(length, bytes, signature) : claiming(length, bytes);
        try {
          const parts = splitSignature(file);
          expect(parts.manifest.length + (parts.signature?.length ?? 0) + TRAILER_SIZE).toBe(file.length);
        } catch {
          refusal(file);
        }
      }),
      { numRuns: 5000 },
    );
  });

  test('no image without a signature ends like one with a signature', () => {
    const tables = sampleTables();
    const header = { ...tables.header, repositories: [{ uuid: 'x', hint: MAGIC.toString('latin1') }] };
    const ending = encodeManifest({ ...tables, header });
    expect(splitSignature(ending).signature).toBeUndefined();
  });
});
