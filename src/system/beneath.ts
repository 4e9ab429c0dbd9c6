/**
 * Directories whose contents may belong to another user: opens paths below one without following a symbolic link in any
 * component. As in descriptors.ts: a result or a negative errno. Linux only.
 */
import { constants } from 'node:fs';
import { ENOSYS, EPERM, type Errno, isErrno } from '../base/errno.ts';
import { O_CLOEXEC } from '../base/open-flags.ts';
import { closeFd, openAt } from './descriptors.ts';
import { native, O_PATH } from './libc.ts';

const openat2Fn = native('long syscall(long number, int dir, const void *path, const void *how, size_t size)');
/** openat2(2), Linux 5.6; the same number on all architectures. */
const SYS_OPENAT2 = 437;
/** Without links and "..", nothing leads out: RESOLVE_BENEATH would only cost time. */
const RESOLVE_NO_SYMLINKS = 0x04;
const SLASH = 0x2f;
/** O_PATH descriptors of a directory need no permission to read it. */
const STEP = O_PATH | constants.O_DIRECTORY | constants.O_NOFOLLOW;

/** How `openBeneath` opens: `struct open_how` for the kernel, and the flags for kernels that do not know it. */
export interface OpenHow {
  readonly flags: number;
  readonly mode: number;
  readonly struct: Buffer;
}

/** @param flags of open(2); O_NOFOLLOW and O_CLOEXEC are added */
export function openHow(flags: number, mode = 0): OpenHow {
  const all = flags | constants.O_NOFOLLOW | O_CLOEXEC;
  const struct = Buffer.alloc(24);
  struct.writeUInt32LE(all, 0);
  // openat2(2) refuses a mode unless a file is created
  struct.writeUInt32LE((all & constants.O_CREAT) === 0 ? 0 : mode, 8);
  struct.writeUInt32LE(RESOLVE_NO_SYMLINKS, 16);
  return { flags: all, mode, struct };
}

let hasOpenat2 = true;

/**
 * Opens `path` below the open directory `dir`; no component may be a symbolic link.
 * @param path NUL-terminated, relative, without "." and ".."
 * @returns ELOOP or ENOTDIR if a component is a symbolic link
 */
export function openBeneath(dir: number, path: Uint8Array, how: OpenHow): number | Errno {
  if (hasOpenat2) {
    const result = openat2Fn(SYS_OPENAT2, dir, path, how.struct, how.struct.length);
    // an older kernel; a seccomp filter of a container, which returns EPERM
    if (result !== ENOSYS && result !== EPERM) return result;
    hasOpenat2 = result !== ENOSYS;
  }
  return openStepByStep(dir, path.subarray(0, path.indexOf(0)), how);
}

/** As `openBeneath`, for kernels without openat2(2): one component after another. */
export function openStepByStep(dir: number, path: Uint8Array, { flags, mode }: OpenHow): number | Errno {
  let from = 0;
  let at = dir;
  for (let slash = path.indexOf(SLASH); slash >= 0; slash = path.indexOf(SLASH, from)) {
    const next = openAt(at, path.subarray(from, slash), STEP);
    if (at !== dir) closeFd(at);
    if (isErrno(next)) return next;
    at = next;
    from = slash + 1;
  }
  const result = openAt(at, path.subarray(from), flags, mode);
  if (at !== dir) closeFd(at);
  return result;
}
