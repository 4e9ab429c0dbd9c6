/**
 * The kernel's data about files and file systems, by statx(2) and statfs(2): at a third to half of the price of node's
 * stat. As in descriptors.ts: a result or a negative errno.
 *
 * `FileVersion` has what tells one version of a file from another, `FileStat` is a new object for each file, and
 * `FileStatus` has every field, in an object that is used again.
 */
import type { Errno } from '../base/errno.ts';
import { encodeDevice, S_IFMT, S_IFREG } from '../base/stat-bits.ts';
import { AT_EMPTY_PATH, AT_FDCWD, AT_SYMLINK_NOFOLLOW, asErrno, nameBuffer, native } from './libc.ts';

const statxFn = native('int statx(int dir, const void *name, int flags, unsigned int mask, void *result)');
const statxBytes: Buffer = Buffer.alloc(256);
const statxView: DataView = new DataView(statxBytes.buffer, statxBytes.byteOffset, statxBytes.byteLength);
const U32 = 0x1_0000_0000;

// fields of the last statx(2); their offsets are those of struct statx in linux/stat.h
const u16 = (offset: number): number => statxView.getUint16(offset, true);
const u32 = (offset: number): number => statxView.getUint32(offset, true);
const i64 = (offset: number): number => u32(offset) + statxView.getInt32(offset + 4, true) * U32;

const deviceNumber = (offset: number): number => encodeDevice(u32(offset), u32(offset + 4));

/** The fields of a stat that distinguish files and their versions; the numbers are those of node's Stats. */
export interface FileVersion {
  isFile: boolean;
  size: number;
  /** The low 32 bits of st_dev. */
  dev: number;
  ino: number;
  ctimeMs: number;
}

/** NUL-terminated, because it is passed to the kernel unchanged. */
const EMPTY_NAME: Uint8Array = Uint8Array.of(0);

export const emptyFileVersion = (): FileVersion => ({ isFile: false, size: 0, dev: 0, ino: 0, ctimeMs: 0 });

/** STATX_TYPE, _MODE, _INO, _SIZE and _CTIME */
const STATX_VERSION = 0x1 | 0x2 | 0x100 | 0x200 | 0x80;

/**
 * statx(2) of the last component itself, at half the cost of node's lstat.
 * @param path NUL-terminated, from the open directory `dir` if it is relative
 */
export function fileVersion(path: Uint8Array, out: FileVersion, dir: number = AT_FDCWD): 0 | Errno {
  return version(dir, path, AT_SYMLINK_NOFOLLOW, out);
}

/** As `fileVersion`, of an open file, at half the price of node's fstat. */
export const fileVersionOf = (fd: number, out: FileVersion): 0 | Errno => version(fd, EMPTY_NAME, AT_EMPTY_PATH, out);

function version(dir: number, path: Uint8Array, flags: number, out: FileVersion): 0 | Errno {
  const result = statxFn(dir, path, flags, STATX_VERSION, statxBytes);
  if (result < 0) return asErrno(result);
  out.isFile = (u16(28) & S_IFMT) === S_IFREG;
  out.ino = u32(32) + u32(36) * U32;
  out.size = i64(40);
  // as node computes it (lib/internal/fs/utils.js, msFromTimeSpec), so that both are comparable
  out.ctimeMs = i64(96) * 1000 + u32(104) / 1e6;
  out.dev = deviceNumber(136);
  return 0;
}

/** The status of an inode from statx(2). The inode number is two words: a stacked file system uses all 64 bits. */
export interface FileStat {
  readonly mode: number;
  readonly nlink: number;
  readonly uid: number;
  readonly gid: number;
  readonly inodeHigh: number;
  readonly inodeLow: number;
  readonly size: number;
  /** Of 512 bytes each. */
  readonly blocks: number;
  /** Seconds since 1970; may be negative. */
  readonly mtime: number;
  readonly mtimeNsec: number;
  readonly ctime: number;
  readonly ctimeNsec: number;
  /** Of a device file, as the kernel encodes it in 32 bits (new_encode_dev). */
  readonly rdev: number;
  /** A number for the device of the file; not encoded as st_dev. */
  readonly device: number;
}

/** The inode number, which a mount of cfs keeps below 2^52. */
export const inodeOf = ({ inodeHigh, inodeLow }: Pick<FileStat, 'inodeHigh' | 'inodeLow'>): number =>
  inodeHigh * 0x1_0000_0000 + inodeLow;

const STATX_BASIC_STATS = 0x7ff;

/** fstatat(2) of `name` in the open directory `dir`; a symbolic link is not followed. */
export function statAt(dir: number, name: Uint8Array): FileStat | Errno {
  return statx(dir, name, AT_SYMLINK_NOFOLLOW);
}

/** fstat(2). */
export function statFd(fd: number): FileStat | Errno {
  return statx(fd, EMPTY_NAME, AT_EMPTY_PATH);
}

function statx(dir: number, name: Uint8Array, flags: number): FileStat | Errno {
  const result = statxFn(dir, nameBuffer(name), flags, STATX_BASIC_STATS, statxBytes);
  if (result < 0) return asErrno(result);
  return {
    mode: u16(28),
    nlink: u32(16),
    uid: u32(20),
    gid: u32(24),
    inodeHigh: u32(36),
    inodeLow: u32(32),
    size: i64(40),
    blocks: i64(48),
    mtime: i64(112),
    mtimeNsec: u32(120),
    ctime: i64(96),
    ctimeNsec: u32(104),
    rdev: deviceNumber(128),
    device: u32(136) * 0x10_0000 + u32(140),
  };
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

const STATX_BTIME = 0x800;
const NO_NAME: Uint8Array = Uint8Array.of();
const u64 = (offset: number): number => u32(offset) + u32(offset + 4) * U32;

/**
 * statx(2) of `name` in the open directory `dir`; a symbolic link is not followed. An empty name means `dir` itself.
 * Allocates nothing.
 */
export function statusAt(dir: number, name: Uint8Array, out: FileStatus): 0 | Errno {
  return fill(dir, name, name.length === 0 ? AT_EMPTY_PATH : AT_SYMLINK_NOFOLLOW, out);
}

/** Whatever the kernel has cached is good: a network file system, or FUSE, is not asked. */
const AT_STATX_DONT_SYNC = 0x4000;

/** As `statusAt`, of a path, following symbolic links, without asking the server of the file system. */
export const cachedStatus = (path: Uint8Array, out: FileStatus): 0 | Errno =>
  fill(AT_FDCWD, path, AT_STATX_DONT_SYNC, out);

/** As `cachedStatus`, asking it. */
export const currentStatus = (path: Uint8Array, out: FileStatus): 0 | Errno => fill(AT_FDCWD, path, 0, out);

function fill(dir: number, name: Uint8Array, flags: number, out: FileStatus): 0 | Errno {
  const result = statxFn(dir, nameBuffer(name), flags, STATX_BASIC_STATS | STATX_BTIME, statxBytes);
  if (result < 0) return asErrno(result);
  out.mode = u16(28);
  out.nlink = u32(16);
  out.uid = u32(20);
  out.gid = u32(24);
  out.rdev = deviceNumber(128);
  out.size = u64(40);
  out.blocks = u64(48);
  out.inoLow = u32(32);
  out.inoHigh = u32(36);
  out.dev = deviceNumber(136);
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
export const statusOf = (fd: number, out: FileStatus): 0 | Errno => statusAt(fd, NO_NAME, out);

/** The result of statfs(2). */
export interface FileSystemStat {
  /** f_type, a magic number of linux/magic.h. */
  readonly type: number;
  /** The two words of f_fsid. */
  readonly id: readonly [number, number];
}

const fstatfsFn = native('int fstatfs(int fd, void *result)');
/** Larger than any struct statfs. */
const statfsBytes: Buffer = Buffer.alloc(256);

/** fstatfs(2). */
export function statFileSystem(fd: number): FileSystemStat | Errno {
  const result = fstatfsFn(fd, statfsBytes);
  if (result < 0) return asErrno(result);
  return { type: statfsBytes.readUInt32LE(0), id: [statfsBytes.readUInt32LE(56), statfsBytes.readUInt32LE(60)] };
}

/** The result of statvfs(3). */
export interface FileSystemStatus {
  /** The unit of the other numbers. */
  readonly blockSize: number;
  readonly blocks: number;
  readonly blocksFree: number;
  /** Free for ordinary users. */
  readonly blocksAvailable: number;
  readonly files: number;
  readonly filesFree: number;
  readonly nameMax: number;
}

/** A word of struct statfs of asm-generic, whose words are all of 64 bits. */
const word = (index: number): number =>
  statfsBytes.readUInt32LE(index * 8) + statfsBytes.readUInt32LE(index * 8 + 4) * U32;

/** fstatfs(2), of the file system of an open file, also with O_PATH. */
export function statVfs(fd: number): FileSystemStatus | Errno {
  const result = fstatfsFn(fd, statfsBytes);
  if (result < 0) return asErrno(result);
  return {
    // f_frsize, or f_bsize of a file system that does not fill it in
    blockSize: word(9) || word(1),
    blocks: word(2),
    blocksFree: word(3),
    blocksAvailable: word(4),
    files: word(5),
    filesFree: word(6),
    nameMax: word(8),
  };
}
