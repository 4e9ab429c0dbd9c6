/** Mounting and unmounting. As in descriptors.ts: a result or a negative errno. */
import type { Errno } from '../base/errno.ts';
import { asErrno, cString, native } from './libc.ts';

const mountFn = native(
  'int mount(const void *source, const void *target, const void *type, unsigned long flags, const void *data)',
);
const umount2Fn = native('int umount2(const void *target, int flags)');

export const MS_RDONLY = 1;
export const MS_NOSUID = 2;
export const MS_NODEV = 4;
export const MS_NOEXEC = 8;
export const MS_NOATIME = 1024;
export const MNT_DETACH = 2;
export const UMOUNT_NOFOLLOW = 8;

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
