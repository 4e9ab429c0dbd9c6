/**
 * The id of a file of the upper layer, by its xattrs and its place. Users change the upper directory between two
 * mounts: they copy files with their xattrs, move and replace them. So an xattr alone gives no id: no other file may
 * have it, and a file of the image that is seen at its own place keeps its id.
 */
import { ENOENT, ENOTDIR, type Errno, ESTALE, isErrno } from '../base/errno.ts';
import type { InodeIdentity } from '../base/handle-format.ts';
import { ROOT_INO } from '../fs/filesystem.ts';
import { directoryOfDirent, lookupDirent, rowOfId } from '../manifest/lookup.ts';
import { u64 } from '../manifest/tables.ts';
import { emptyFileStatus, type FileStatus, statusAt } from '../system/file-status.ts';
import { UPPER } from '../upper/identity-table.ts';
import { type Directory, isDirectoryMode } from './directories.ts';
import type { Layer } from './layer.ts';
import type { LayerXattrs } from './layer-xattrs.ts';

const other: FileStatus = emptyFileStatus();

/** A place at which a file of the upper layer was found. */
export interface Finding {
  readonly directory: Directory;
  readonly name: Uint8Array;
  readonly mode: number;
  readonly xattrs: LayerXattrs;
  /** The image's inode below it, its row; -1 for none. */
  readonly lower: number;
  /** Its inode in the upper layer. */
  readonly inoLow: number;
  readonly inoHigh: number;
}

/**
 * The ids that the file may have, the best one first. One that was noted here comes before the origin: a copy of a
 * copied-up file has the same origin.
 * @param earlier the identity in its row of an earlier mount, for a file that can have no xattrs, or got none
 */
export function claimedBy(layer: Layer, found: Finding, earlier: InodeIdentity | undefined): InodeIdentity[] | Errno {
  const { mode, lower, xattrs } = found;
  const { id, generation } = layer.tables.inodes;
  const claims: InodeIdentity[] = [];
  if (isDirectoryMode(mode) && lower >= 0) {
    claims.push({ id: u64(id, lower), generation: generation[lower] as number });
  }
  const isSilent = xattrs.own === undefined && xattrs.origin === undefined;
  for (const one of [xattrs.own, originOf(layer, xattrs), isSilent ? earlier : undefined]) {
    if (one === undefined || one.id <= 1 || claims.some((claim) => claim.id === one.id)) continue;
    const hidden = isHidden(layer, one.id, found);
    if (isErrno(hidden)) return hidden;
    if (hidden) claims.push(one);
  }
  return claims;
}

/**
 * The origin as an identity. A file with several names in the image is known by its entry in the index, so that another
 * one with this origin is a copy; without an index it has one id for each name.
 */
function originOf({ tables, linkNames, directories }: Layer, { origin }: LayerXattrs): InodeIdentity | undefined {
  if (origin === undefined || !('id' in origin)) return undefined;
  const row = rowOfId(tables, origin.id);
  if (row < 0 || isDirectoryMode(tables.inodes.mode[row] as number)) return origin;
  const isLinked = (tables.inodes.nlink[row] as number) > 1;
  return isLinked && (linkNames !== undefined || directories.index >= 0) ? undefined : origin;
}

/** Whether the image's inode of an id has not its own place, or is below this file, or there is none. */
function isHidden(layer: Layer, id: number, { directory, name }: Finding): boolean | Errno {
  const { tables, linkNames, imageNames } = layer;
  const lower = layer.rowInImage(id);
  if (lower < 0) return true;
  const only = linkNames?.direntOf(id);
  // its links are seen beside it
  if (only === undefined && !isOneName(layer, lower)) return true;
  const dirent = only ?? imageNames.direntOf(lower);
  const parent = directoryOfDirent(tables, dirent);
  if (directory.lower === parent && lookupDirent(tables, parent, name) === dirent) return true;
  const shown = layer.isShown(dirent);
  return isErrno(shown) ? shown : !shown;
}

/** Whether an inode of the image has one name there. */
export const isOneName = ({ tables }: Layer, lower: number): boolean =>
  isDirectoryMode(tables.inodes.mode[lower] as number) || (tables.inodes.nlink[lower] as number) <= 1;

/** Whether no other file that exists has the id. */
export function isFree(layer: Layer, id: number, { inoLow, inoHigh }: Finding): boolean | Errno {
  const { table, tree } = layer;
  layer.confirm(id, false);
  const row = table.find(id);
  if (row < 0 || (table.flags(row) & UPPER) === 0) return true;
  if (table.upperLow(row) === inoLow && table.upperHigh(row) === inoHigh) return true;
  const place = tree.place(row);
  const looked = isErrno(place) ? place : id === ROOT_INO ? 0 : statusAt(place.dir, place.name, other);
  if (isErrno(looked)) return isGone(looked) ? true : looked;
  return !tree.isOf(row, other);
}

const isGone = (errno: Errno): boolean => errno === ENOENT || errno === ESTALE || errno === ENOTDIR;
