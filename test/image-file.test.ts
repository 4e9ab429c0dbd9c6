import { execFileSync } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, mkdtempSync, openSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { toHex } from '../src/bytes.ts';
import { blake3, createDigest } from '../src/digest.ts';
import { EOPNOTSUPP } from '../src/errno.ts';
import { CfsError } from '../src/error.ts';
import type { MeasureVerity } from '../src/fsverity.ts';
import { imageVerityDigest, readImage, readOpenImage } from '../src/image-file.ts';
import { ManifestBuilder } from '../src/manifest/builder.ts';
import { encodeManifest } from '../src/manifest/encode.ts';
import { inodeCount } from '../src/manifest/tables.ts';

let directory: string;
const at = (name: string): string => join(directory, name);

const root = { mode: 0o40755, uid: 0, gid: 0, mtime: 0, mtimeNsec: 0, rdev: 0, xattrs: [] };
const image = encodeManifest(new ManifestBuilder('blake3', root).finish());
const id = toHex(blake3(image));

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

/** What `readImage` throws. */
function failure(path: string, expectedId?: string): CfsError {
  try {
    readImage(path, expectedId);
  } catch (error) {
    expect(error).toBeInstanceOf(CfsError);
    return error as CfsError;
  }
  throw new Error('it did not throw');
}

describe('readImage()', () => {
  test('gives id, size and tables', () => {
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

  test('refuses an expected id that is none', () => {
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
  ])('says why %s is no image', (name, reason) => {
    const error = failure(at(name));
    expect(error.kind).toBe('image');
    expect(error.message).toContain(`Cannot read image ${at(name)}: ${reason}`);
  });

  // sysfs: st_size is a page, the content a few bytes
  const shrinking = '/sys/kernel/uevent_seqnum';
  test.skipIf(!existsSync(shrinking))('refuses a file that has fewer bytes than its size says', () => {
    expect(failure(shrinking).message).toContain('its size changed while it was read');
  });
});

describe('an image that is named by its fs-verity digest', () => {
  const hasher = createDigest('fsverity-sha256');
  hasher.update(image);
  const digest = toHex(hasher.digest());
  const other = '0'.repeat(64);

  function readMeasured(name: string, expected: string, measure: MeasureVerity): string {
    const fd = openSync(at(name), 'r');
    try {
      return readOpenImage(fd, at(name), expected, measure).id;
    } finally {
      closeSync(fd);
    }
  }

  test('is measured where it is sealed, and not hashed for it', () => {
    // were it computed, it would be another one: the digest of a sealed file is the kernel's affair
    const measure: MeasureVerity = () => ({ algorithm: 'sha256', digest: new Uint8Array(32) });
    expect(readMeasured('good.cfs', `fsverity-sha256:${other}`, measure)).toBe(id);
  });

  test('is refused before a byte of it is read where the measured digest is another', () => {
    const measure: MeasureVerity = () => ({ algorithm: 'sha256', digest: new Uint8Array(32) });
    const read = (): string => readMeasured('empty.cfs', `fsverity-sha256:${digest}`, measure);
    expect(read).toThrow(`its fs-verity digest is ${other}, not ${digest}, which was asked for`);
  });

  test.each([
    ['is not sealed', () => EOPNOTSUPP],
    ['is sealed with another hash', () => ({ algorithm: 'sha512', digest: new Uint8Array(64) })],
  ] as const)('is hashed where it %s', (_what, measure) => {
    expect(readMeasured('good.cfs', `fsverity-sha256:${digest.toUpperCase()}`, measure)).toBe(id);
    const read = (): string => readMeasured('good.cfs', `fsverity-sha256:${other}`, measure);
    expect(read).toThrow(`its fs-verity digest is ${digest}, not ${other}`);
  });

  test('is so by imageVerityDigest(), as fsverity-utils has it', () => {
    expect(imageVerityDigest(at('good.cfs'))).toEqual({ kind: 'fsverity', hex: digest });
    expect(imageVerityDigest(at('good.cfs'), () => ({ algorithm: 'sha256', digest: new Uint8Array(32) })).hex).toBe(
      other,
    );
    const printed = execFileSync('fsverity', ['digest', '--compact', at('good.cfs')], { encoding: 'utf8' });
    expect(printed.trim()).toBe(digest);
  });
});
