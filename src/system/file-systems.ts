/**
 * The reliability of file systems, by their types (linux/magic.h; zfs and bcachefs have theirs in their own sources).
 */
import { isErrno } from '../base/errno.ts';
import { statFileSystem } from './file-status.ts';

/**
 * File systems that set ctime by the clock of this machine at every change, so that no program can set it back. Not
 * included: those whose ctime is made up or comes with an image (fuse, and so cfs itself, vfat, erofs, squashfs), those
 * with attributes of another machine (nfs, cifs, 9p), and overlayfs, which may have any of them below it.
 */
const SET_CTIME: ReadonlySet<number> = new Set([
  0xef53, // ext2, ext3, ext4
  0x58465342, // xfs
  0x9123683e, // btrfs
  0x01021994, // tmpfs
  0xf2f52010, // f2fs
  0x2fc12fc1, // zfs
  0xca451a4e, // bcachefs
]);

/** Others that only this kernel reads and writes: with ctimes of the same kind, or with read-only files. */
const KERNELS_OWN: ReadonlySet<number> = new Set([
  0x3153464a, // jfs
  0x3434, // nilfs2
  0x24051905, // ubifs
  0x72b6, // jffs2
  0x52654973, // reiserfs
  0x858458f6, // ramfs
  0xe0f5e1e2, // erofs
  0x73717368, // squashfs
  0x9660, // isofs
  0x28cd3d45, // cramfs
  0x7275, // romfs
]);

/** Whether a changed file has another ctime, whatever was done to it, today or in another mount. */
export const setsCtime = (type: number): boolean => SET_CTIME.has(type);

/**
 * Whether only this kernel controls the content and the times of the open file: bytes that were read once are read
 * again, as long as inode and ctime are the same. That is not so if a server answers for them, whether a machine or a
 * process (nfs, cifs, 9p, ceph, fuse), nor on overlayfs, which may be on top of such a file system. Unknown file
 * systems do not count as reliable.
 */
export function isKernelsOwn(fd: number): boolean {
  const found = statFileSystem(fd);
  return !isErrno(found) && (setsCtime(found.type) || KERNELS_OWN.has(found.type));
}

/** `isKernelsOwn` of an open file on device `dev`. */
export type IsKernelsOwn = (fd: number, dev: number) => boolean;

/**
 * Remembers the devices with a negative answer: a query there costs a round trip to the server. Another file system
 * that gets the number of such a device later is not trusted either.
 */
export function askingKernelsOwn(): IsKernelsOwn {
  const far = new Set<number>();
  return (fd, dev) => {
    if (far.has(dev)) return false;
    const isOwn = isKernelsOwn(fd);
    if (!isOwn) far.add(dev);
    return isOwn;
  };
}
