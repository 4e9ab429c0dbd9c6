/** Queries a mount: by ioctl through an open file of it, or by its private xattrs if none may be opened. */
import { EINVAL, ENOTCONN, ENOTTY, type Errno, isErrno } from '../base/errno.ts';
import { ioctl } from '../system/descriptors.ts';
import { getXattr, getXattrOfFd } from '../system/xattrs.ts';
import { decodeFile, type FileRecord } from './file-record.ts';
import { CFS_IOC_MOUNT, CFS_IOC_SOURCE } from './mount-ioctls.ts';
import { decodeMount, MOUNT_SIZE, type MountRecord } from './mount-record.ts';
import { decodeSource, SOURCE_INDEX, SOURCE_SIZE, type SourceRecord } from './source-record.ts';

/**
 * @param root an open directory of the mount; the root, if the mount's driver has no ioctls
 * @returns ENOTTY if it is not in a mount of cfs, ENOTCONN if the daemon is dead
 */
export function askMount(root: number): MountRecord | Errno {
  return ask(root, CFS_IOC_MOUNT, Buffer.alloc(MOUNT_SIZE), 'trusted.cfs.mount', decodeMount);
}

/** Source number `index` of the mount; EINVAL if there are fewer. */
export function askSource(root: number, index: number): SourceRecord | Errno {
  const struct = Buffer.alloc(SOURCE_SIZE);
  struct.writeUInt32LE(index, SOURCE_INDEX);
  return ask(root, CFS_IOC_SOURCE, struct, `trusted.cfs.source.${index}`, decodeSource);
}

function ask<T>(
  fd: number,
  command: number,
  struct: Buffer,
  xattr: string,
  decode: (bytes: Uint8Array) => T | undefined,
): T | Errno {
  const result = ioctl(fd, command, struct);
  if (!isErrno(result)) return decode(struct) ?? EINVAL;
  if (result === ENOTCONN) return ENOTCONN;
  // fuse-native has no ioctls; and trusted xattrs are visible only to root
  const value = getXattrOfFd(fd, xattr);
  return isErrno(value) ? (result === EINVAL ? EINVAL : ENOTTY) : (decode(value) ?? EINVAL);
}

/**
 * The mount's data about the file at `path`; a symbolic link is not followed. Opens nothing: no content is read or
 * verified.
 */
export function askFile(path: Uint8Array): FileRecord | Errno {
  for (const name of ['trusted.cfs.file', 'user.cfs.file']) {
    const value = getXattr(path, name);
    if (!isErrno(value)) return decodeFile(value) ?? EINVAL;
    if (value === ENOTCONN) return ENOTCONN;
  }
  return ENOTTY;
}
