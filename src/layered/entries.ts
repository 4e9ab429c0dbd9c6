/**
 * Names in directories of a layered file system: whether the entry is one of the upper layer or of the image. An entry
 * of the upper layer that the table does not know yet is adopted: its id is that of its origin in the image, or the one
 * in its xattr, or a new one, which is noted in its xattr.
 */

import { equalBytes } from '../base/bytes.ts';
import { EIO, ENOENT, ENOSPC, EPERM, type Errno, ESTALE, isErrno } from '../base/errno.ts';
import type { InodeIdentity } from '../base/handle-format.ts';
import { S_IFDIR, S_IFMT, S_IFREG } from '../base/stat-bits.ts';
import { rowOfId } from '../manifest/lookup.ts';
import { type FileStatus, statusAt } from '../system/file-status.ts';
import { getXattrAt } from '../system/xattr-calls.ts';
import { DIRECTORY, INDEXED, METACOPY, NEW, OPAQUE, UPPER } from '../upper/identity-table.ts';
import { isWhiteout, mayBeXattrWhiteout } from '../upper/overlay-format.ts';
import { type Directory, followRedirect, isDirectoryMode, lowerEntry } from './directories.ts';
import { claimedBy, type Finding, isFree, isOneName } from './identities.ts';
import type { Layer } from './layer.ts';
import { EARLIER, IMPURE, isBornAsNoted, newIdentity, SEEN, setFile, setLower, XATTR_WHITEOUTS } from './layer-rows.ts';
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
export function lowerAsEntry(layer: Layer, lower: number, ino: number): Entry | Errno {
  const row = layer.table.find(ino);
  const flags = row < 0 ? 0 : layer.table.flags(row);
  if ((flags & UPPER) === 0) return { row: -1, lower, ino };
  if ((flags & INDEXED) === 0 && (hasOneName(layer, lower, ino) || layer.directories.index >= 0)) {
    // two files with one origin: as Linux
    if ((flags & EARLIER) === 0) return ESTALE;
    // the file that the row was for is another one's now
    layer.table.remove(row);
    return { row: -1, lower, ino };
  }
  // here the status is unknown
  return { row, lower, ino };
}

/** Whether an inode of the image has one name: if that is seen, no file of the upper layer can be a copy of it. */
const hasOneName = (layer: Layer, lower: number, ino: number): boolean =>
  layer.linkNames?.direntOf(ino) !== undefined || isOneName(layer, lower);

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
  let known = table.findUpper(status.inoLow, status.inoHigh);
  // a row that is not of the upper layer yet is of a copy that a killed server had just made
  if (known >= 0 && (table.flags(known) & UPPER) === 0) known = -1;
  if (known >= 0 && ((table.flags(known) & DIRECTORY) !== 0) !== isDirectoryMode(status.mode)) {
    table.remove(known);
    known = -1;
  }
  if (known >= 0 && (table.flags(known) & EARLIER) === 0) {
    return table.addName(known, directory.ino, name) ? known : ENOSPC;
  }
  const file = { ...status };
  const row = adoptFile(layer, directory, name, file, known);
  // others may have been looked at for it
  Object.assign(status, file);
  return row;
}

/** @param known the row that an earlier mount has left for this inode of the upper layer; -1 for none */
function adoptFile(
  layer: Layer,
  directory: Directory,
  name: Uint8Array,
  status: FileStatus,
  known: number,
): number | Errno {
  const { table } = layer;
  const { mode, inoLow, inoHigh } = status;
  const earlier = known < 0 ? 0 : table.id(known);
  const xattrs = readLayerXattrs(layer.names, directory.fd, name, mode);
  if (isErrno(xattrs)) return xattrs;
  const lower = lowerBelow(layer, directory, name, mode, xattrs);
  if (isErrno(lower)) return lower;
  const found = { directory, name, mode, xattrs, lower: lower ?? -1, inoLow, inoHigh };
  const claims = claimedBy(layer, found, earlierOf(layer, known, status));
  if (isErrno(claims)) return claims;
  const identity = identityOf(layer, found, claims, earlier) ?? assign(layer, directory, name, mode);
  if (isErrno(identity)) return identity;
  const old = table.find(identity.id);
  const row = old >= 0 ? old : table.add(identity.id, identity.generation);
  if (row < 0) return ENOSPC;
  if (old >= 0) dropOtherNames(layer, old, directory.ino, name, known >= 0 && status.nlink > 1);
  setFile(table, row, status);
  setLower(table, row, lower ?? -1);
  const isInImage = lower !== undefined || rowOfId(layer.tables, identity.id) >= 0;
  const isOrigin = xattrs.origin !== undefined && 'id' in xattrs.origin && xattrs.origin.id === identity.id;
  const flags = flagsOf(layer, mode, xattrs, isInImage) & (isOrigin ? -1 : ~INDEXED);
  table.setFlags(row, flags, (SEEN | OF_FILE | EARLIER) & ~flags);
  if ((flags & METACOPY) !== 0 && lower !== undefined) {
    restoreSize(layer, identity.id, directory.fd, name, lower, status);
  }
  return table.addName(row, directory.ino, name) ? row : ENOSPC;
}

/**
 * Removes names that are of an earlier mount, or of a file that no longer exists. A name that stays is not marked as
 * changed.
 * @param isLinked others may be right
 */
function dropOtherNames({ table }: Layer, row: number, parent: number, name: Uint8Array, isLinked: boolean): void {
  if (isLinked && (table.flags(row) & DIRECTORY) === 0) return;
  for (const one of table.names(row)) {
    if (one.parent !== parent || !equalBytes(one.name, name)) table.removeName(row, one.parent, one.name);
  }
}

/** The identity in the row of an earlier mount, if the file was made when the row says. */
function earlierOf({ table }: Layer, known: number, status: FileStatus): InodeIdentity | undefined {
  if (known < 0 || !isBornAsNoted(table, known, status)) return undefined;
  return { id: table.id(known), generation: table.generation(known) };
}

/** Flags that say what the file and its xattrs are. */
export const OF_FILE: number = DIRECTORY | OPAQUE | METACOPY | IMPURE | XATTR_WHITEOUTS | INDEXED | NEW;

/**
 * The identity of a file: that of its row of an earlier mount, if the file claims it; else the first one that it claims
 * and no other file has. Undefined: none.
 * @param earlier the id in that row; 0 for none. The row is removed if it is another file's
 */
function identityOf(
  layer: Layer,
  found: Finding,
  claims: readonly InodeIdentity[],
  earlier: number,
): InodeIdentity | Errno | undefined {
  const { table } = layer;
  // another one may have been found to be its file in the meantime
  const row = earlier === 0 ? -1 : table.findUpper(found.inoLow, found.inoHigh);
  if (row >= 0 && table.id(row) === earlier) {
    if (claims.some(({ id }) => id === earlier)) return { id: earlier, generation: table.generation(row) };
    table.remove(row);
  }
  for (const claim of claims) {
    const free = isFree(layer, claim.id, found);
    if (isErrno(free)) return free;
    if (free) return claim;
    // a second directory with one place in the image: as Linux
    if (isDirectoryMode(found.mode) && found.lower >= 0 && layer.idOf(found.lower) === claim.id) return ESTALE;
  }
  return undefined;
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

/** A new identity for a file without one. On a full disk it is only in the table. */
function assign(layer: Layer, directory: Directory, name: Uint8Array, mode: number): InodeIdentity | Errno {
  const identity = newIdentity(layer);
  if (layer.settings.readOnly) return identity;
  const written = writeIdentity(layer.names, directory.fd, name, mode, identity);
  return isErrno(written) && written !== ENOSPC && written !== EPERM ? written : identity;
}
