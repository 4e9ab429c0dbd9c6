/** Seals one file with fs-verity, permanently: afterwards it can be read, renamed and deleted, but never written. */
import { closeSync, constants, fstatSync } from 'node:fs';
import {
  EACCES,
  EBUSY,
  EEXIST,
  EINVAL,
  EIO,
  ENODATA,
  ENOENT,
  ENOTTY,
  EOPNOTSUPP,
  EPERM,
  EROFS,
  type Errno,
  ETXTBSY,
  errnoOf,
  isErrno,
} from '../base/errno.ts';
import { enableVerity, fchmodSync, openSync } from '../system/file-calls.ts';
import { lacksVerity, type MeasureVerity, measureBelievedVerity, type VerityDigest } from '../system/fsverity.ts';
import { errnoText } from '../system/libc.ts';

/** The two calls of the kernel; tests replace them. */
export interface Verity {
  readonly measure: MeasureVerity;
  readonly enable: (fd: number) => 0 | Errno;
}

const KERNEL: Verity = { measure: measureBelievedVerity, enable: enableVerity };

/** The result for a file. */
export type SealedFile =
  | {
      /** Sealed now, or before. */
      readonly outcome: 'sealed' | 'already';
      readonly digest: VerityDigest;
      /** Bytes of content. */
      readonly size: number;
      /**
       * The size of its Merkle tree on the disk, in bytes; 0 if it was sealed before, or if st_blocks does not count it
       * (btrfs).
       */
      readonly treeBytes: number;
    }
  | Unsealed
  | { readonly outcome: 'gone' };

export interface Unsealed {
  /** Its file system does not support it; a process has it open for writing, or is sealing it; or another problem. */
  readonly outcome: 'unsupported' | 'busy' | 'failed';
  readonly reason: string;
}

const ANY_MODE = 0o7777;
const WRITABLE = 0o222;
const OWNER_WRITES = 0o200;

/**
 * Seals a file. Killed at any point, it leaves the file sealed or unchanged, except for its mode: see `enableAsOwner`.
 * @param file its path, or a function that returns a descriptor of it for reading, which is closed here
 * @param mode the allowed mode bits of a sealed file; the others are removed
 */
export function sealFile(
  file: string | (() => number | Errno),
  verity: Verity = KERNEL,
  mode: number = ANY_MODE,
): SealedFile {
  const fd = typeof file === 'string' ? openPath(file) : file();
  if (isErrno(fd)) return refusal(fd);
  try {
    const sealed = sealOpen(fd, verity);
    if ('digest' in sealed) narrowMode(fd, mode);
    return sealed;
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === undefined) throw error;
    return refusal(errno);
  } finally {
    closeSync(fd);
  }
}

function openPath(path: string): number | Errno {
  try {
    return openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    return errnoOf(error) ?? EIO;
  }
}

function sealOpen(fd: number, verity: Verity): SealedFile {
  const stat = fstatSync(fd);
  const { size, blocks } = stat;
  if (!stat.isFile()) return { outcome: 'failed', reason: 'it is not a regular file' };
  for (let tries = 0; ; tries++) {
    const before = verity.measure(fd);
    if (!isErrno(before)) return { outcome: 'already', digest: before, size, treeBytes: 0 };
    if (before !== ENODATA) return refusal(before);
    const result = enableAsOwner(fd, verity);
    if (result === 0) return sealedNow(verity.measure(fd), size, fstatSync(fd).blocks - blocks);
    // another program is sealing it. Just before that is done the file counts as sealed (EEXIST) but cannot be measured
    // yet
    if ((result !== EBUSY && result !== EEXIST) || tries === TRIES) return refusal(result === EEXIST ? EBUSY : result);
    Atomics.wait(never, 0, 0, RETRY_MS);
  }
}

/** How long to wait for another program that seals the same file: a second. */
const TRIES = 50;
const RETRY_MS = 20;
const never: Int32Array = new Int32Array(new SharedArrayBuffer(4));

function sealedNow(digest: VerityDigest | Errno, size: number, blocks: number): SealedFile {
  if (isErrno(digest)) return refusal(digest);
  return { outcome: 'sealed', digest, size, treeBytes: Math.max(0, blocks) * 512 };
}

/** A file of another user is left to its owner. */
function narrowMode(fd: number, allowed: number): void {
  const { mode, uid } = fstatSync(fd);
  const user = process.geteuid?.();
  if ((mode & ANY_MODE & ~allowed) !== 0 && (user === uid || user === 0)) fchmodSync(fd, mode & allowed);
}

/**
 * The kernel requires write permission, which the owner of a read-only file does not have (root has it). Killed in
 * between, this leaves the file writable for its owner, sealed or not, until the next run.
 */
function enableAsOwner(fd: number, { enable }: Verity): 0 | Errno {
  const result = enable(fd);
  const { mode, uid } = fstatSync(fd);
  if (result !== EACCES || uid !== process.geteuid?.()) return result;
  fchmodSync(fd, mode | OWNER_WRITES);
  try {
    return enable(fd);
  } finally {
    fchmodSync(fd, mode & ~WRITABLE);
  }
}

const REASONS: ReadonlyMap<Errno, string> = new Map([
  [EOPNOTSUPP, "the file system or the kernel has no fs-verity (ext4: 'tune2fs -O verity DEVICE')"],
  [ENOTTY, 'this kind of file system has no fs-verity; ext4, f2fs and btrfs have it'],
  [EINVAL, 'the file system cannot have it with blocks of 4096 bytes'],
  [ETXTBSY, 'it is open for writing'],
  [EBUSY, 'another program seals it'],
  [EACCES, 'only its owner and root may seal it'],
  [EPERM, 'the kernel wants a signature (fs.verity.require_signatures), or the file is append-only'],
  [EROFS, 'the file system is mounted read-only'],
]);

function refusal(errno: Errno): SealedFile {
  if (errno === ENOENT) return { outcome: 'gone' };
  return { outcome: outcomeOf(errno), reason: REASONS.get(errno) ?? errnoText(errno) };
}

function outcomeOf(errno: Errno): Unsealed['outcome'] {
  if (lacksVerity(errno) || errno === EINVAL) return 'unsupported';
  return errno === ETXTBSY || errno === EBUSY ? 'busy' : 'failed';
}
