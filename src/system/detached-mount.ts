/** A detached mount: files opened through it do not keep the original mount busy. Linux 5.2; needs CAP_SYS_ADMIN. */
import type { Errno } from '../base/errno.ts';
import { AT_FDCWD, asErrno, cString, native } from './libc.ts';

const openTreeFn = native('long syscall(long number, int dir, const void *path, unsigned int flags)');
/** open_tree(2); the same number on all architectures. */
const SYS_OPEN_TREE = 428;
const OPEN_TREE_CLONE = 1;
const OPEN_TREE_CLOEXEC = 0o2000000;

/** A descriptor (O_PATH) of a copy of the mount at `mountpoint`, which ends with its last descriptor. */
export function cloneMount(mountpoint: string | Uint8Array): number | Errno {
  return asErrno(openTreeFn(SYS_OPEN_TREE, AT_FDCWD, cString(mountpoint), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
}
