import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { concatBytes, equalBytes } from '../../../src/base/bytes.ts';
import { blake3 } from '../../../src/base/digest.ts';
import { CfsError } from '../../../src/base/error.ts';
import { readImage } from '../../../src/image/image-file.ts';
import { CHECKSUM_SIZE, DamagedImageError, imageParts, splitImage } from '../../../src/image/image-parts.ts';
import { decodeManifest } from '../../../src/manifest/decode.ts';
import { encodeManifest } from '../../../src/manifest/encode.ts';
import { signImageId } from '../../../src/sign/encode-sign1.ts';
import { asEmbedded } from '../../../src/sign/trailer.ts';
import { sampleTables } from '../manifest/sample.ts';
import { refusalOf, rfc8032Pair } from '../sign/sign1.ts';

const directory = mkdtempSync(join(tmpdir(), 'cfs-image-parts-'));
afterAll(() => rmSync(directory, { recursive: true }));

const manifest = encodeManifest(sampleTables());
const id = blake3(manifest);
const signature = signImageId(id, rfc8032Pair().signing);
const plain = concatBytes(...imageParts(manifest, id));
const signed = concatBytes(...imageParts(manifest, id, signature));
const MAGIC = Buffer.from('6366732d73756dff', 'hex');

/** The error that `readImage` throws for a file with these bytes; undefined if it reads them. */
function failure(bytes: Uint8Array): CfsError | undefined {
  const path = join(directory, 'x.cfs');
  writeFileSync(path, bytes);
  try {
    readImage(path);
    return undefined;
  } catch (error) {
    expect(error).toBeInstanceOf(CfsError);
    return error as CfsError;
  }
}

/** Whether the checksum shows that bytes have changed. */
function isDamage(file: Uint8Array): boolean {
  try {
    splitImage(file);
    return false;
  } catch (error) {
    return error instanceof DamagedImageError;
  }
}

function isRefused(file: Uint8Array): boolean {
  try {
    decodeManifest(splitImage(file).manifest);
    return false;
  } catch (error) {
    return error instanceof CfsError && error.kind === 'image';
  }
}

describe('imageParts()', () => {
  test('ends with the BLAKE3 of everything before it, which is the id if there is no signature', () => {
    expect(plain).toEqual(concatBytes(manifest, id, MAGIC));
    const body = concatBytes(manifest, asEmbedded(signature));
    expect(signed).toEqual(concatBytes(body, blake3(body), MAGIC));
  });
});

describe('splitImage()', () => {
  test('returns the parts, as views', () => {
    for (const [file, expected] of [
      [plain, undefined],
      [signed, signature],
    ] as const) {
      const parts = splitImage(file);
      expect(equalBytes(parts.manifest, manifest)).toBe(true);
      expect(parts.manifest.buffer).toBe(file.buffer);
      expect(Buffer.from(parts.digest)).toEqual(Buffer.from(id));
      expect(parts.signature).toEqual(expected);
      expect(parts.hasChecksum).toBe(true);
    }
  });

  test('accepts images of versions that wrote no checksum', () => {
    const old = splitImage(manifest);
    expect([old.hasChecksum, Buffer.from(old.digest)]).toEqual([false, Buffer.from(id)]);
    expect(splitImage(concatBytes(manifest, asEmbedded(signature)))).toMatchObject({ signature, hasChecksum: false });
  });

  test('reports a wrong checksum as damage', () => {
    const damaged = plain.slice();
    damaged[5] = (damaged[5] as number) ^ 1;
    expect(() => splitImage(damaged)).toThrow(DamagedImageError);
    expect(refusalOf(() => splitImage(concatBytes(id, MAGIC)))).toContain('the file is damaged');
    // the magic alone is too short for a checksum
    expect(splitImage(MAGIC)).toMatchObject({ hasChecksum: false });
  });

  test('removes one checksum, not two', () => {
    const twice = concatBytes(plain, blake3(plain), MAGIC);
    expect(failure(twice)?.message).toContain(`${CHECKSUM_SIZE} bytes follow the end of the manifest`);
  });
});

describe('readImage()', () => {
  test.each([
    ['an image', plain],
    ['an image with its signature in it', signed],
  ])('refuses %s with any bit flipped', (_, file) => {
    expect(failure(file)).toBeUndefined();
    const damaged = file.slice();
    const accepted: number[] = [];
    for (let bit = 0; bit < file.length * 8; bit++) {
      const at = bit >> 3;
      damaged[at] = (damaged[at] as number) ^ (1 << (bit & 7));
      // with a bit of the last 8 bytes flipped there is no checksum, but there are bytes after the manifest
      const isTold = at < file.length - MAGIC.length ? isDamage(damaged) : isRefused(damaged);
      if (!isTold) accepted.push(bit);
      if (bit % 101 === 0) expect(failure(damaged)?.message).toContain('the file is damaged');
      damaged[at] = file[at] as number;
    }
    expect(accepted).toEqual([]);
  });

  test.each([
    ['an image', plain, [manifest.length]],
    ['an image with its signature in it', signed, [manifest.length, signed.length - CHECKSUM_SIZE]],
  ])('refuses a truncated %s, unless the rest is a whole image without a checksum', (_, file, whole) => {
    const accepted: number[] = [];
    for (let length = 1; length < file.length; length++)
      if (!isRefused(file.subarray(0, length))) accepted.push(length);
    expect(accepted).toEqual(whole);
    expect(failure(file.subarray(0, -1))?.message).toContain('the file is damaged');
  });

  test('refuses bytes after the checksum', () => {
    expect(failure(concatBytes(plain, Uint8Array.of(0)))?.message).toContain('bytes follow the end of the manifest');
  });
});
