/**
 * Calls for names in an open directory, for a tree that is changed: making, removing and renaming them, and changing
 * the attributes of their files.
 *
 * As in descriptors.ts: a result or a negative errno. A name is the bytes of one component, without "/" and NUL. A
 * symbolic link is never followed. In calls that read or set attributes, an empty name means the open file `dir`
 * itself, of any type, also with O_PATH. Each call that changes something is a fail point ($CFS_FAIL_UPPER_AT).
 */
import { constants } from 'node:fs';
import { EINVAL, ENOSYS, EOPNOTSUPP, EPERM, type Errno, isErrno } from '../base/errno.ts';
import { S_IFLNK, S_IFMT } from '../base/stat-bits.ts';
import { openAt } from './descriptors.ts';
import { upperFailPoints } from './fail-points.ts';
import { emptyFileStatus, type FileStatus, statusOf } from './file-status.ts';
import { AT_EMPTY_PATH, AT_SYMLINK_NOFOLLOW, asErrno, cString, nameBuffer, native, otherNameBuffer } from './libc.ts';
import * as names from './names.ts';

export { RENAME_EXCHANGE, RENAME_NOREPLACE, RENAME_WHITEOUT } from './names.ts';

const { returning } = upperFailPoints;

/** Flags for a name that may be empty. */
const flagsFor = (name: Uint8Array): number => (name.length === 0 ? AT_EMPTY_PATH : AT_SYMLINK_NOFOLLOW);

/** mkdirat(2). `mode` loses the bits of the process's umask, as in all calls that make a file. */
export const makeDirectoryAt: (dir: number, name: Uint8Array, mode: number) => 0 | Errno = returning(
  'mkdirat',
  names.makeDirectoryAt,
);

/** unlinkat(2) with AT_REMOVEDIR: an empty directory. */
export const removeDirectoryAt: (dir: number, name: Uint8Array) => 0 | Errno = returning(
  'unlinkat AT_REMOVEDIR',
  names.removeDirectoryAt,
);

/** unlinkat(2) of a file. */
export const unlinkAt: typeof names.unlinkAt = returning('unlinkat', names.unlinkAt);

/** linkat(2) between open directories; a symbolic link is not followed. */
export const linkAt: typeof names.linkAt = returning('linkat', names.linkAt);

const mknodatFn = native('int mknodat(int dir, const void *name, unsigned int mode, uint64_t device)');

/**
 * mknodat(2): a regular file, FIFO, socket or device, by the type in `mode`.
 * @param rdev of a device, in the kernel's 32 bits (`encodeDevice`)
 */
export const makeNodeAt: (dir: number, name: Uint8Array, mode: number, rdev: number) => 0 | Errno = returning(
  'mknodat',
  (dir, name, mode, rdev) => asErrno(mknodatFn(dir, nameBuffer(name), mode, rdev)),
);

/**
 * openat(2) with O_CREAT and O_EXCL: a new regular file, open for reading and writing whatever its mode is. For the
 * caller to close.
 */
export const createAt: (dir: number, name: Uint8Array, mode: number) => number | Errno = returning(
  'openat O_CREAT',
  (dir, name, mode) => openAt(dir, name, CREATE, mode),
);
const CREATE = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;

const symlinkatFn = native('int symlinkat(const void *target, int dir, const void *name)');

/** symlinkat(2). EINVAL for a target with a NUL byte, which no symbolic link can hold. */
export const makeSymlinkAt: (dir: number, name: Uint8Array, target: Uint8Array) => 0 | Errno = returning(
  'symlinkat',
  (dir, name, target) =>
    target.includes(0) ? EINVAL : asErrno(symlinkatFn(otherNameBuffer(target), dir, nameBuffer(name))),
);

const readlinkatFn = native('int64_t readlinkat(int dir, const void *name, void *buffer, size_t size)');
let targetSpace: Uint8Array = new Uint8Array(4096);

/** readlinkat(2): a target of any length. EINVAL if the file is not a symbolic link. */
export function readLinkAt(dir: number, name: Uint8Array): Uint8Array | Errno {
  for (;;) {
    const length = readlinkatFn(dir, nameBuffer(name), targetSpace, targetSpace.length);
    if (length < 0) return asErrno(length);
    // a full buffer may have cut it off
    if (length < targetSpace.length) return targetSpace.slice(0, length);
    targetSpace = new Uint8Array(targetSpace.length * 2);
  }
}

/**
 * renameat2(2). EINVAL if the file system does not know one of the flags. Two names of one file: nothing happens, and
 * both stay.
 * @param flags RENAME_*
 */
export const renameAt: typeof names.renameAt2 = returning('renameat2', names.renameAt2);

const fchownatFn = native('int fchownat(int dir, const void *name, unsigned int uid, unsigned int gid, int flags)');

/**
 * fchownat(2). -1 keeps the owner or the group. The kernel clears set-id bits and file capabilities of a regular file,
 * even if nothing else changes.
 */
export const chownAt: (dir: number, name: Uint8Array, uid: number, gid: number) => 0 | Errno = returning(
  'fchownat',
  (dir, name, uid, gid) => asErrno(fchownatFn(dir, nameBuffer(name), uid >>> 0, gid >>> 0, flagsFor(name))),
);

const fchmodat2Fn = native(
  'long syscall(long number, int dir, const void *name, unsigned int mode, unsigned int flags)',
);
const fchmodatFn = native('int fchmodat(int dir, const void *name, unsigned int mode, int flags)');
const chmodFn = native('int chmod(const void *path, unsigned int mode)');
/** fchmodat2(2), Linux 6.6; the same number on all architectures. */
const SYS_FCHMODAT2 = 452;
let hasFchmodat2 = true;
const chmodStatus: FileStatus = emptyFileStatus();

/** fchmodat2(2). EOPNOTSUPP for a symbolic link. */
export const chmodAt: (dir: number, name: Uint8Array, mode: number) => 0 | Errno = returning(
  'fchmodat2',
  (dir, name, mode) => {
    if (!hasFchmodat2) return chmodByPath(dir, name, mode);
    const result = asErrno(fchmodat2Fn(SYS_FCHMODAT2, dir, nameBuffer(name), mode, flagsFor(name)));
    // an older kernel; or a seccomp filter of a container, if the other way is permitted
    if (result !== ENOSYS && result !== EPERM) return result;
    const other = chmodByPath(dir, name, mode);
    if (result === ENOSYS || other !== EPERM) hasFchmodat2 = false;
    return other;
  },
);

/** As `chmodAt`, for kernels without fchmodat2(2). */
export function chmodByPath(dir: number, name: Uint8Array, mode: number): 0 | Errno {
  // glibc opens the file and goes through /proc
  if (name.length > 0) return asErrno(fchmodatFn(dir, nameBuffer(name), mode, AT_SYMLINK_NOFOLLOW));
  const status = statusOf(dir, chmodStatus);
  if (isErrno(status)) return status;
  // some file systems would change the mode of a symbolic link
  if ((chmodStatus.mode & S_IFMT) === S_IFLNK) return EOPNOTSUPP;
  return asErrno(chmodFn(cString(`/proc/self/fd/${dir}`), mode));
}

/** A time to set: seconds since 1970 as two's complement, low word and high word; or the present. */
export type TimeToSet = { readonly low: number; readonly high: number; readonly nsec: number } | 'now';

const utimensatFn = native('int utimensat(int dir, const void *name, const void *times, int flags)');
/** Two struct timespec. */
const timesBytes: Buffer = Buffer.alloc(32);
const UTIME_NOW = 0x3fffffff;
const UTIME_OMIT = 0x3ffffffe;
const NSEC_MAX = 999_999_999;

/**
 * utimensat(2). undefined keeps a time. The kernel moves a time that the file system cannot store to the nearest one
 * that it can. EINVAL for nanoseconds beyond a second.
 */
export const setTimesAt: (
  dir: number,
  name: Uint8Array,
  atime: TimeToSet | undefined,
  mtime: TimeToSet | undefined,
) => 0 | Errno = returning('utimensat', (dir, name, atime, mtime) => {
  if (!putTime(atime, 0) || !putTime(mtime, 16)) return EINVAL;
  return asErrno(utimensatFn(dir, nameBuffer(name), timesBytes, flagsFor(name)));
});

/** False if it is not a time. */
function putTime(time: TimeToSet | undefined, at: number): boolean {
  if (time === undefined || time === 'now') {
    timesBytes.fill(0, at, at + 8);
    timesBytes.writeUInt32LE(time === undefined ? UTIME_OMIT : UTIME_NOW, at + 8);
    return true;
  }
  // larger ones mean the present or nothing
  if (!(time.nsec >= 0 && time.nsec <= NSEC_MAX)) return false;
  timesBytes.writeInt32LE(time.low | 0, at);
  timesBytes.writeInt32LE(time.high | 0, at + 4);
  timesBytes.writeUInt32LE(time.nsec, at + 8);
  return true;
}
