/** Flags of an existing mount: mount_setattr(2), Linux 5.12. */
import type { Errno } from '../base/errno.ts';
import { AT_FDCWD, asErrno, cString, native } from './libc.ts';

const mountSetattrFn = native(
  'long syscall(long number, int dir, const void *path, unsigned int flags, void *attributes, size_t size)',
);
/** The same number on all architectures. */
const SYS_MOUNT_SETATTR = 442;
const SIZE = 32;

export const MOUNT_ATTR_RDONLY = 0x1;
export const MOUNT_ATTR_NOSUID = 0x2;
export const MOUNT_ATTR_NODEV = 0x4;
export const MOUNT_ATTR_NOEXEC = 0x8;
/** The field of the three kinds of atime; setting one clears the whole field. */
export const MOUNT_ATTR_ATIME = 0x70;
export const MOUNT_ATTR_RELATIME = 0;
export const MOUNT_ATTR_NOATIME = 0x10;
export const MOUNT_ATTR_STRICTATIME = 0x20;

/** Sets and clears flags of the mount at `mountpoint`, in one step. */
export function setMountAttributes(mountpoint: string, set: number, clear: number): 0 | Errno {
  const attributes = Buffer.alloc(SIZE);
  attributes.writeBigUInt64LE(BigInt(set), 0);
  attributes.writeBigUInt64LE(BigInt(clear), 8);
  return asErrno(mountSetattrFn(SYS_MOUNT_SETATTR, AT_FDCWD, cString(mountpoint), 0, attributes, SIZE));
}
