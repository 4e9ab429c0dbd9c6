/**
 * Sizes of files without data after a power failure. Such a file is made with the size of its lower file, and is not
 * written to the disk at once. An fsync of a directory of btrfs notes the names of new files, and not their sizes
 * (fs/btrfs/tree-log.c, LOG_INODE_EXISTS): after a power failure, such a file is there with its xattrs and 0 bytes.
 */
import { constants } from 'node:fs';
import { isErrno } from '../base/errno.ts';
import { closeFd, openAt } from '../system/descriptors.ts';
import { truncateFd } from '../system/file-content-calls.ts';
import type { FileStatus } from '../system/file-status.ts';
import { sizeOf } from './copies.ts';
import { fillInPlace } from './fill-notes.ts';
import type { Layer } from './layer.ts';

/**
 * The bytes of a file without data. A file is never emptied without losing the mark that it has no data, so 0 means
 * that the size was lost.
 * @param size of the file in the upper layer
 */
export const sizeWithoutData = (layer: Layer, lower: number, size: number): number =>
  size > 0 ? size : sizeOf(layer, lower);

/**
 * Gives a file without data the size that it has lost: overlayfs would show it as empty. To cfs it makes no difference,
 * so errors are ignored.
 * @param ino its id
 * @param dir open directory, in which it has the name `name`
 */
export function restoreSize(
  layer: Layer,
  ino: number,
  dir: number,
  name: Uint8Array,
  lower: number,
  { size }: FileStatus,
): void {
  const right = sizeWithoutData(layer, lower, size);
  if (size === right || layer.settings.readOnly) return;
  const fd = openAt(dir, name, constants.O_WRONLY | constants.O_NOFOLLOW);
  if (isErrno(fd)) return;
  fillInPlace(layer, ino, fd, () => truncateFd(fd, right));
  closeFd(fd);
}
