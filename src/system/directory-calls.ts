/**
 * Calls for names in an open directory, for a tree that is changed: making, removing, renaming and listing them, and
 * the attributes of their files.
 *
 * As in syscall.ts: a result or a negative errno. A name is the bytes of one component, without "/" and NUL. A symbolic
 * link is never followed. In calls that read or set attributes, an empty name means the open file `dir` itself, of any
 * type, also with O_PATH. Each call that changes something is a fail point ($CFS_FAIL_UPPER_AT).
 */
import { constants } from 'node:fs';
import { EINVAL, ENOSYS, EOPNOTSUPP, EPERM, type Errno, isErrno } from '../base/errno.ts';
import { encodeDevice, S_IFLNK, S_IFMT } from '../base/stat-bits.ts';
import * as beneath from './beneath.ts';
import { upperFailPoints } from './fail-points.ts';
import { AT_EMPTY_PATH, AT_SYMLINK_NOFOLLOW, asErrno, cString, nameBuffer, native, otherNameBuffer } from './libc.ts';
import { closeFd, openAt } from './syscall.ts';

const { returning } = upperFailPoints;
const DOT: Uint8Array = Uint8Array.of(0x2e);
const U32 = 0x1_0000_0000;

/** Flags for a name that may be empty. */
const flagsFor = (name: Uint8Array): number => (name.length === 0 ? AT_EMPTY_PATH : AT_SYMLINK_NOFOLLOW);

/** mkdirat(2). `mode` loses the bits of the process's umask, as in all calls that make a file. */
export const makeDirectoryAt: (dir: number, name: Uint8Array, mode: number) => 0 | Errno = returning(
  'mkdirat',
  beneath.makeDirectoryAt,
);

/** unlinkat(2) with AT_REMOVEDIR: an empty directory. */
export const removeDirectoryAt: (dir: number, name: Uint8Array) => 0 | Errno = returning(
  'unlinkat AT_REMOVEDIR',
  beneath.removeDirectoryAt,
);

const mknodatFn = native('int mknodat(int dir, const void *name, unsigned int mode, uint64_t device)');

/**
 * mknodat(2): a regular file, FIFO, socket or device, by the type in `mode`.
 * @param rdev of a device, in the kernel's 32 bits (`encodeDevice`)
 */
export const makeNodeAt: (dir: number, name: Uint8Array, mode: number, rdev: number) => 0 | Errno = returning(
  'mknodat',
  (dir, name, mode, rdev) => asErrno(mknodatFn(dir, nameBuffer(name), mode, rdev)),
);

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

const renameat2Fn = native(
  'int renameat2(int oldDir, const void *old, int newDir, const void *new, unsigned int flags)',
);

export const RENAME_NOREPLACE = 1;
export const RENAME_EXCHANGE = 2;
export const RENAME_WHITEOUT = 4;

/**
 * renameat2(2). EINVAL if the file system does not know one of the flags. Two names of one file: nothing happens, and
 * both stay.
 * @param flags RENAME_*
 */
export const renameAt: (fromDir: number, from: Uint8Array, toDir: number, to: Uint8Array, flags: number) => 0 | Errno =
  returning('renameat2', (fromDir, from, toDir, to, flags) =>
    asErrno(renameat2Fn(fromDir, nameBuffer(from), toDir, otherNameBuffer(to), flags)),
  );

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

/** The data of statx(2) about a file. Made once, and filled by each call. */
export interface FileStatus {
  mode: number;
  nlink: number;
  uid: number;
  gid: number;
  /** Of a device file, in the kernel's 32 bits (`encodeDevice`). */
  rdev: number;
  size: number;
  /** Of 512 bytes each. */
  blocks: number;
  /** The inode number as two words, unsigned. */
  inoLow: number;
  inoHigh: number;
  /** The device of the file system, as `rdev`. */
  dev: number;
  /** Seconds since 1970 as two's complement: low word, then high word; both unsigned. */
  atimeLow: number;
  atimeHigh: number;
  atimeNsec: number;
  mtimeLow: number;
  mtimeHigh: number;
  mtimeNsec: number;
  ctimeLow: number;
  ctimeHigh: number;
  ctimeNsec: number;
  /** The time of creation; all 0 if the file system does not record one. */
  btimeLow: number;
  btimeHigh: number;
  btimeNsec: number;
}

/** A FileStatus to be filled. */
export function emptyFileStatus(): FileStatus {
  return {
    mode: 0,
    nlink: 0,
    uid: 0,
    gid: 0,
    rdev: 0,
    size: 0,
    blocks: 0,
    inoLow: 0,
    inoHigh: 0,
    dev: 0,
    atimeLow: 0,
    atimeHigh: 0,
    atimeNsec: 0,
    mtimeLow: 0,
    mtimeHigh: 0,
    mtimeNsec: 0,
    ctimeLow: 0,
    ctimeHigh: 0,
    ctimeNsec: 0,
    btimeLow: 0,
    btimeHigh: 0,
    btimeNsec: 0,
  };
}
const chmodStatus: FileStatus = emptyFileStatus();

const statxFn = native('int statx(int dir, const void *name, int flags, unsigned int mask, void *result)');
const STATX_BASIC_STATS_AND_BTIME = 0xfff;
const statxBytes: Buffer = Buffer.alloc(256);
const statxView: DataView = new DataView(statxBytes.buffer, statxBytes.byteOffset, statxBytes.byteLength);
const EMPTY: Uint8Array = Uint8Array.of();

// fields of the last statx(2); their offsets are those of struct statx in linux/stat.h
const u32 = (offset: number): number => statxView.getUint32(offset, true);
const u64 = (offset: number): number => u32(offset) + u32(offset + 4) * U32;

/** statx(2) of `name` in the open directory `dir`. Allocates nothing. */
export function statusAt(dir: number, name: Uint8Array, out: FileStatus): 0 | Errno {
  const result = statxFn(dir, nameBuffer(name), flagsFor(name), STATX_BASIC_STATS_AND_BTIME, statxBytes);
  if (result < 0) return asErrno(result);
  out.mode = statxView.getUint16(28, true);
  out.nlink = u32(16);
  out.uid = u32(20);
  out.gid = u32(24);
  out.rdev = encodeDevice(u32(128), u32(132));
  out.size = u64(40);
  out.blocks = u64(48);
  out.inoLow = u32(32);
  out.inoHigh = u32(36);
  out.dev = encodeDevice(u32(136), u32(140));
  out.atimeLow = u32(64);
  out.atimeHigh = u32(68);
  out.atimeNsec = u32(72);
  out.mtimeLow = u32(112);
  out.mtimeHigh = u32(116);
  out.mtimeNsec = u32(120);
  out.ctimeLow = u32(96);
  out.ctimeHigh = u32(100);
  out.ctimeNsec = u32(104);
  out.btimeLow = u32(80);
  out.btimeHigh = u32(84);
  out.btimeNsec = u32(88);
  return 0;
}

/** As `statusAt`, of an open file, also with O_PATH. */
export const statusOf = (fd: number, out: FileStatus): 0 | Errno => statusAt(fd, EMPTY, out);

const getdentsFn = native('int64_t getdents64(int fd, void *buffer, size_t size)');
const DIRENT_BYTES = 1 << 18;
/** Offsets in struct linux_dirent64. */
const DIRENT_LENGTH = 16;
const DIRENT_TYPE = 18;
const DIRENT_NAME = 19;
/** A buffer that no listing uses: a listing inside of the sink of another takes a second one. */
let spareDirents: Buffer | undefined;

/**
 * All entries of an open directory but "." and "..", from its beginning; also for an O_PATH descriptor. The listing has
 * a file position of its own, so that several may run at once. Memory does not grow with the directory.
 * @param sink gets the name, which is its own to keep; the type, one of DT_*; and the inode number
 */
export function readDirectory(dir: number, sink: (name: Uint8Array, type: number, ino: number) => void): 0 | Errno {
  const fd = openAt(dir, DOT, constants.O_RDONLY | constants.O_DIRECTORY);
  if (isErrno(fd)) return fd;
  const buffer = spareDirents ?? Buffer.allocUnsafeSlow(DIRENT_BYTES);
  spareDirents = undefined;
  try {
    for (;;) {
      const length = getdentsFn(fd, buffer, buffer.length);
      if (length <= 0) return asErrno(length);
      passEntries(buffer, length, sink);
    }
  } finally {
    spareDirents = buffer;
    closeFd(fd);
  }
}

function passEntries(
  buffer: Buffer,
  length: number,
  sink: (name: Uint8Array, type: number, ino: number) => void,
): void {
  for (let at = 0; at < length; ) {
    const next = at + ((buffer[at + DIRENT_LENGTH] ?? 0) | ((buffer[at + DIRENT_LENGTH + 1] ?? 0) << 8));
    const from = at + DIRENT_NAME;
    let end = from;
    while (buffer[end] !== 0) end++;
    if (!isDots(buffer, from, end)) {
      const name = new Uint8Array(end - from);
      for (let i = from; i < end; i++) name[i - from] = buffer[i] as number;
      sink(name, buffer[at + DIRENT_TYPE] as number, buffer.readUInt32LE(at) + buffer.readUInt32LE(at + 4) * U32);
    }
    at = next;
  }
}

/** "." or ".." */
const isDots = (buffer: Buffer, from: number, end: number): boolean =>
  buffer[from] === 0x2e && (end === from + 1 || (end === from + 2 && buffer[from + 1] === 0x2e));
