/**
 * Inodes that the kernel knows by a file handle alone, perhaps of an earlier mount. One of the image that the table
 * does not have may be unchanged, or changed, moved or removed in the upper layer.
 */
import { ENOENT, type Errno, isErrno } from '../base/errno.ts';
import { ROOT_INO } from '../fs/filesystem.ts';
import type { WritableAttributes } from '../fs/writable-filesystem.ts';
import { directoryOfDirent, direntName } from '../manifest/lookup.ts';
import { u64 } from '../manifest/tables.ts';
import { ORPHAN } from '../upper/identity-table.ts';
import { attributesOf } from './attributes.ts';
import { directoryOf } from './directories.ts';
import { entryOf } from './entries.ts';
import type { Layer } from './layer.ts';
import { isPassing } from './passing-errors.ts';

/** Attributes of an inode by its id, which comes from a handle. ENOENT if it has no name any more. */
export function attributesByHandle(layer: Layer, ino: number, out: WritableAttributes): Errno | 0 {
  const confirmed = layer.confirm(ino, true);
  if (isErrno(confirmed)) return confirmed;
  const lower = layer.rowInImage(ino);
  const isUnknown = lower > 0 && layer.table.find(ino) < 0;
  const there = isUnknown ? isThere(layer, lower, ino) : true;
  if (there !== true) return there === false ? ENOENT : there;
  return attributesOf(layer, ino, out);
}

/** Whether an inode of the image has a name. Afterwards the table has its file in the upper layer, if there is one. */
function isThere(layer: Layer, lower: number, ino: number): boolean | Errno {
  const visible = isVisible(layer, lower, ino);
  if (visible !== false || layer.state.isComplete) return visible;
  // it, or a directory above it, may have been moved
  const found = layer.rowAfterScan(ino);
  return found === ENOENT ? isVisible(layer, lower, ino) : isErrno(found) ? found : true;
}

/** Whether an inode of the image is seen at one of its names in the image. */
function isVisible(layer: Layer, lower: number, ino: number): boolean | Errno {
  const { tables, imageNames, linkNames } = layer;
  const only = linkNames?.direntOf(ino);
  if (only !== undefined) return isSeenAt(layer, lower, only);
  const first = imageNames.direntOf(lower);
  const seen = isSeenAt(layer, lower, first);
  if (seen !== false) return seen;
  if ((tables.inodes.nlink[lower] as number) <= 1) return false;
  const { inode } = tables.dirents;
  for (let dirent = inode.indexOf(lower); dirent >= 0; dirent = inode.indexOf(lower, dirent + 1)) {
    const other = dirent === first ? false : isSeenAt(layer, lower, dirent);
    if (other !== false) return other;
  }
  return false;
}

/** Whether an inode of the image is seen at one of its names there. */
export function isSeenAt(layer: Layer, lower: number, dirent: number): boolean | Errno {
  const { table, tables } = layer;
  const parentLower = directoryOfDirent(tables, dirent);
  const parent = u64(tables.inodes.id, parentLower);
  const above = parent !== ROOT_INO && table.find(parent) < 0 ? isVisible(layer, parentLower, parent) : true;
  if (above !== true) return above;
  const row = table.find(parent);
  if (row >= 0 && (table.flags(row) & ORPHAN) !== 0) return false;
  const directory = directoryOf(layer, parent);
  if (isErrno(directory)) return isPassing(directory) && directory;
  const entry = entryOf(layer, directory, direntName(tables, dirent));
  if (isErrno(entry)) return isPassing(entry) && entry;
  const ino = layer.idAtName(parentLower, direntName(tables, dirent), lower);
  return entry.row >= 0 ? table.id(entry.row) === ino : entry.lower === lower;
}
