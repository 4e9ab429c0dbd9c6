/**
 * System calls as the tests of writable file systems make them: by a path, or on a descriptor. A relative path begins
 * at the working directory. Each returns its result, or a negative errno.
 */
import type { Errno } from '../../src/base/errno.ts';
import { errnoName } from '../../src/base/errno.ts';
import { asErrno, cString, koffi, libcFunction, native } from '../../src/system/libc.ts';

/** A path or name; a string is UTF-8. */
export type Path = string | Uint8Array;
export type Done = 0 | Errno;

export const O_RDONLY = 0;
export const O_WRONLY = 1;
export const O_RDWR = 2;
export const O_CREAT = 0o100;
export const O_EXCL = 0o200;
export const O_TRUNC = 0o1000;
export const O_APPEND = 0o2000;
export const O_NONBLOCK = 0o4000;
const O_CLOEXEC = 0o2000000;
export const O_PATH = 0o10000000;
// these differ on arm64
const isArm = process.arch === 'arm64';
export const O_DIRECTORY: number = isArm ? 0o40000 : 0o200000;
export const O_NOFOLLOW: number = isArm ? 0o100000 : 0o400000;
export const O_TMPFILE: number = 0o20000000 | O_DIRECTORY;

export const S_IFMT = 0o170000;
export const S_IFIFO = 0o010000;
export const S_IFCHR = 0o020000;
export const S_IFDIR = 0o040000;
export const S_IFBLK = 0o060000;
export const S_IFREG = 0o100000;
export const S_IFLNK = 0o120000;
export const S_IFSOCK = 0o140000;

export const AT_FDCWD = -100;
export const AT_SYMLINK_NOFOLLOW = 0x100;
export const AT_SYMLINK_FOLLOW = 0x400;
export const AT_EMPTY_PATH = 0x1000;
export const AT_EACCESS = 0x200;
export const RENAME_NOREPLACE = 1;
export const RENAME_EXCHANGE = 2;
export const RENAME_WHITEOUT = 4;
export const FALLOC_FL_KEEP_SIZE = 1;
export const FALLOC_FL_PUNCH_HOLE = 2;
export const FALLOC_FL_ZERO_RANGE = 16;
export const XATTR_CREATE = 1;
export const XATTR_REPLACE = 2;

const openFn = native('int open(const void *path, int flags, unsigned int mode)');
const closeFn = native('int close(int fd)');
const mkdirFn = native('int mkdir(const void *path, unsigned int mode)');
const rmdirFn = native('int rmdir(const void *path)');
const unlinkFn = native('int unlink(const void *path)');
const mknodFn = native('int mknod(const void *path, unsigned int mode, uint64_t device)');
const symlinkFn = native('int symlink(const void *target, const void *path)');
const readlinkFn = native('int64_t readlink(const void *path, void *buffer, size_t size)');
const linkatFn = native('int linkat(int fromDir, const void *from, int toDir, const void *to, int flags)');
const renameFn = native('int renameat2(int fromDir, const void *from, int toDir, const void *to, unsigned int flags)');
const chmodFn = native('int chmod(const void *path, unsigned int mode)');
const fchmodFn = native('int fchmod(int fd, unsigned int mode)');
const fchownatFn = native('int fchownat(int dir, const void *path, unsigned int uid, unsigned int gid, int flags)');
const fchownFn = native('int fchown(int fd, unsigned int uid, unsigned int gid)');
const utimensatFn = native('int utimensat(int dir, const void *path, const void *times, int flags)');
const futimensFn = native('int futimens(int fd, const void *times)');
const truncateFn = native('int truncate(const void *path, int64_t size)');
const ftruncateFn = native('int ftruncate(int fd, int64_t size)');
const fallocateFn = native('int fallocate(int fd, int mode, int64_t offset, int64_t length)');
const faccessatFn = native('int faccessat(int dir, const void *path, int mode, int flags)');
const readFn = native('int64_t read(int fd, void *buffer, size_t length)');
const preadFn = native('int64_t pread(int fd, void *buffer, size_t length, int64_t offset)');
const pwriteFn = native('int64_t pwrite(int fd, const void *buffer, size_t length, int64_t offset)');
const writeFn = native('int64_t write(int fd, const void *buffer, size_t length)');
const lseekFn = native('int64_t lseek(int fd, int64_t offset, int whence)');
const fsyncFn = native('int fsync(int fd)');
const copyFn = native(
  'int64_t copy_file_range(int from, void *fromOffset, int to, void *toOffset, size_t length, unsigned int flags)',
);
const setxattrFn = native(
  'int setxattr(const void *path, const void *name, const void *value, size_t size, int flags)',
);
const lsetxattrFn = native(
  'int lsetxattr(const void *path, const void *name, const void *value, size_t size, int flags)',
);
const fsetxattrFn = native('int fsetxattr(int fd, const void *name, const void *value, size_t size, int flags)');
const lremovexattrFn = native('int lremovexattr(const void *path, const void *name)');

/** open(2), close-on-exec. */
export function open(path: Path, flags: number, mode = 0): number | Errno {
  const fd = openFn(cString(path), flags | O_CLOEXEC, mode);
  if (fd >= 0) openFds.add(fd);
  return fd;
}

export function close(fd: number): Done {
  openFds.delete(fd);
  return asErrno(closeFn(fd));
}

const openFds = new Set<number>();

/** Closes all open files, as after a failed test: they would keep mounts busy. */
export function closeLeft(): void {
  for (const fd of openFds) close(fd);
}
export const mkdir = (path: Path, mode: number): Done => asErrno(mkdirFn(cString(path), mode));
export const rmdir = (path: Path): Done => asErrno(rmdirFn(cString(path)));
export const unlink = (path: Path): Done => asErrno(unlinkFn(cString(path)));
/** mknod(2). `mode` has the type. */
export const mknod = (path: Path, mode: number, device = 0): Done => asErrno(mknodFn(cString(path), mode, device));
export const mkfifo = (path: Path, mode: number): Done => mknod(path, S_IFIFO | mode);
export const symlink = (target: Path, path: Path): Done => asErrno(symlinkFn(cString(target), cString(path)));
/** link(2), or linkat(2) with AT_SYMLINK_FOLLOW. */
export const link = (from: Path, to: Path, flags = 0): Done =>
  asErrno(linkatFn(AT_FDCWD, cString(from), AT_FDCWD, cString(to), flags));
/** linkat(2) of an open file, which may have no name, to the name `to`. */
export const linkDescriptor = (fd: number, to: Path): Done =>
  asErrno(linkatFn(AT_FDCWD, cString(`/proc/self/fd/${fd}`), AT_FDCWD, cString(to), AT_SYMLINK_FOLLOW));
/** linkat(2) of an open file with an empty path, which needs CAP_DAC_READ_SEARCH, or the credentials of its open. */
export const linkEmptyPath = (fd: number, to: Path): Done =>
  asErrno(linkatFn(fd, cString(''), AT_FDCWD, cString(to), AT_EMPTY_PATH));
/** rename(2), or renameat2(2) with RENAME_*. */
export const rename = (from: Path, to: Path, flags = 0): Done =>
  asErrno(renameFn(AT_FDCWD, cString(from), AT_FDCWD, cString(to), flags));
export const chmod = (path: Path, mode: number): Done => asErrno(chmodFn(cString(path), mode));
export const fchmod = (fd: number, mode: number): Done => asErrno(fchmodFn(fd, mode));
/** chown(2), which follows a symbolic link. -1 keeps the owner or the group. */
export const chown = (path: Path, uid: number, gid: number): Done =>
  asErrno(fchownatFn(AT_FDCWD, cString(path), uid >>> 0, gid >>> 0, 0));
export const lchown = (path: Path, uid: number, gid: number): Done =>
  asErrno(fchownatFn(AT_FDCWD, cString(path), uid >>> 0, gid >>> 0, AT_SYMLINK_NOFOLLOW));
export const fchown = (fd: number, uid: number, gid: number): Done => asErrno(fchownFn(fd, uid >>> 0, gid >>> 0));
export const truncate = (path: Path, size: number): Done => asErrno(truncateFn(cString(path), size));
export const ftruncate = (fd: number, size: number): Done => asErrno(ftruncateFn(fd, size));
export const fallocate = (fd: number, mode: number, offset: number, length: number): Done =>
  asErrno(fallocateFn(fd, mode, offset, length));
/** faccessat(2) with the effective user. `mode`: 4 to read, 2 to write, 1 to execute, 0 whether it exists. */
export const access = (path: Path, mode: number): Done =>
  asErrno(faccessatFn(AT_FDCWD, cString(path), mode, AT_EACCESS));
export const fsync = (fd: number): Done => asErrno(fsyncFn(fd));
/** lseek(2). `whence`: 0 from the start, 3 SEEK_DATA, 4 SEEK_HOLE. */
export const lseek = (fd: number, offset: number, whence: number): number | Errno => lseekFn(fd, offset, whence);

/** A time for utimensat(2): seconds and nanoseconds, the present, or none. */
export type Time = readonly [seconds: number, nanoseconds: number] | 'now' | 'omit';
const NANOSECONDS = { now: 0x3fffffff, omit: 0x3ffffffe } as const;

function timesOf(atime: Time, mtime: Time): Buffer {
  const times = Buffer.alloc(32);
  for (const [at, time] of [atime, mtime].entries()) {
    const [seconds, nanoseconds] = typeof time === 'string' ? [0, NANOSECONDS[time]] : time;
    times.writeBigInt64LE(BigInt(seconds), at * 16);
    times.writeBigInt64LE(BigInt(nanoseconds), at * 16 + 8);
  }
  return times;
}

/** utimensat(2). `flags`: AT_SYMLINK_NOFOLLOW. */
export const utimens = (path: Path, atime: Time, mtime: Time, flags = 0): Done =>
  asErrno(utimensatFn(AT_FDCWD, cString(path), timesOf(atime, mtime), flags));
export const futimens = (fd: number, atime: Time, mtime: Time): Done => asErrno(futimensFn(fd, timesOf(atime, mtime)));

const linkBuffer = Buffer.alloc(8192);
export function readlink(path: Path): Buffer | Errno {
  const length = readlinkFn(cString(path), linkBuffer, linkBuffer.length);
  return length < 0 ? asErrno(length) : Buffer.from(linkBuffer.subarray(0, length));
}

/** pread(2) of at most `length` bytes. */
export function pread(fd: number, length: number, offset: number): Buffer | Errno {
  const buffer = Buffer.alloc(length);
  const count = preadFn(fd, buffer, length, offset);
  return count < 0 ? asErrno(count) : buffer.subarray(0, count);
}
/** read(2) of at most `length` bytes at the file's own position. */
export function read(fd: number, length: number): Buffer | Errno {
  const buffer = Buffer.alloc(length);
  const count = readFn(fd, buffer, length);
  return count < 0 ? asErrno(count) : buffer.subarray(0, count);
}
export const pwrite = (fd: number, bytes: Uint8Array, offset: number): number | Errno =>
  pwriteFn(fd, bytes, bytes.length, offset);
/** write(2) at the file's own position. */
export const write = (fd: number, bytes: Uint8Array): number | Errno => writeFn(fd, bytes, bytes.length);

/** copy_file_range(2) between given offsets. */
export function copyRange(
  from: number,
  fromOffset: number,
  to: number,
  toOffset: number,
  length: number,
): number | Errno {
  const [source, target] = [Buffer.alloc(8), Buffer.alloc(8)];
  source.writeBigInt64LE(BigInt(fromOffset));
  target.writeBigInt64LE(BigInt(toOffset));
  return copyFn(from, source, to, target, length, 0);
}

const fadviseFn = native('int posix_fadvise(int fd, int64_t offset, int64_t length, int advice)');
const POSIX_FADV_DONTNEED = 4;
/** Drops the clean pages of an open file from the page cache. posix_fadvise(3) returns the error, not -1. */
export const dropPages = (fd: number): Done => asErrno(-fadviseFn(fd, 0, 0, POSIX_FADV_DONTNEED));

const munmapFn = native('int munmap(void *address, size_t length)');
const msyncFn = native('int msync(void *address, size_t length, int flags)');
const MAP_FAILED = 0xffff_ffff_ffff_ffffn;
const MS_SYNC = 4;

/**
 * Maps the first `length` bytes of an open file for reading and writing, runs `work` with them, and removes the
 * mapping. `work` must not keep the bytes.
 */
export function withMapping(
  fd: number,
  length: number,
  how: 'shared' | 'private',
  work: (bytes: Uint8Array) => void,
): Done {
  const mmap = libcFunction(
    'void *mmap(void *address, size_t length, int protection, int flags, int fd, int64_t offset)',
  );
  const address = mmap(null, length, 3, how === 'shared' ? 1 : 2, fd, 0);
  if (address === MAP_FAILED) return asErrno(-koffi().errno());
  try {
    work(new Uint8Array(koffi().view(address, length)));
    return how === 'shared' ? asErrno(msyncFn(address, length, MS_SYNC)) : 0;
  } finally {
    munmapFn(address, length);
  }
}

export const setxattr = (path: Path, name: string, value: Uint8Array, flags = 0): Done =>
  asErrno(setxattrFn(cString(path), cString(name), value, value.length, flags));
export const lsetxattr = (path: Path, name: string, value: Uint8Array, flags = 0): Done =>
  asErrno(lsetxattrFn(cString(path), cString(name), value, value.length, flags));
export const fsetxattr = (fd: number, name: string, value: Uint8Array, flags = 0): Done =>
  asErrno(fsetxattrFn(fd, cString(name), value, value.length, flags));
export const lremovexattr = (path: Path, name: string): Done => asErrno(lremovexattrFn(cString(path), cString(name)));

/** "ok", or the name of the error: what tests compare. */
export const nameOf = (result: number): string => (result < 0 ? errnoName(asErrno(result)) : 'ok');
