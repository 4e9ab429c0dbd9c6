/**
 * System calls for which node has no function, or a slow one. Linux only.
 *
 * Each function returns the call's result, or a negative errno; none throws for a system error. Paths
 * and names are bytes. Blocking calls block the calling thread.
 */
import { EINVAL, ENOENT, ENOSYS, EOPNOTSUPP, EPERM, type Errno } from '../base/errno.ts';
import {
  AT_EMPTY_PATH,
  AT_FDCWD,
  AT_SYMLINK_FOLLOW,
  AT_SYMLINK_NOFOLLOW,
  asErrno,
  cString,
  type NativeFunction,
  nameBuffer,
  native,
} from './libc.ts';

const mountFn = native(
  'int mount(const void *source, const void *target, const void *type, unsigned long flags, const void *data)',
);
const umount2Fn = native('int umount2(const void *target, int flags)');
const ioctlFn = native('int ioctl(int fd, unsigned long request, _Inout_ void *argument)');
const syncfsFn = native('int syncfs(int fd)');
const copyFileRangeFn = native(
  'int64_t copy_file_range(int in, _Inout_ int64_t *inOffset, int out, _Inout_ int64_t *outOffset, size_t length, unsigned int flags)',
);
const renameat2Fn = native(
  'int renameat2(int oldDir, const void *old, int newDir, const void *new, unsigned int flags)',
);
const lseekFn = native('int64_t lseek(int fd, int64_t offset, int whence)');
const llistxattrFn = native('int64_t llistxattr(const void *path, _Out_ uint8_t *list, size_t size)');
const lgetxattrFn = native('int64_t lgetxattr(const void *path, const void *name, _Out_ uint8_t *value, size_t size)');
const getxattrFn = native('int64_t getxattr(const void *path, const void *name, _Out_ uint8_t *value, size_t size)');
const readFn = native('int64_t read(int fd, _Out_ uint8_t *buffer, size_t length)');
const writeFn = native('int64_t write(int fd, const void *buffer, size_t length)');
const pollFn = native('int poll(_Inout_ uint8_t *fds, unsigned long count, int timeout)');
const readaheadFn = native('int64_t readahead(int fd, int64_t offset, size_t length)');
const fcntlFn = native('int fcntl(int fd, int command, int argument)');
const flockFn = native('int flock(int fd, int operation)');
const syslogFn = native('int syslog(int priority, const char *format, const char *text)');

export const MS_RDONLY = 1;
export const MS_NOSUID = 2;
export const MS_NODEV = 4;
export const MS_NOEXEC = 8;
export const MS_NOATIME = 1024;
export const MNT_DETACH = 2;
export const UMOUNT_NOFOLLOW = 8;
export const LOCK_SH = 1;
export const LOCK_EX = 2;
export const LOCK_NB = 4;

/** mount(2). */
export function mount(
  source: string | Uint8Array,
  target: string | Uint8Array,
  type: string,
  flags: number,
  data: string,
): 0 | Errno {
  return asErrno(mountFn(cString(source), cString(target), cString(type), flags, cString(data)));
}

/** umount2(2). `flags`: MNT_* or'ed with UMOUNT_NOFOLLOW. */
export function umount2(target: string | Uint8Array, flags: number): 0 | Errno {
  return asErrno(umount2Fn(cString(target), flags));
}

/** ioctl(2) with a pointer argument that the kernel reads and writes. */
export function ioctl(fd: number, request: number, argument: Uint8Array): number | Errno {
  return ioctlFn(fd, request, argument);
}

/** ioctl(2) with an integer argument. */
export function ioctlInteger(fd: number, request: number, argument: number): number | Errno {
  ioctlIntegerFn ??= native('int ioctl(int fd, unsigned long request, unsigned long argument)');
  return ioctlIntegerFn(fd, request, argument);
}
let ioctlIntegerFn: NativeFunction | undefined;

/** flock(2). `operation`: LOCK_SH or LOCK_EX, or'ed with LOCK_NB. */
export function flock(fd: number, operation: number): 0 | Errno {
  return asErrno(flockFn(fd, operation));
}

/** syncfs(2): waits until everything written to the file system of `fd` is on its device. */
export function syncfs(fd: number): 0 | Errno {
  return asErrno(syncfsFn(fd));
}

/** read(2) into all of `buffer`, at the file's own position. Half the cost of node's, and errors are returned. */
export function read(fd: number, buffer: Uint8Array): number | Errno {
  return readFn(fd, buffer, buffer.length);
}

/** write(2) of the first `length` bytes of `buffer`. */
export function write(fd: number, buffer: Uint8Array, length: number): number | Errno {
  return writeFn(fd, buffer, length);
}

const POLLIN = 1;
const pollfd = Buffer.alloc(8);

/** poll(2): waits until `fd` can be read, or fails. */
export function waitReadable(fd: number): void {
  poll(fd, -1);
}

/** poll(2): whether `fd` can be read now, or fails. */
export function isReadable(fd: number): boolean {
  return poll(fd, 0) > 0;
}

function poll(fd: number, timeoutMs: number): number {
  pollfd.writeInt32LE(fd, 0);
  pollfd.writeInt32LE(POLLIN, 4);
  return pollFn(pollfd, 1, timeoutMs);
}

const F_GETFL = 3;
const F_SETFL = 4;
const O_NONBLOCK = 0o4000;

/** Makes read(2) return EAGAIN instead of waiting. */
export function setNonblocking(fd: number): 0 | Errno {
  return asErrno(Math.min(fcntlFn(fd, F_SETFL, fcntlFn(fd, F_GETFL, 0) | O_NONBLOCK), 0));
}

/** readahead(2): makes the kernel read a part of a file into the page cache. Waits until the reading has begun. */
export function readahead(fd: number, offset: number, length: number): 0 | Errno {
  return asErrno(readaheadFn(fd, offset, length));
}

/** copy_file_range(2) from and to explicit offsets. Returns the bytes copied, 0 at the end of the file. */
export function copyFileRange(
  input: number,
  inOffset: number,
  output: number,
  outOffset: number,
  length: number,
): number | Errno {
  return copyFileRangeFn(input, [inOffset], output, [outOffset], length, 0);
}

/**
 * FICLONE, ioctl_ficlone(2): makes `output` share all blocks of `input`. EOPNOTSUPP, EXDEV or EINVAL if that is not
 * possible.
 */
export function cloneFile(input: number, output: number): 0 | Errno {
  return asErrno(ioctlInteger(output, 0x40049409, input));
}

const RENAME_NOREPLACE = 1;
const RENAME_EXCHANGE = 2;

/**
 * renameat2(2) with RENAME_NOREPLACE, from one open directory into another: EEXIST if `to` exists; EINVAL if the file
 * system does not support it.
 */
export function renameNoReplaceAt(fromDir: number, from: Uint8Array, toDir: number, to: Uint8Array): 0 | Errno {
  return asErrno(renameat2Fn(fromDir, cString(from), toDir, nameBuffer(to), RENAME_NOREPLACE));
}

/**
 * renameat2(2) with RENAME_EXCHANGE: both names exist, and are swapped in one step. EINVAL if the file system does not
 * support it.
 */
export function renameExchangeAt(fromDir: number, from: Uint8Array, toDir: number, to: Uint8Array): 0 | Errno {
  return asErrno(renameat2Fn(fromDir, cString(from), toDir, nameBuffer(to), RENAME_EXCHANGE));
}

export const SEEK_DATA = 3;
export const SEEK_HOLE = 4;

/** lseek(2) with SEEK_DATA or SEEK_HOLE. ENXIO (-6) if no data follows `offset`. */
export function seek(fd: number, offset: number, whence: typeof SEEK_DATA | typeof SEEK_HOLE): number | Errno {
  return lseekFn(fd, offset, whence);
}

const XATTR_SIZE_MAX = 65536;

const xattrBuffer = (): Buffer => {
  sharedXattrBuffer ??= Buffer.alloc(XATTR_SIZE_MAX);
  return sharedXattrBuffer;
};
let sharedXattrBuffer: Buffer | undefined;

/** llistxattr(2): the names, without following a symbolic link in the last component. */
export function listXattrs(path: string | Uint8Array): Uint8Array[] | Errno {
  const buffer = xattrBuffer();
  const n = llistxattrFn(cString(path), buffer, buffer.length);
  if (n < 0) return asErrno(n);
  const names: Uint8Array[] = [];
  for (let at = 0; at < n; ) {
    const end = buffer.indexOf(0, at);
    if (end < 0 || end >= n) return EINVAL;
    names.push(Uint8Array.from(buffer.subarray(at, end)));
    at = end + 1;
  }
  return names;
}

/** lgetxattr(2). */
export function getXattr(path: string | Uint8Array, name: string | Uint8Array): Uint8Array | Errno {
  const buffer = xattrBuffer();
  const n = lgetxattrFn(cString(path), cString(name), buffer, buffer.length);
  return n < 0 ? asErrno(n) : Uint8Array.from(buffer.subarray(0, n));
}

/** An xattr of an open file of any type, also with O_PATH, for which fgetxattr(2) fails with EBADF. */
export function getXattrOfFd(fd: number, name: string | Uint8Array): Uint8Array | Errno {
  const buffer = xattrBuffer();
  const n = getxattrFn(cString(`/proc/self/fd/${fd}`), cString(name), buffer, buffer.length);
  return n < 0 ? asErrno(n) : Uint8Array.from(buffer.subarray(0, n));
}

/** fsetxattr(2). */
export function setXattrOfFd(fd: number, name: string, value: Uint8Array): 0 | Errno {
  fsetxattrFn ??= native('int fsetxattr(int fd, const void *name, const void *value, size_t size, int flags)');
  return asErrno(fsetxattrFn(fd, cString(name), value, value.length, 0));
}
let fsetxattrFn: NativeFunction | undefined;

/** fremovexattr(2). ENODATA if it has none of this name. */
export function removeXattrOfFd(fd: number, name: string): 0 | Errno {
  fremovexattrFn ??= native('int fremovexattr(int fd, const void *name)');
  return asErrno(fremovexattrFn(fd, cString(name)));
}
let fremovexattrFn: NativeFunction | undefined;

const openatFn = native('int openat(int dir, const void *name, int flags, unsigned int mode)');

/**
 * openat(2), close-on-exec: opens `name` in the open directory `dir`. A third of the cost of node's open through
 * /proc/self/fd.
 */
export function openAt(dir: number, name: Uint8Array, flags: number, mode = 0): number | Errno {
  return openatFn(dir, nameBuffer(name), flags | O_CLOEXEC, mode);
}
const O_CLOEXEC = 0o2000000;

const O_RDWR = 2;
const O_TMPFILE = 0o20200000;
const DOT: Uint8Array = Uint8Array.of(0x2e);

/**
 * open(2) with O_TMPFILE: a new file without a name on the file system of the open directory `dir`. EOPNOTSUPP or
 * EISDIR if it does not support them.
 */
export function openNameless(dir: number, mode: number): number | Errno {
  return openAt(dir, DOT, O_RDWR | O_TMPFILE, mode);
}

const linkatFn = native('int linkat(int oldDir, const void *old, int newDir, const void *name, int flags)');
let linksDescriptors = true;

/** linkat(2): links the open file `fd` as `name` in the open directory `dir`. EEXIST if that exists. */
export function linkFd(fd: number, dir: number, name: Uint8Array): 0 | Errno {
  if (linksDescriptors) {
    const result = linkatFn(fd, NUL, dir, nameBuffer(name), AT_EMPTY_PATH);
    // before Linux 6.10 that needs CAP_DAC_READ_SEARCH, and fails with ENOENT without it
    if (result !== ENOENT) return asErrno(result);
  }
  const result = linkatFn(AT_FDCWD, cString(`/proc/self/fd/${fd}`), dir, nameBuffer(name), AT_SYMLINK_FOLLOW);
  if (result === 0) linksDescriptors = false;
  return asErrno(result);
}
const NUL: Buffer = Buffer.alloc(1);

/** linkat(2) between open directories; a symbolic link is not followed. */
export function linkAt(fromDir: number, from: Uint8Array, toDir: number, to: Uint8Array): 0 | Errno {
  return asErrno(linkatFn(fromDir, cString(from), toDir, nameBuffer(to), 0));
}

const unlinkatFn = native('int unlinkat(int dir, const void *name, int flags)');

/** unlinkat(2) of a file. */
export function unlinkAt(dir: number, name: Uint8Array): 0 | Errno {
  return asErrno(unlinkatFn(dir, nameBuffer(name), 0));
}

const preadFn = native('int64_t pread(int fd, void *buffer, size_t length, int64_t offset)');
const pwriteFn = native('int64_t pwrite(int fd, const void *buffer, size_t length, int64_t offset)');

/** pread(2) into the beginning of `buffer`. Returns the bytes read, 0 at the end of the file. */
export function pread(fd: number, buffer: Uint8Array, length: number, position: number): number | Errno {
  if (length > buffer.length) throw new RangeError(`${length} bytes into a buffer of ${buffer.length}`);
  return preadFn(fd, buffer, length, position);
}

/** pwrite(2). Returns the bytes written, which may be fewer. */
export function pwrite(fd: number, bytes: Uint8Array, position: number): number | Errno {
  return pwriteFn(fd, bytes, bytes.length, position);
}

const memfdCreateFn = native('int memfd_create(const void *name, unsigned int flags)');
const MFD_CLOEXEC = 1;
const MFD_ALLOW_SEALING = 2;

/**
 * memfd_create(2), close-on-exec: a file in memory that lives as long as a process has it open. `name` is shown in
 * /proc.
 */
export function memfdCreate(name: string): number | Errno {
  return memfdCreateFn(cString(name), MFD_CLOEXEC | MFD_ALLOW_SEALING);
}

const F_ADD_SEALS = 1033;
const F_GET_SEALS = 1034;
/** F_SEAL_SEAL, _SHRINK, _GROW, _WRITE: the file can no longer change. */
const ALL_SEALS = 0b1111;

/** Seals a file in memory: from then on it cannot be changed. */
export function sealMemfd(fd: number): 0 | Errno {
  return asErrno(fcntlFn(fd, F_ADD_SEALS, ALL_SEALS));
}

/** Whether `fd` is a file in memory that was sealed in this way. */
export const isSealedMemfd = (fd: number): boolean => fcntlFn(fd, F_GET_SEALS, 0) === ALL_SEALS;

const closeFn = native('int close(int fd)');

/** close(2), for descriptors that node does not know. */
export function closeFd(fd: number): void {
  closeFn(fd);
}

const syscallFn = native(
  'long syscall(long number, int dir, const void *name, unsigned int flags, void *list, size_t size)',
);
/** listxattrat(2), Linux 6.13; the same number on all architectures. */
const SYS_LISTXATTRAT = 465;
const SMALL_LIST = 1024;
let hasListXattrAt = true;

/**
 * Whether the file `name` in the open directory `dir` has no xattrs at all, without going through /proc.
 * False if only `listXattrs` can tell.
 */
export function hasNoXattrsAt(dir: number, name: Uint8Array): boolean {
  if (!hasListXattrAt) return false;
  const result = syscallFn(SYS_LISTXATTRAT, dir, nameBuffer(name), AT_SYMLINK_NOFOLLOW, xattrBuffer(), SMALL_LIST);
  if (result === ENOSYS || result === EPERM) hasListXattrAt = false; // an older kernel; a seccomp filter of a container
  return result === 0 || result === EOPNOTSUPP;
}

const prctlFn = native('int prctl(int option, unsigned long argument)');
const PR_SET_PDEATHSIG = 1;

/** prctl(2): this process gets `signal` when its parent ends. Call it on the main thread. */
export function signalAtParentsEnd(signal: number): 0 | Errno {
  return asErrno(prctlFn(PR_SET_PDEATHSIG, signal));
}

const dup2Fn = native('int dup2(int from, int to)');

/** dup2(2): makes `to` a copy of `from`, in one step for all threads. */
export function dup2(from: number, to: number): number | Errno {
  return dup2Fn(from, to);
}

const F_SETFD = 2;
const FD_CLOEXEC = 1;

/** Keeps `fd` open across exec (`inherit`), or closes it then. */
export function setInherit(fd: number, inherit: boolean): 0 | Errno {
  return asErrno(fcntlFn(fd, F_SETFD, inherit ? 0 : FD_CLOEXEC));
}

const F_GETFD = 1;

/** Whether `fd` is open and would stay open across exec. */
export function isInherited(fd: number): boolean {
  return fcntlFn(fd, F_GETFD, 0) === 0;
}

export const LOG_ERR = 3;
export const LOG_WARNING = 4;
export const LOG_INFO = 6;
export const LOG_DEBUG = 7;
const LOG_DAEMON = 3 << 3;

/** syslog(3) with facility daemon. `severity`: LOG_WARNING and the like. */
export function syslog(severity: number, text: string): void {
  syslogFn(LOG_DAEMON | severity, '%s', text);
}
