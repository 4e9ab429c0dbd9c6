/**
 * Names in directories of a layered file system: whether the entry is one of the upper layer or of the image. An entry
 * of the upper layer that the table does not know yet is adopted: its id is that of its origin in the image, or the one
 * in its xattr, or a new one, which is noted in its xattr.
 */

import { EIO, ENOENT, ENOSPC, EPERM, type Errno, isErrno } from '../base/errno.ts';
import type { InodeIdentity } from '../base/handle-format.ts';
import { S_IFDIR, S_IFMT, S_IFREG } from '../base/stat-bits.ts';
import { rowOfId } from '../manifest/lookup.ts';
import { u64 } from '../manifest/tables.ts';
import { emptyFileStatus, type FileStatus, statusAt } from '../system/file-status.ts';
import { getXattrAt } from '../system/xattr-calls.ts';
import { DIRECTORY, INDEXED, METACOPY, NEW, OPAQUE, UPPER } from '../upper/identity-table.ts';
import { isWhiteout, mayBeXattrWhiteout } from '../upper/overlay-format.ts';
import { type Directory, followRedirect, isDirectoryMode, lowerEntry } from './directories.ts';
import type { Layer } from './layer.ts';
import { IMPURE, newIdentity, SEEN, setLower, XATTR_WHITEOUTS } from './layer-rows.ts';
import { type LayerXattrs, readLayerXattrs, writeIdentity } from './layer-xattrs.ts';
import { restoreSize } from './lost-sizes.ts';

/** An entry: `row` of the table for a file of the upper layer, else `lower`, an inode of the image; the other is -1. */
export interface Entry {
  readonly row: number;
  readonly lower: number;
  readonly ino: number;
}

/** The entry of a name. `layer.status` is that of the file if it is of the upper layer. ENOENT for none. */
export function entryOf(layer: Layer, directory: Directory, name: Uint8Array): Entry | Errno {
  if (directory.fd >= 0) {
    const looked = statusAt(directory.fd, name, layer.status);
    if (looked === 0) {
      if (isWhiteoutEntry(layer, directory, name, layer.status)) return ENOENT;
      const row = adopt(layer, directory, name, layer.status);
      return isErrno(row) ? row : { row, lower: -1, ino: layer.table.id(row) };
    }
    if (looked !== ENOENT) return looked;
  }
  const lower = lowerEntry(layer, directory, name);
  return lower < 0 ? ENOENT : lowerAsEntry(layer, lower, layer.idAtName(directory.lower, name, lower));
}

/** An inode of the image that has a name, which may have been copied up under another one. */
function lowerAsEntry(layer: Layer, lower: number, ino: number): Entry {
  const row = layer.table.find(ino);
  if (row < 0 || (layer.table.flags(row) & UPPER) === 0) return { row: -1, lower, ino };
  // here the status is unknown
  return { row, lower, ino };
}

/** Whether an entry of the upper layer is a whiteout: it hides that of the image, and is invisible itself. */
export function isWhiteoutEntry(layer: Layer, directory: Directory, name: Uint8Array, status: FileStatus): boolean {
  if (isWhiteout(status.mode, status.rdev)) return true;
  if (!mayBeXattrWhiteout(status.mode, status.size)) return false;
  if (directory.row < 0 || (layer.table.flags(directory.row) & XATTR_WHITEOUTS) === 0) return false;
  return !isErrno(getXattrAt(directory.fd, name, layer.names.names.whiteout));
}

/**
 * The row of an entry of the upper layer; adds one if the table does not have it.
 * @param status of the entry
 * @returns EIO or EPERM, as Linux, for invalid xattrs; ENOSPC if the table is full
 */
export function adopt(layer: Layer, directory: Directory, name: Uint8Array, status: FileStatus): number | Errno {
  const { table } = layer;
  const known = table.findUpper(status.inoLow, status.inoHigh);
  // a row that is not of the upper layer yet is of a copy that a killed server had just made
  if (known >= 0 && (table.flags(known) & UPPER) !== 0) {
    const isSame = ((table.flags(known) & DIRECTORY) !== 0) === isDirectoryMode(status.mode);
    if (isSame) return table.addName(known, directory.ino, name) ? known : ENOSPC;
    table.remove(known);
  }
  const { mode } = status;
  const { inoLow, inoHigh } = status;
  const xattrs = readLayerXattrs(layer.names, directory.fd, name, mode);
  if (isErrno(xattrs)) return xattrs;
  const lower = lowerBelow(layer, directory, name, mode, xattrs);
  if (isErrno(lower)) return lower;
  const identity = identityOf(layer, xattrs, mode, lower ?? -1, status) ?? assign(layer, directory, name, mode);
  if (isErrno(identity)) return identity;
  const old = table.find(identity.id);
  const row = old >= 0 ? old : table.add(identity.id, identity.generation);
  if (row < 0) return ENOSPC;
  // the row of a file that no longer exists
  if (old >= 0) for (const one of table.names(old)) table.removeName(old, one.parent, one.name);
  table.setUpper(row, inoLow, inoHigh);
  setLower(table, row, lower ?? -1);
  const isInImage = lower !== undefined || rowOfId(layer.tables, identity.id) >= 0;
  const flags = flagsOf(layer, mode, xattrs, isInImage);
  table.setFlags(row, flags, SEEN);
  if ((flags & METACOPY) !== 0 && lower !== undefined) {
    restoreSize(layer, identity.id, directory.fd, name, lower, status);
  }
  return table.addName(row, directory.ino, name) ? row : ENOSPC;
}

/** The flags of a row with these xattrs. */
export function flagsOf({ linkNames }: Layer, mode: number, xattrs: LayerXattrs, isInImage: boolean): number {
  const isFile = (mode & S_IFMT) === S_IFREG;
  let flags = UPPER;
  if (isDirectoryMode(mode)) flags |= DIRECTORY;
  if (xattrs.opacity === 'opaque') flags |= OPAQUE;
  if (xattrs.opacity === 'xattr-whiteouts') flags |= XATTR_WHITEOUTS;
  if (xattrs.isImpure) flags |= IMPURE;
  if (xattrs.metacopy !== undefined && isFile) flags |= METACOPY;
  if (linkNames === undefined && xattrs.isIndexed && xattrs.origin !== undefined) flags |= INDEXED;
  return isInImage ? flags : flags | NEW;
}

/** The inode of the image below an entry: the merged directory, or the data of a file without data; else undefined. */
function lowerBelow(
  layer: Layer,
  directory: Directory,
  name: Uint8Array,
  mode: number,
  xattrs: LayerXattrs,
): number | undefined | Errno {
  const type = mode & S_IFMT;
  const { tables, settings } = layer;
  const { redirect, metacopy, origin } = xattrs;
  if (type !== S_IFDIR && !(type === S_IFREG && metacopy !== undefined)) return undefined;
  if (redirect === 'malformed' || metacopy === 'malformed') return EIO;
  const isFollowed = settings.redirectDir !== 'nofollow' && !settings.userxattr;
  if (type === S_IFREG && (settings.userxattr || !settings.metacopy)) return EPERM;
  if (redirect !== undefined && !isFollowed && xattrs.opacity !== 'opaque') return EPERM;
  if (xattrs.opacity === 'opaque' && type === S_IFDIR) return undefined;
  const found =
    redirect === undefined ? lowerEntry(layer, directory, name) : followRedirect(tables, redirect, directory.lower);
  if (found >= 0 && ((tables.inodes.mode[found] as number) & S_IFMT) === type) return found;
  if (type === S_IFDIR) return undefined;
  // the file may have another place in this version of the image
  const byOrigin = origin !== undefined && 'id' in origin ? rowOfId(tables, origin.id) : -1;
  return byOrigin >= 0 && ((tables.inodes.mode[byOrigin] as number) & S_IFMT) === S_IFREG ? byOrigin : EIO;
}

const other: FileStatus = emptyFileStatus();

/**
 * The identity by xattrs or by the image; undefined if another file of the upper layer has it, or there is none.
 */
function identityOf(
  layer: Layer,
  { origin, own }: LayerXattrs,
  mode: number,
  lower: number,
  status: FileStatus,
): InodeIdentity | undefined {
  const { id, generation } = layer.tables.inodes;
  const isMerged = isDirectoryMode(mode) && lower >= 0;
  const ofLower = isMerged ? { id: u64(id, lower), generation: generation[lower] as number } : undefined;
  const candidates = [ofLower, originOf(layer, origin), own];
  return candidates.find((one) => one !== undefined && one.id > 1 && isFree(layer, one.id, status));
}

/** The origin as an identity. Without an index, several files may have a file with several names as their origin. */
function originOf({ tables, linkNames }: Layer, origin: LayerXattrs['origin']): InodeIdentity | undefined {
  if (origin === undefined || !('id' in origin)) return undefined;
  return linkNames?.hasSeveral(rowOfId(tables, origin.id)) === true ? undefined : origin;
}

/** Whether no other file that exists has the id. */
function isFree(layer: Layer, id: number, { inoLow, inoHigh }: FileStatus): boolean {
  const { table, tree } = layer;
  const row = table.find(id);
  if (row < 0 || (table.flags(row) & UPPER) === 0) return true;
  if (table.upperLow(row) === inoLow && table.upperHigh(row) === inoHigh) return true;
  const place = tree.place(row);
  if (isErrno(place) || isErrno(statusAt(place.dir, place.name, other))) return true;
  return !tree.isOf(row, other);
}

/** A new identity for a file without one. On a full disk it is only in the table. */
function assign(layer: Layer, directory: Directory, name: Uint8Array, mode: number): InodeIdentity | Errno {
  const identity = newIdentity(layer);
  if (layer.settings.readOnly) return identity;
  const written = writeIdentity(layer.names, directory.fd, name, mode, identity);
  return isErrno(written) && written !== ENOSPC && written !== EPERM ? written : identity;
}
