/**
 * Extended attributes of a file in an open directory, of any type, for a tree that is changed.
 *
 * As in descriptors.ts: a result or a negative errno. Names are bytes without NUL; that of the file is one component,
 * and a symbolic link is not followed. An empty name means the open file `dir` itself, of any type, also with O_PATH.
 * Each call that changes something is a fail point ($CFS_FAIL_UPPER_AT).
 *
 * setxattrat(2) and its relatives (Linux 6.13) do that in one step. Without them, and for descriptors opened with
 * O_PATH, which they refuse, xattr-by-path.ts does it.
 */
import { E2BIG, EBADF, ENOSYS, EPERM, ERANGE, type Errno } from '../base/errno.ts';
import { upperFailPoints } from './fail-points.ts';
import { AT_EMPTY_PATH, AT_SYMLINK_NOFOLLOW, asErrno, koffi, nameBuffer, native, otherNameBuffer } from './libc.ts';
import {
  getXattrByPath,
  listXattrsByPath,
  removeXattrByPath,
  setXattrByPath,
  USUAL_SIZE,
  XATTR_SIZE_MAX,
} from './xattr-by-path.ts';

const { returning } = upperFailPoints;

export const XATTR_CREATE = 1;
export const XATTR_REPLACE = 2;

// the same numbers on all architectures
const SYS_SETXATTRAT = 463;
const SYS_GETXATTRAT = 464;
export const SYS_LISTXATTRAT = 465;
const SYS_REMOVEXATTRAT = 466;

const valueFn = native(
  'long syscall(long number, int dir, const void *name, unsigned int flags, const void *xattr, void *args, size_t size)',
);
const listFn = native(
  'long syscall(long number, int dir, const void *name, unsigned int flags, void *list, size_t size)',
);
const removeFn = native('long syscall(long number, int dir, const void *name, unsigned int flags, const void *xattr)');

/** struct xattr_args: the address of the value, its size, flags. */
const ARGS_BYTES = 16;
const args: Buffer = Buffer.alloc(ARGS_BYTES);

/** One value or list, in memory that does not move: `args` has its address. */
function space(): Uint8Array {
  if (valueSpace === undefined) {
    valueSpace = new Uint8Array(XATTR_SIZE_MAX);
    args.writeBigUInt64LE(BigInt(koffi().address(valueSpace)), 0);
  }
  return valueSpace;
}
let valueSpace: Uint8Array | undefined;

/** False if the kernel has no such calls, or a seccomp filter of a container refuses them. */
let hasCalls = true;

/** Flags for a name that may be empty. */
const flagsFor = (name: Uint8Array): number => (name.length === 0 ? AT_EMPTY_PATH : AT_SYMLINK_NOFOLLOW);

/** The value of an xattr. ENODATA if the file has none of this name. */
export function getXattrAt(dir: number, name: Uint8Array, xattr: Uint8Array): Uint8Array | Errno {
  if (!hasCalls) return getXattrByPath(dir, name, xattr);
  let result = callWithValue(SYS_GETXATTRAT, dir, name, xattr, USUAL_SIZE, 0);
  if (result === ERANGE) result = callWithValue(SYS_GETXATTRAT, dir, name, xattr, XATTR_SIZE_MAX, 0);
  return result >= 0 ? space().slice(0, result) : orByPath(result, name, () => getXattrByPath(dir, name, xattr));
}

/**
 * Sets an xattr. E2BIG if the value has more than 64 KiB. ENOSPC, or E2BIG, if it has more than the file system can
 * keep.
 * @param flags 0, XATTR_CREATE or XATTR_REPLACE
 */
export const setXattrAt: (
  dir: number,
  name: Uint8Array,
  xattr: Uint8Array,
  value: Uint8Array,
  flags: number,
) => 0 | Errno = returning('setxattrat', (dir, name, xattr, value, flags) => {
  if (value.length > XATTR_SIZE_MAX) return E2BIG;
  if (!hasCalls) return setXattrByPath(dir, name, xattr, value, flags);
  space().set(value);
  const result = callWithValue(SYS_SETXATTRAT, dir, name, xattr, value.length, flags);
  return result === 0 ? 0 : orByPath(result, name, () => setXattrByPath(dir, name, xattr, value, flags));
});

/** Removes an xattr. ENODATA if the file has none of this name. */
export const removeXattrAt: (dir: number, name: Uint8Array, xattr: Uint8Array) => 0 | Errno = returning(
  'removexattrat',
  (dir, name, xattr) => {
    if (!hasCalls) return removeXattrByPath(dir, name, xattr);
    const result = removeFn(SYS_REMOVEXATTRAT, dir, nameBuffer(name), flagsFor(name), otherNameBuffer(xattr));
    return result === 0 ? 0 : orByPath(result, name, () => removeXattrByPath(dir, name, xattr));
  },
);

/** The names of all xattrs, each with a NUL at its end. Empty if the file has none. */
export function listXattrsAt(dir: number, name: Uint8Array): Uint8Array | Errno {
  if (!hasCalls) return listXattrsByPath(dir, name);
  const list = space();
  let result = listFn(SYS_LISTXATTRAT, dir, nameBuffer(name), flagsFor(name), list, USUAL_SIZE);
  if (result === ERANGE) result = listFn(SYS_LISTXATTRAT, dir, nameBuffer(name), flagsFor(name), list, list.length);
  return result >= 0 ? list.slice(0, result) : orByPath(result, name, () => listXattrsByPath(dir, name));
}

/** getxattrat(2) or setxattrat(2), of a value in `space()`. */
function callWithValue(
  call: number,
  dir: number,
  name: Uint8Array,
  xattr: Uint8Array,
  size: number,
  flags: number,
): number {
  space();
  args.writeUInt32LE(size, 8);
  args.writeUInt32LE(flags, 12);
  return valueFn(call, dir, nameBuffer(name), flagsFor(name), otherNameBuffer(xattr), args, ARGS_BYTES);
}

/** The reaction to an error of one of the calls. */
function orByPath<T>(error: number, name: Uint8Array, byPath: () => T | Errno): T | Errno {
  // opened with O_PATH
  if (error === EBADF && name.length === 0) return byPath();
  if (error !== ENOSYS && error !== EPERM) return asErrno(error);
  const result = byPath();
  // EPERM is the answer of a filter if the other way is permitted, else that of the file system
  if (error === ENOSYS || result !== EPERM) hasCalls = false;
  return result;
}
