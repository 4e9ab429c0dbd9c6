import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  closeSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { toHex } from '../../../src/base/bytes.ts';
import { blake3, createDigest } from '../../../src/base/digest.ts';
import { EOPNOTSUPP } from '../../../src/base/errno.ts';
import { CfsError } from '../../../src/base/error.ts';
import { imageVerityDigest, readImage, readImageId, readOpenImage } from '../../../src/image/image-file.ts';
import { imageParts } from '../../../src/image/image-parts.ts';
import { signImageFile } from '../../../src/image/sign-image.ts';
import { ManifestBuilder } from '../../../src/manifest/builder.ts';
import { encodeManifest } from '../../../src/manifest/encode.ts';
import { inodeCount } from '../../../src/manifest/tables.ts';
import { signImageId } from '../../../src/sign/encode-sign1.ts';
import type { TrustedKey } from '../../../src/sign/keys.ts';
import { asEmbedded } from '../../../src/sign/trailer.ts';
import type { MeasureVerity } from '../../../src/system/fsverity.ts';
import { newPair, type Pair } from '../sign/sign1.ts';

let directory: string;
const at = (name: string): string => join(directory, name);

const root = { mode: 0o40755, uid: 0, gid: 0, mtime: 0, mtimeNsec: 0, rdev: 0, xattrs: [] };
const image = encodeManifest(new ManifestBuilder('blake3', root).finish());
const id = toHex(blake3(image));

const own = newPair('EdDSA', 'own');
const other = newPair('ES256', 'other');
const trusted = (...pairs: readonly Pair[]): TrustedKey[] =>
  pairs.map(({ trusted: { path }, publicPem }) => ({ path, pem: publicPem }));
const signature = signImageId(blake3(image), own.signing);
const signedImage = Buffer.concat([image, asEmbedded(signature)]);

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'cfs-image-file-'));
  writeFileSync(at('good.cfs'), image);
  symlinkSync('good.cfs', at('link.cfs'));
  writeFileSync(at('empty.cfs'), '');
  writeFileSync(at('cut.cfs'), image.subarray(0, 100));
  writeFileSync(at('text.cfs'), 'no image\n');
  mkdirSync(at('directory.cfs'));
  execFileSync('mkfifo', [at('fifo.cfs')]);
});

afterAll(() => rmSync(directory, { recursive: true }));

/** The error that `readImage` throws. */
function failure(path: string, expectedId?: string, keys?: readonly TrustedKey[]): CfsError {
  try {
    readImage(path, expectedId, keys);
  } catch (error) {
    expect(error).toBeInstanceOf(CfsError);
    return error as CfsError;
  }
  throw new Error('it did not throw');
}

describe('readImage()', () => {
  test('returns id, size and tables', () => {
    for (const name of ['good.cfs', 'link.cfs']) {
      const { tables, ...rest } = readImage(at(name));
      expect(rest).toEqual({ id, bytes: image.length });
      expect(inodeCount(tables)).toBe(1);
    }
  });

  test('accepts the expected id in either case', () => {
    expect(readImage(at('good.cfs'), id).id).toBe(id);
    expect(readImage(at('good.cfs'), id.toUpperCase()).id).toBe(id);
  });

  test('refuses an image with another id, and names both', () => {
    const other = '0'.repeat(64);
    const error = failure(at('good.cfs'), other);
    expect(error.kind).toBe('image');
    expect(error.message).toContain(id);
    expect(error.message).toContain(other);
  });

  test('compares the id before it decodes', () => {
    expect(failure(at('text.cfs'), id).message).toContain(`its id is ${toHex(blake3(Buffer.from('no image\n')))}`);
  });

  test('refuses an invalid expected id', () => {
    expect(failure(at('good.cfs'), 'abc').kind).toBe('usage');
  });

  test.each([
    ['none.cfs', 'no such file or directory'],
    ['good.cfs/x', 'not a directory'],
    ['empty.cfs', 'the file is empty'],
    ['directory.cfs', 'it is a directory'],
    ['fifo.cfs', 'it is not a regular file'],
    ['cut.cfs', 'malformed manifest: cut off'],
    ['text.cfs', 'malformed manifest: it does not begin with the CBOR tag'],
  ])('reports why %s is not an image', (name, reason) => {
    const error = failure(at(name));
    expect(error.kind).toBe('image');
    expect(error.message).toContain(`Cannot read image ${at(name)}: ${reason}`);
  });

  test('refuses the same image with any damage to its trailer', () => {
    for (const file of [
      signedImage.subarray(0, -1),
      signedImage.subarray(1),
      Buffer.concat([image, signedImage.subarray(-12)]),
    ]) {
      writeFileSync(at('hostile.cfs'), file);
      expect(failure(at('hostile.cfs')).message).toMatch(/malformed (manifest|signature): /);
    }
  });

  // sysfs: st_size is a page, the content a few bytes
  const shrinking = '/sys/kernel/uevent_seqnum';
  test.skipIf(!existsSync(shrinking))('refuses a file that has fewer bytes than its size says', () => {
    expect(failure(shrinking).message).toContain('its size changed while it was read');
  });
});

describe('readImage() of signed images', () => {
  const refusal = (name: string, keys: readonly Pair[] = [own]): string => {
    const error = failure(at(name), undefined, trusted(...keys));
    expect(error.kind).toBe('image');
    return error.message;
  };

  beforeAll(() => {
    mkdirSync(at('signed'));
    writeFileSync(at('signed/embedded.cfs'), signedImage);
    writeFileSync(at('signed/beside.cfs'), image);
    writeFileSync(at('signed/beside.cfs.sig'), signature);
    symlinkSync('signed/beside.cfs', at('signed-link.cfs'));
    writeFileSync(at('garbage.cfs'), 'no image\n');
  });

  test('identifies an image by its manifest, with its signature in any place', () => {
    for (const [name, bytes, where] of [
      ['signed/embedded.cfs', signedImage.length, 'embedded'],
      ['signed/beside.cfs', image.length, at('signed/beside.cfs.sig')],
      ['signed-link.cfs', image.length, at('signed/beside.cfs.sig')],
    ] as const) {
      expect(readImage(at(name))).toMatchObject({ id, bytes, signature: undefined });
      const { signature: found } = readImage(at(name), id, trusted(other, own));
      const keyId = toHex(own.trusted.key.keyId);
      expect(found).toEqual({ where, algorithm: 'EdDSA', key: own.trusted.path, keyId });
    }
  });

  test('refuses an image that is not signed, and lists the places where it looked', () => {
    expect(refusal('good.cfs')).toBe(
      `Cannot read image ${at('good.cfs')}: it is not signed: it has no embedded signature, and there is no file ${at('good.cfs')}.sig`,
    );
  });

  test('refuses every image if no key is trusted', () => {
    expect(refusal('signed/embedded.cfs', [])).toContain('is not accepted');
  });

  test('refuses another key', () => {
    expect(refusal('signed/embedded.cfs', [other])).toContain('its embedded signature is not accepted: it is by key');
    expect(refusal('signed/beside.cfs', [other])).toContain('beside.cfs.sig is not accepted: it is by key');
  });

  test('refuses the signature of another image, embedded or beside it', () => {
    const foreign = signImageId(blake3(Buffer.from('another')), own.signing);
    writeFileSync(at('foreign.cfs'), Buffer.concat([image, asEmbedded(foreign)]));
    writeFileSync(at('foreign.cfs.sig'), foreign);
    const message = refusal('foreign.cfs');
    expect(message).toMatch(
      /its embedded signature is not accepted: .* not over this image.*; its signature .*not over/,
    );
  });

  test('accepts one good signature, whether or not the other is good', () => {
    const bad = signImageId(blake3(image), other.signing);
    for (const [name, embedded, beside] of [
      ['first.cfs', signature, Buffer.from('hostile')],
      ['second.cfs', bad, signature],
    ] as const) {
      writeFileSync(at(name), Buffer.concat([image, asEmbedded(embedded)]));
      writeFileSync(at(`${name}.sig`), beside);
      expect(readImage(at(name), undefined, trusted(own)).signature?.key).toBe(own.trusted.path);
    }
  });

  test('examines nothing of an image that is not signed', () => {
    expect(refusal('garbage.cfs')).toContain('it is not signed');
    writeFileSync(at('garbage.cfs.sig'), signImageId(blake3(Buffer.from('no image\n')), other.signing));
    expect(refusal('garbage.cfs')).toContain('it is by key');
    writeFileSync(at('garbage.cfs.sig'), signImageId(blake3(Buffer.from('no image\n')), own.signing));
    expect(refusal('garbage.cfs')).toContain('malformed manifest');
  });

  test.each([
    ['an empty file', (path: string) => writeFileSync(path, ''), 'cut off at byte 0'],
    ['a directory', (path: string) => mkdirSync(path), 'it is not a regular file'],
    ['a fifo', (path: string) => void execFileSync('mkfifo', [path]), 'it is not a regular file'],
    ['an endless device', (path: string) => symlinkSync('/dev/zero', path), 'it is not a regular file'],
    ['a large file', (path: string) => writeFileSync(path, new Uint8Array(1 << 20)), 'it has more than 16384 bytes'],
    ['a link to nowhere', (path: string) => symlinkSync('/nowhere', path), 'it is not signed'],
    ['a link to itself', (path: string) => symlinkSync(path, path), 'too many symbolic links'],
  ])('refuses %s as a signature', (what, make, reason) => {
    const name = `${what.replaceAll(' ', '-')}.cfs`;
    writeFileSync(at(name), image);
    make(at(`${name}.sig`));
    expect(refusal(name)).toContain(reason);
  });

  test('reports a wrong key, not a wrong image', () => {
    const error = failure(at('signed/embedded.cfs'), undefined, [{ path: 'k', pem: own.privatePem }]);
    expect([error.kind, error.message]).toEqual([
      'usage',
      expect.stringContaining('Cannot use key k: it is a private key'),
    ]);
  });
});

describe('signImageFile()', () => {
  test('signs beside the image, and behind a link', () => {
    writeFileSync(at('plain.cfs'), image);
    symlinkSync('plain.cfs', at('plain-link.cfs'));
    expect(signImageFile(at('plain-link.cfs'), own.signing, false)).toMatchObject({
      id,
      signature: { where: at('plain.cfs.sig'), algorithm: 'EdDSA' },
    });
    expect(readFileSync(at('plain.cfs.sig'))).toEqual(Buffer.from(signature));
    expect(readFileSync(at('plain.cfs'))).toEqual(Buffer.from(image));
  });

  test('embeds a signature in the image, in place of an earlier one, and keeps mode and link', () => {
    writeFileSync(at('private.cfs'), image);
    chmodSync(at('private.cfs'), 0o600);
    symlinkSync('private.cfs', at('private-link.cfs'));
    for (const pair of [other, own]) {
      expect(signImageFile(at('private-link.cfs'), pair.signing, true)).toMatchObject({
        id,
        signature: { where: 'embedded' },
      });
    }
    expect(readFileSync(at('private.cfs'))).toEqual(Buffer.concat(imageParts(image, blake3(image), signature)));
    expect(statSync(at('private.cfs')).mode & 0o7777).toBe(0o600);
    expect(lstatSync(at('private-link.cfs')).isSymbolicLink()).toBe(true);
  });

  test('signs no file that is not an image', () => {
    for (const embed of [false, true]) {
      expect(() => signImageFile(at('text.cfs'), own.signing, embed)).toThrow(
        `Cannot read image ${at('text.cfs')}: malformed manifest`,
      );
    }
    expect(existsSync(at('text.cfs.sig'))).toBe(false);
  });
});

describe('an image that is named by its fs-verity digest', () => {
  const hasher = createDigest('fsverity-sha256');
  hasher.update(image);
  const digest = toHex(hasher.digest());
  const another = '0'.repeat(64);

  function readMeasured(name: string, expected: string, measure: MeasureVerity): string {
    const fd = openSync(at(name), 'r');
    try {
      return readOpenImage(fd, at(name), expected, undefined, measure).id;
    } finally {
      closeSync(fd);
    }
  }

  test('is measured if it is sealed, without hashing', () => {
    // computing it would return another digest: that of a sealed file comes from the kernel
    const measure: MeasureVerity = () => ({ algorithm: 'sha256', digest: new Uint8Array(32) });
    expect(readMeasured('good.cfs', `fsverity-sha256:${another}`, measure)).toBe(id);
  });

  test('is refused before a byte of it is read if the measured digest differs', () => {
    const measure: MeasureVerity = () => ({ algorithm: 'sha256', digest: new Uint8Array(32) });
    const read = (): string => readMeasured('empty.cfs', `fsverity-sha256:${digest}`, measure);
    expect(read).toThrow(`its fs-verity digest is ${another}, not ${digest} as required`);
  });

  test.each([
    ['is not sealed', () => EOPNOTSUPP],
    ['is sealed with another hash', () => ({ algorithm: 'sha512', digest: new Uint8Array(64) })],
  ] as const)('is hashed if it %s', (_what, measure) => {
    expect(readMeasured('good.cfs', `fsverity-sha256:${digest.toUpperCase()}`, measure)).toBe(id);
    const read = (): string => readMeasured('good.cfs', `fsverity-sha256:${another}`, measure);
    expect(read).toThrow(`its fs-verity digest is ${digest}, not ${another}`);
  });

  test('is accepted by imageVerityDigest(), as with fsverity-utils', () => {
    expect(imageVerityDigest(at('good.cfs'))).toEqual({ kind: 'fsverity', hex: digest });
    expect(imageVerityDigest(at('good.cfs'), () => ({ algorithm: 'sha256', digest: new Uint8Array(32) })).hex).toBe(
      another,
    );
    const printed = execFileSync('fsverity', ['digest', '--compact', at('good.cfs')], { encoding: 'utf8' });
    expect(printed.trim()).toBe(digest);
  });

  test('includes the signature that is embedded in it, unlike its id', () => {
    writeFileSync(at('signed-verity.cfs'), signedImage);
    const { hex } = imageVerityDigest(at('signed-verity.cfs'));
    const printed = execFileSync('fsverity', ['digest', '--compact', at('signed-verity.cfs')], { encoding: 'utf8' });
    expect([hex, hex === digest]).toEqual([printed.trim(), false]);
    expect(readImage(at('signed-verity.cfs'), `fsverity-sha256:${hex}`, trusted(own))).toMatchObject({
      id,
      signature: { where: 'embedded' },
    });
    expect(readImageId(at('signed-verity.cfs'))).toBe(id);
    const read = (): string => readMeasured('signed-verity.cfs', `fsverity-sha256:${digest}`, () => EOPNOTSUPP);
    expect(read).toThrow(`its fs-verity digest is ${hex}, not ${digest}`);
  });
});
