/**
 * fs-verity, a feature of ext4, f2fs and btrfs: a sealed file can never be written again, and the kernel checks every
 * page that it reads of it against a Merkle tree. These are its ioctls; Linux 5.4 and later. Source:
 * Documentation/filesystems/fsverity.rst and include/uapi/linux/fsverity.h.
 */
import { closeSync, constants, openSync } from 'node:fs';
import { ENOTTY, EOPNOTSUPP, type Errno, isErrno } from '../base/errno.ts';
import { ioctl } from './descriptors.ts';
import { isKernelsOwn } from './file-systems.ts';
import { asErrno } from './libc.ts';

/** _IOW('f', 133, struct fsverity_enable_arg) */
const FS_IOC_ENABLE_VERITY = 0x40806685;
/** _IOWR('f', 134, struct fsverity_digest) */
const FS_IOC_MEASURE_VERITY = 0xc0046686;

const ENABLE_ARG_SIZE = 128;
const HASH_SHA256 = 1;
const BLOCK_SIZE = 4096;
/** The largest is SHA-512's. */
const LARGEST_DIGEST = 64;
const DIGEST_HEADER = 4;

const ALGORITHMS: Readonly<Record<number, string>> = { [HASH_SHA256]: 'sha256', 2: 'sha512' };

/** The seal of a file, from the kernel. */
export interface VerityDigest {
  /** The name in `fsverity measure`: "sha256", "sha512". */
  readonly algorithm: string;
  /** The fs-verity file digest, 32 bytes with SHA-256. Salt and block size are not reported, but they affect it. */
  readonly digest: Uint8Array;
}

/** `measureVerity`, or a replacement in tests. */
export type MeasureVerity = (fd: number) => VerityDigest | Errno;

/**
 * FS_IOC_MEASURE_VERITY: the seal of an open file. Reads nothing: the kernel knows it since the file was opened.
 * @returns ENODATA if it is not sealed; EOPNOTSUPP or ENOTTY if its file system or the kernel has no fs-verity
 */
export function measureVerity(fd: number): VerityDigest | Errno {
  const struct = Buffer.alloc(DIGEST_HEADER + LARGEST_DIGEST);
  struct.writeUInt16LE(LARGEST_DIGEST, 2);
  const result = ioctl(fd, FS_IOC_MEASURE_VERITY, struct);
  if (isErrno(result)) return result;
  const algorithm = struct.readUInt16LE(0);
  const size = Math.min(struct.readUInt16LE(2), LARGEST_DIGEST);
  return {
    algorithm: ALGORITHMS[algorithm] ?? `algorithm ${algorithm}`,
    digest: Uint8Array.from(struct.subarray(DIGEST_HEADER, DIGEST_HEADER + size)),
  };
}

/**
 * `measureVerity`, except for files that another machine or a process serves, which could report anything. These count
 * as not sealable.
 */
export function measureBelievedVerity(fd: number): VerityDigest | Errno {
  return isKernelsOwn(fd) ? measureVerity(fd) : EOPNOTSUPP;
}

/**
 * FS_IOC_ENABLE_VERITY with SHA-256, blocks of 4096 bytes and no salt, as computed by `FsVerityHasher`: reads the whole
 * file and writes its Merkle tree. Killed or failed, it leaves the file unchanged.
 * @param fd open for reading only; the caller needs write permission nevertheless
 * @returns EEXIST if it is sealed already; ETXTBSY if a process has it open for writing; EBUSY if another process is
 *   sealing it; EOPNOTSUPP, ENOTTY or EINVAL if the file system does not support it
 */
export function enableVerity(fd: number): 0 | Errno {
  const struct = Buffer.alloc(ENABLE_ARG_SIZE);
  struct.writeUInt32LE(1, 0); // version
  struct.writeUInt32LE(HASH_SHA256, 4);
  struct.writeUInt32LE(BLOCK_SIZE, 8);
  return asErrno(ioctl(fd, FS_IOC_ENABLE_VERITY, struct));
}

/** Whether an error of `measureVerity` means that no file of the file system can be sealed. */
export const lacksVerity = (result: unknown): boolean => result === EOPNOTSUPP || result === ENOTTY;

/**
 * False if the file system of `directory` is known to have no fs-verity, or none that this kernel enforces; true also
 * if that is unknown, and for a symbolic link.
 */
export function mayHaveVerity(directory: string): boolean {
  let fd: number;
  try {
    fd = openSync(directory, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
  } catch {
    return true;
  }
  try {
    return !lacksVerity(measureBelievedVerity(fd));
  } finally {
    closeSync(fd);
  }
}
