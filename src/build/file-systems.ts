/** Which file systems can be believed that a file with the same times is the same. */
import { isErrno } from '../base/errno.ts';
import { statFileSystem } from '../system/file-status.ts';
import type { FileSystemId } from './file-cache-format.ts';

/**
 * File systems that set ctime by the clock of this machine at every change, so that no program can set it
 * back (linux/magic.h; zfs and bcachefs have theirs in their own sources). Not here: those whose ctime is
 * made up or comes with an image (fuse, and so cfs itself, vfat, erofs, squashfs), whose attributes are
 * another machine's (nfs, cifs, 9p), and overlayfs, which may have any of them below it.
 */
const TRUSTED: ReadonlySet<number> = new Set([
  0xef53, // ext2, ext3, ext4
  0x58465342, // xfs
  0x9123683e, // btrfs
  0x01021994, // tmpfs
  0xf2f52010, // f2fs
  0x2fc12fc1, // zfs
  0xca451a4e, // bcachefs
]);

/** The file systems that a walk has met, by `FileStat.device`. */
export class FileSystems {
  readonly #ids = new Map<number, FileSystemId | undefined>();

  /** Told of a directory that was opened. */
  meet(device: number, fd: number): void {
    if (this.#ids.has(device)) return;
    const found = statFileSystem(fd);
    const trusted = !isErrno(found) && TRUSTED.has(found.type);
    this.#ids.set(device, trusted ? { device, id: found.id } : undefined);
  }

  /** Undefined where its times are not to be trusted, or no directory of it was met. */
  trusted(device: number): FileSystemId | undefined {
    return this.#ids.get(device);
  }
}
