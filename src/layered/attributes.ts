/** Attributes of inodes of a layered file system. */

import { EIO, ENOENT, type Errno, ESTALE, isErrno } from '../base/errno.ts';
import { hasSetIds, S_IFMT, S_IFREG } from '../base/stat-bits.ts';
import { FOREVER, type WritableAttributes } from '../fs/writable-filesystem.ts';
import { u64 } from '../manifest/tables.ts';
import type { FileStatus } from '../system/file-status.ts';
import { getXattrAt } from '../system/xattr-calls.ts';
import { INDEXED, METACOPY, ORPHAN, UPPER } from '../upper/identity-table.ts';
import { applyNlink, decodeNlink } from '../upper/overlay-format.ts';
import { isDirectoryMode, lowerLinks } from './directories.ts';
import type { Layer } from './layer.ts';
import { LINKABLE, lowerOf, MAPPABLE } from './layer-rows.ts';
import { sizeWithoutData } from './lost-sizes.ts';

/** Fills `out` for an inode by its id. ENOENT if there is none. */
export function attributesOf(layer: Layer, ino: number, out: WritableAttributes): Errno | 0 {
  const known = layer.find(ino);
  if (isErrno(known)) return known;
  const row = layer.table.find(ino);
  if (row >= 0 && (layer.table.flags(row) & UPPER) !== 0) return upperAttributes(layer, row, out);
  const result = layer.image.getattr(layer.idInImage(ino), out);
  if (result !== 0) return result;
  out.ino = ino;
  return completeImage(layer, row, out);
}

/**
 * Completes the attributes of an inode that is only in the image.
 * @param row in the table, -1 for none
 * @param out as the image's own file system fills it
 */
export function completeImage({ table }: Layer, row: number, out: WritableAttributes): 0 {
  out.atimeLow = out.mtimeLow;
  out.atimeHigh = out.mtimeHigh;
  out.atimeNsec = out.mtimeNsec;
  out.btimeLow = out.btimeHigh = out.btimeNsec = 0;
  out.ttl = FOREVER;
  const flags = row < 0 ? 0 : table.flags(row);
  if ((flags & ORPHAN) !== 0) out.nlink = orphanLinks(flags);
  return 0;
}

/** Attributes of an inode of the upper layer. */
export function upperAttributes(layer: Layer, row: number, out: WritableAttributes): Errno | 0 {
  const result = layer.tree.statusOfOpen(row, layer.status);
  if (result !== 0) return result === ESTALE ? ENOENT : result;
  return fillFrom(layer, row, layer.status, out);
}

/** As `upperAttributes`, from the status of the file. */
export function fillFrom(layer: Layer, row: number, status: FileStatus, out: WritableAttributes): Errno | 0 {
  const { table } = layer;
  const flags = table.flags(row);
  out.ino = out.shownIno = table.id(row);
  out.generation = table.generation(row);
  out.mode = status.mode;
  out.uid = status.uid;
  out.gid = status.gid;
  out.rdev = status.rdev;
  out.size = status.size;
  out.blocks = status.blocks;
  out.atimeLow = status.atimeLow;
  out.atimeHigh = status.atimeHigh;
  out.atimeNsec = status.atimeNsec;
  out.mtimeLow = status.mtimeLow;
  out.mtimeHigh = status.mtimeHigh;
  out.mtimeNsec = status.mtimeNsec;
  out.ctimeLow = status.ctimeLow;
  out.ctimeHigh = status.ctimeHigh;
  out.ctimeNsec = status.ctimeNsec;
  out.btimeLow = status.btimeLow;
  out.btimeHigh = status.btimeHigh;
  out.btimeNsec = status.btimeNsec;
  out.ttl = ttlOf(layer, row, flags, status.mode);
  if ((flags & METACOPY) !== 0) {
    const lower = lowerOf(table, row);
    if (lower < 0) return EIO;
    out.size = sizeWithoutData(layer, lower, status.size);
    out.blocks = blocksOf(layer, lower);
  }
  const nlink = nlinkOf(layer, row, flags, status);
  if (isErrno(nlink)) return nlink;
  out.nlink = nlink;
  return 0;
}

const scratch = { ino: 0 } as WritableAttributes;

function blocksOf(layer: Layer, lower: number): number {
  return layer.image.getattr(u64(layer.tables.inodes.id, lower), scratch) === 0 ? scratch.blocks : 0;
}

const orphanLinks = (flags: number): number => ((flags & LINKABLE) === 0 ? 0 : 1);

/** The link count that users see. A merged directory has 1, as in overlayfs: its subdirectories are not counted. */
export function nlinkOf(layer: Layer, row: number, flags: number, { nlink, mode }: FileStatus): number | Errno {
  if ((flags & ORPHAN) !== 0) return orphanLinks(flags);
  if (isDirectoryMode(mode)) return lowerOf(layer.table, row) >= 0 ? 1 : nlink;
  if ((flags & INDEXED) === 0) return nlink;
  const place = layer.tree.checkedPlace(row);
  if (isErrno(place)) return place;
  const value = getXattrAt(place.dir, place.name, layer.names.names.nlink);
  const relative = isErrno(value) ? undefined : decodeNlink(value);
  return (relative === undefined ? undefined : applyNlink(relative, nlink, lowerLinks(layer, row))) ?? nlink;
}

/**
 * Seconds for which the kernel may keep attributes. It does not notice writes through a mapping of a file that it reads
 * itself, nor the removal of set-id bits: those that may change without a request are not kept.
 */
export function ttlOf({ table, state }: Layer, row: number, flags: number, mode: number): number {
  if ((mode & S_IFMT) !== S_IFREG) return FOREVER;
  // its times are those of the copying
  if (state.isBusy(table.id(row))) return 0;
  if (hasSetIds(mode) && table.opens(row) > 0) return 0;
  return (flags & MAPPABLE) !== 0 ? 0 : FOREVER;
}

/** After a change of which the kernel does not know: it asks for the attributes again. */
export const dropAttributes = (layer: Layer, ino: number): void => void layer.isKnown(ino);
