/**
 * Extended attributes of a file with a path, or of an open file; for names in an open directory see xattr-calls.ts. As
 * in descriptors.ts: a result or a negative errno.
 */
import { EINVAL, ENOSYS, EOPNOTSUPP, EPERM, type Errno } from '../base/errno.ts';
import { AT_SYMLINK_NOFOLLOW, asErrno, cString, type NativeFunction, nameBuffer, native } from './libc.ts';
import { XATTR_SIZE_MAX } from './xattr-by-path.ts';
import { SYS_LISTXATTRAT } from './xattr-calls.ts';

const llistxattrFn = native('int64_t llistxattr(const void *path, _Out_ uint8_t *list, size_t size)');
const lgetxattrFn = native('int64_t lgetxattr(const void *path, const void *name, _Out_ uint8_t *value, size_t size)');
const getxattrFn = native('int64_t getxattr(const void *path, const void *name, _Out_ uint8_t *value, size_t size)');

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

const syscallFn = native(
  'long syscall(long number, int dir, const void *name, unsigned int flags, void *list, size_t size)',
);
const SMALL_LIST = 1024;
let hasListXattrAt = true;

/**
 * Whether the file `name` in the open directory `dir` has no xattrs at all, without going through /proc: by
 * listxattrat(2), Linux 6.13.
 * False if only `listXattrs` can tell.
 */
export function hasNoXattrsAt(dir: number, name: Uint8Array): boolean {
  if (!hasListXattrAt) return false;
  const result = syscallFn(SYS_LISTXATTRAT, dir, nameBuffer(name), AT_SYMLINK_NOFOLLOW, xattrBuffer(), SMALL_LIST);
  if (result === ENOSYS || result === EPERM) hasListXattrAt = false; // an older kernel; a seccomp filter of a container
  return result === 0 || result === EOPNOTSUPP;
}
