/**
 * As xattr-calls.ts, for kernels before Linux 6.13, and for descriptors opened with O_PATH: by a path through
 * /proc/self/fd, which must be there. Nothing here is a fail point.
 */
import { EBADF, ENOENT, ERANGE, type Errno } from '../base/errno.ts';
import { asErrno, native, otherNameBuffer } from './libc.ts';

/** The largest value, and the largest list of names. */
export const XATTR_SIZE_MAX = 65536;
/** Few are larger. The kernel allocates and clears the requested size each time. */
export const USUAL_SIZE = 1024;

const getxattrFn = native('int64_t getxattr(const void *path, const void *name, void *value, size_t size)');
const lgetxattrFn = native('int64_t lgetxattr(const void *path, const void *name, void *value, size_t size)');
const setxattrFn = native(
  'int setxattr(const void *path, const void *name, const void *value, size_t size, int flags)',
);
const lsetxattrFn = native(
  'int lsetxattr(const void *path, const void *name, const void *value, size_t size, int flags)',
);
const removexattrFn = native('int removexattr(const void *path, const void *name)');
const lremovexattrFn = native('int lremovexattr(const void *path, const void *name)');
const listxattrFn = native('int64_t listxattr(const void *path, void *list, size_t size)');
const llistxattrFn = native('int64_t llistxattr(const void *path, void *list, size_t size)');

// The link of an open file in /proc is followed to it, and if the file is a symbolic link, not further.

export function getXattrByPath(dir: number, name: Uint8Array, xattr: Uint8Array): Uint8Array | Errno {
  const get = name.length === 0 ? getxattrFn : lgetxattrFn;
  let result = get(pathOf(dir, name), otherNameBuffer(xattr), space(), USUAL_SIZE);
  if (result === ERANGE) result = get(pathOf(dir, name), otherNameBuffer(xattr), space(), XATTR_SIZE_MAX);
  return copied(orBad(result, name));
}

export function setXattrByPath(
  dir: number,
  name: Uint8Array,
  xattr: Uint8Array,
  value: Uint8Array,
  flags: number,
): 0 | Errno {
  const set = name.length === 0 ? setxattrFn : lsetxattrFn;
  return orBad(set(pathOf(dir, name), otherNameBuffer(xattr), value, value.length, flags), name);
}

export function removeXattrByPath(dir: number, name: Uint8Array, xattr: Uint8Array): 0 | Errno {
  const remove = name.length === 0 ? removexattrFn : lremovexattrFn;
  return orBad(remove(pathOf(dir, name), otherNameBuffer(xattr)), name);
}

export function listXattrsByPath(dir: number, name: Uint8Array): Uint8Array | Errno {
  const list = name.length === 0 ? listxattrFn : llistxattrFn;
  let result = list(pathOf(dir, name), space(), USUAL_SIZE);
  if (result === ERANGE) result = list(pathOf(dir, name), space(), XATTR_SIZE_MAX);
  return copied(orBad(result, name));
}

/** A descriptor that is not open has no link. */
const orBad = (result: number, name: Uint8Array): Errno =>
  result === ENOENT && name.length === 0 ? EBADF : asErrno(result);

const copied = (length: number): Uint8Array | Errno => (length < 0 ? asErrno(length) : space().slice(0, length));

function space(): Uint8Array {
  valueSpace ??= new Uint8Array(XATTR_SIZE_MAX);
  return valueSpace;
}
let valueSpace: Uint8Array | undefined;

let pathSpace: Buffer = Buffer.alloc(4096);

/** /proc/self/fd/DIR/NAME, or without a name /proc/self/fd/DIR; in a buffer that the next call reuses. */
function pathOf(dir: number, name: Uint8Array): Uint8Array {
  if (name.length + 32 > pathSpace.length) pathSpace = Buffer.alloc(name.length * 2 + 32);
  let end = pathSpace.write(`/proc/self/fd/${dir}`, 'latin1');
  if (name.length > 0) {
    pathSpace[end++] = 0x2f;
    pathSpace.set(name, end);
    end += name.length;
  }
  pathSpace[end] = 0;
  return pathSpace;
}
