/** Checks that the content of an open file matches its name. */
import { equalBytes, toHex } from '../base/bytes.ts';
import { blake3, createDigest, type HashAlgorithm } from '../base/digest.ts';
import { ENODATA, type Errno, errnoName, isErrno } from '../base/errno.ts';
import { reasonOf } from '../base/error.ts';
import { emptyFileVersion, type FileVersion, fileVersionOf } from '../system/file-status.ts';
import { lacksVerity, type VerityDigest } from '../system/fsverity.ts';
import { systemError } from '../system/libc.ts';
import { chunkBuffer, readContent, readUpTo, sinkOf, watched } from './read-content.ts';
import type { Repository } from './repository.ts';

/** Beginnings of reasons: it is unknown whether the content is right. */
export const UNREADABLE = 'it cannot be read';
export const UNSEALED = 'it is not sealed';

/**
 * Hashes `fd` completely and compares. The caller checks the shape: `shapeProblem`.
 * @returns why the file is not the object, or undefined if it is
 */
export function verifyObject(
  fd: number,
  algorithm: HashAlgorithm,
  digest: Uint8Array,
  size: number,
): string | undefined {
  return unlessUnreadable(() => {
    const actual = digestOf(fd, algorithm, size);
    if (actual === undefined) return 'it became shorter while it was read';
    if (equalBytes(actual, digest)) return undefined;
    return `its content is corrupted: ${algorithm} is ${toHex(actual)}`;
  });
}

/**
 * Compares the seal of a file with the object's name.
 * @param measured the result of `measureVerity`
 * @returns why the file is not known to be the object, or undefined if it is
 */
export function checkMeasured(
  measured: VerityDigest | Errno,
  digest: Uint8Array,
  { path }: Pick<Repository, 'path'>,
): string | undefined {
  if (!isErrno(measured)) {
    if (measured.algorithm === 'sha256' && equalBytes(measured.digest, digest)) return undefined;
    return `it is sealed with another content, salt or block size: its fs-verity digest is ${measured.algorithm}:${toHex(measured.digest)}`;
  }
  if (measured === ENODATA) return `${UNSEALED}, and sealing repository ${path} does it`;
  if (lacksVerity(measured)) return `${UNSEALED}: its file system has no fs-verity`;
  return `${UNSEALED}: ${errnoName(measured)}`;
}

/** The checks that cost one fstat: also made if contents are not verified. */
export function checkShape(fd: number, size: number): string | undefined {
  return unlessUnreadable(() => shapeProblem(versionOf(fd, emptyFileVersion()), size));
}

/**
 * fstat(2) of an open object, into `out`.
 * @throws a `systemError`
 */
export function versionOf(fd: number, out: FileVersion): FileVersion {
  const result = fileVersionOf(fd, out);
  if (isErrno(result)) throw systemError(result, 'fstat', String(fd));
  return out;
}

/**
 * The result of `check`; or that the file cannot be read, if its file system fails, for example because it died after
 * the file was opened.
 */
export function unlessUnreadable<T>(check: () => T): T | string {
  try {
    return check();
  } catch (error) {
    return `${UNREADABLE}: ${reasonOf(error)}`;
  }
}

/** `checkShape` of a file with a known status. */
export function shapeProblem(stat: Pick<FileVersion, 'isFile' | 'size'>, size: number): string | undefined {
  if (!stat.isFile) return 'it is not a regular file';
  if (stat.size === size) return undefined;
  return `it is ${stat.size < size ? 'truncated' : 'grown'}: ${stat.size} bytes instead of ${size}`;
}

/**
 * The digest of the first `size` bytes of `fd`; undefined if it has fewer.
 * @param onBytes called before each piece is hashed; may throw to stop the work
 * @throws a `systemError`
 */
export function digestOf(
  fd: number,
  algorithm: HashAlgorithm,
  size: number,
  onBytes: (length: number) => void = noop,
): Uint8Array | undefined {
  const buffer = chunkBuffer();
  if (algorithm === 'blake3' && size < buffer.length) {
    onBytes(size);
    return readUpTo(fd, buffer, size, 0) < size ? undefined : blake3(buffer.subarray(0, size));
  }
  const hasher = createDigest(algorithm);
  return readContent(fd, size, watched(sinkOf(hasher), onBytes)) < size ? undefined : hasher.digest();
}

const noop = (): void => undefined;
