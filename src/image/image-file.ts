/** Reading an image file: bytes, id, signature, validated tables. */
import { closeSync, constants, fstatSync, openSync, readSync, type Stats } from 'node:fs';
import { toHex } from '../base/bytes.ts';
import { createDigest } from '../base/digest.ts';
import { EACCES, ELOOP, ENAMETOOLONG, ENOENT, ENOTDIR, type Errno, errnoOf, isErrno } from '../base/errno.ts';
import { CfsError, type ErrorKind, reasonOf } from '../base/error.ts';
import { type ImageDigest, parseImageDigest } from '../base/image-digest.ts';
import { decodeManifest } from '../manifest/decode.ts';
import type { ManifestTables } from '../manifest/tables.ts';
import type { TrustedKey } from '../sign/keys.ts';
import { type MeasureVerity, measureBelievedVerity } from '../system/fsverity.ts';
import { DamagedImageError, type ImageParts, splitImage } from './image-parts.ts';
import { type ImageSignature, requireSignature } from './image-signature.ts';
import { whyMalformed } from './malformed-image.ts';

export interface ImageFile {
  /** The image id: BLAKE3 of the manifest's bytes, 64 hexadecimal digits. */
  readonly id: string;
  /** Size of the file. */
  readonly bytes: number;
  readonly tables: ManifestTables;
  /** The signature by one of the requested keys; undefined if none were requested. */
  readonly signature: ImageSignature | undefined;
}

/** An image file of which only the parts after the manifest were parsed. */
export interface ImageBytes extends ImageParts {
  readonly id: string;
  /** Size of the file. */
  readonly bytes: number;
}

/** One read(2) transfers at most 0x7ffff000 bytes; a smaller piece keeps the length in node's 31 bits. */
const READ_SIZE = 1 << 30;

/** Errors of open(2) that mean "the path names no image that can be read". */
const NO_IMAGE: readonly (Errno | undefined)[] = [ENOENT, ENOTDIR, ENAMETOOLONG, ELOOP, EACCES];

/**
 * Reads and validates an image.
 * @param expected its id, or its fs-verity digest (image-digest.ts); it is compared before a byte of the image is
 *   decoded
 * @param keys one of these must have signed it; that, too, is verified before a byte of the image is decoded
 * @throws CfsError: `image` if there is no image at `path`, or it is malformed, not the expected one, not signed, or
 *   changed while it was read; `system` if the machine fails to read it; `usage` if `expected` is not an image id, or a
 *   key is not a key
 */
export function readImage(path: string, expected?: string, keys?: readonly TrustedKey[]): ImageFile {
  wantedOf(expected);
  const fd = openImage(path);
  try {
    return readOpenImage(fd, path, expected, keys);
  } finally {
    closeSync(fd);
  }
}

/**
 * The id of the image at `path`, without parsing its manifest.
 * @throws CfsError as `readImage`
 */
export function readImageId(path: string): string {
  const fd = openImage(path);
  try {
    return readImageBytes(fd, path).id;
  } finally {
    closeSync(fd);
  }
}

/**
 * Opens an image file.
 * @throws CfsError as `readImage`
 */
export function openImage(path: string): number {
  try {
    // O_NONBLOCK: a fifo without a writer would block open(2); O_NOCTTY: a terminal must not become ours
    return openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  } catch (error) {
    throw cannotRead(path, reasonOf(error), NO_IMAGE.includes(errnoOf(error)) ? 'image' : 'system', error);
  }
}

/** As `readImage`, from an open file; `path` is for messages, and to find a signature beside it. */
export function readOpenImage(
  fd: number,
  path: string,
  expected?: string,
  keys?: readonly TrustedKey[],
  measure: MeasureVerity = measureBelievedVerity,
): ImageFile {
  const wanted = wantedOf(expected);
  const isMeasured = wanted?.kind === 'fsverity' && isSealedAs(fd, path, wanted, measure);
  const file = readFile(fd, path);
  // of the whole file, its signature included
  if (wanted?.kind === 'fsverity' && !isMeasured) compare('fs-verity digest', path, verityDigestOf(file), wanted);
  const { id, bytes, signature, ...parts } = partsOf(file, path);
  if (wanted?.kind === 'id') compare('id', path, id, wanted);
  const signed = keys && explain(path, () => requireSignature(path, id, signature, keys));
  return { id, bytes, tables: decodeImage(path, parts), signature: signed };
}

/** The tables of an image's manifest; errors name the image. @throws CfsError as `decodeManifest` */
export function decodeImage(
  path: string,
  { manifest, hasChecksum }: Pick<ImageParts, 'manifest' | 'hasChecksum'>,
): ManifestTables {
  return explain(path, () => {
    try {
      return decodeManifest(manifest);
    } catch (error) {
      if (!(error instanceof CfsError) || error.kind !== 'image') throw error;
      const { reason, hint } = whyMalformed(error.message, manifest, hasChecksum);
      throw new CfsError('image', reason, { hint, cause: error });
    }
  });
}

/**
 * The parts of an image file, and its id. The manifest is not parsed.
 * @throws CfsError as `readImage`, except for errors in the manifest
 */
export function readImageBytes(fd: number, path: string): ImageBytes {
  return partsOf(readFile(fd, path), path);
}

function partsOf(file: Uint8Array, path: string): ImageBytes {
  const parts = explain(path, () => splitImage(file));
  return { ...parts, id: toHex(parts.digest), bytes: file.length };
}

function explain<T>(path: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (error instanceof DamagedImageError)
      throw new DamagedImageError(cannotReadText(path, error.message), { hint: error.hint, cause: error });
    // a wrong key is not an error of the image
    if (error instanceof CfsError && error.kind !== 'usage') throw cannotRead(path, error.message, error.kind, error);
    throw error;
  }
}

function wantedOf(expected: string | undefined): ImageDigest | undefined {
  const wanted = expected === undefined ? undefined : parseImageDigest(expected);
  if (expected === undefined || wanted !== undefined) return wanted;
  throw new CfsError(
    'usage',
    `"${expected}" is not an image id: an id is 64 hexadecimal digits, or fsverity-sha256: and 64 digits`,
    { hint: '`image.id` shows the one, `image.verityDigest` the other.' },
  );
}

/**
 * Compares the seal before a byte of the file is read: from then on the kernel checks every read.
 * @returns false if the file is not sealed, or with another hash: its digest is to be computed
 */
function isSealedAs(fd: number, path: string, wanted: ImageDigest, measure: MeasureVerity): boolean {
  const measured = measure(fd);
  if (isErrno(measured) || measured.algorithm !== 'sha256') return false;
  compare('fs-verity digest', path, toHex(measured.digest), wanted);
  return true;
}

function compare(what: string, path: string, is: string, { hex }: ImageDigest): void {
  if (is !== hex) throw cannotRead(path, `its ${what} is ${is}, not ${hex} as required`);
}

/** The digest that a file with these bytes has when sealed, 64 hexadecimal digits. */
function verityDigestOf(bytes: Uint8Array): string {
  const hasher = createDigest('fsverity-sha256');
  hasher.update(bytes);
  return toHex(hasher.digest());
}

/**
 * The fs-verity digest of an image file: that of its seal, or the one that it would have.
 * @throws CfsError as `readImage`, except for errors in its contents
 */
export function imageVerityDigest(path: string, measure: MeasureVerity = measureBelievedVerity): ImageDigest {
  const fd = openImage(path);
  try {
    const measured = measure(fd);
    const isSealed = !isErrno(measured) && measured.algorithm === 'sha256';
    return { kind: 'fsverity', hex: isSealed ? toHex(measured.digest) : verityDigestOf(readFile(fd, path)) };
  } finally {
    closeSync(fd);
  }
}

function cannotRead(path: string, reason: string, kind: ErrorKind = 'image', cause?: unknown): CfsError {
  const hint = cause instanceof CfsError ? cause.hint : undefined;
  return new CfsError(kind, cannotReadText(path, reason), { hint, cause });
}

const cannotReadText = (path: string, reason: string): string => `Cannot read image ${path}: ${reason}`;

function readFile(fd: number, path: string): Uint8Array {
  try {
    const stats = fstatSync(fd);
    const problem = whyNoImage(stats);
    if (problem !== undefined) throw cannotRead(path, problem);
    const bytes = readWhole(fd, stats.size);
    if (bytes === undefined)
      throw cannotRead(path, 'its size changed while it was read; try again when it is complete');
    return bytes;
  } catch (error) {
    if (error instanceof CfsError || errnoOf(error) === undefined) throw error;
    throw cannotRead(path, reasonOf(error), 'system', error);
  }
}

/** A manifest is decoded from one buffer, so its size is limited by that of a buffer of this node. */
const SIZE_LIMIT = 0xffffffff;

function whyNoImage(stats: Stats): string | undefined {
  if (stats.isDirectory()) return 'it is a directory; an image is a file, usually named *.cfs';
  if (!stats.isFile()) return 'it is not a regular file';
  if (stats.size === 0) return 'the file is empty';
  if (stats.size > SIZE_LIMIT) return `it has ${stats.size} bytes; images of at most ${SIZE_LIMIT} can be read`;
  return undefined;
}

/** All `size` bytes of the file, or undefined if its size has changed. */
function readWhole(fd: number, size: number): Uint8Array | undefined {
  // a separate buffer: the tables are views of it, and a slice of node's pool may be at an odd address
  const bytes = Buffer.allocUnsafeSlow(size);
  let length = 0;
  while (length < size) {
    const read = readSync(fd, bytes, length, Math.min(size - length, READ_SIZE), length);
    if (read === 0) return undefined;
    length += read;
  }
  return readSync(fd, Buffer.alloc(1), 0, 1, size) === 0 ? bytes : undefined;
}
