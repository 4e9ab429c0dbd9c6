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

/**
 * File systems that answer for the files of others: a server, a process, or the file system below. All have a way to
 * change a file behind the back of this kernel.
 */
const NOT_OF_THIS_KERNEL: ReadonlyMap<number, string> = new Map([
  [0x794c7630, 'overlay'],
  [0x61756673, 'aufs'],
  [0xf15f, 'ecryptfs'],
  [0x65735546, 'fuse'],
  [0x6969, 'nfs'],
  [0xff534d42, 'cifs'],
  [0xfe534d42, 'smb3'],
  [0x517b, 'smb'],
  [0x01021997, '9p'],
  [0x00c36400, 'ceph'],
  [0x5346414f, 'afs'],
  [0x6b414653, 'afs'],
  [0x73757245, 'coda'],
  [0x564c, 'ncpfs'],
  [0x01161970, 'gfs2'],
  [0x7461636f, 'ocfs2'],
  [0x0bd00bd0, 'lustre'],
  [0x47504653, 'gpfs'],
  [0x786f4256, 'vboxsf'],
]);

/** The name of a stacked, network or FUSE file system; undefined for any other. `type` is that of statfs(2). */
export const nameIfNotOfThisKernel = (type: number): string | undefined => NOT_OF_THIS_KERNEL.get(type);

/** Whether a changed file has another ctime after any kind of change, today or in another mount. */
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
