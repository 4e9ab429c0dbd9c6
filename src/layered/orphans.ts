/**
 * Inodes without a name. Their files are kept among the orphans until the kernel forgets the inode: it may be open,
 * mapped, a working directory, or open with O_PATH. Whether the kernel knows an inode is asked (`isKnown`), not
 * counted: FORGET has no answer, so it is lost with the server that reads it.
 */

import { isErrno } from '../base/errno.ts';
import { readDirectory } from '../system/directory-listing.ts';
import { statusAt } from '../system/file-status.ts';
import { errnoText } from '../system/libc.ts';
import { getXattrAt } from '../system/xattr-calls.ts';
import { removeWithContents } from '../upper/empty-directory.ts';
import { DIRECTORY, INDEXED, ORPHAN, UPPER } from '../upper/identity-table.ts';
import { applyNlink, decodeNlink } from '../upper/overlay-format.ts';
import { mayChange } from './change-marks.ts';
import { lowerLinks } from './directories.ts';
import { dropIndexEntry } from './index-links.ts';
import type { Layer } from './layer.ts';
import { FORGOTTEN, LINKABLE, MAPPABLE } from './layer-rows.ts';
import { orphanName, parseOrphanName } from './upper-tree.ts';

/** Called when the last name of an inode is removed, and its file, if it has one, is among the orphans. */
export function becomeOrphan(layer: Layer, row: number): void {
  const { table } = layer;
  for (const { parent, name } of table.names(row)) table.removeName(row, parent, name);
  table.setFlags(row, ORPHAN, LINKABLE);
  layer.events.unnamed(table.id(row));
}

/** Called when an inode that is only in the image lost its last name. Without room in the table nothing is noted. */
export function orphanOfImage(layer: Layer, ino: number, generation: number): void {
  const { table } = layer;
  const known = table.find(ino);
  const row = known >= 0 ? known : table.add(ino, generation);
  if (row >= 0) becomeOrphan(layer, row);
}

/** After the last release: as `letGo`, if the kernel may have forgotten the inode before. */
export function letGoOfClosed(layer: Layer, ino: number): void {
  const row = layer.table.find(ino);
  if (row >= 0) mayChange(layer, row);
  // asking the kernel makes it drop the attributes
  if (row >= 0 && (layer.table.flags(row) & (ORPHAN | FORGOTTEN)) !== 0) letGo(layer, ino);
}

/** Called after a FORGET: deletes inodes without references. */
export function letGo(layer: Layer, ino: number): void {
  const { table } = layer;
  const row = table.find(ino);
  if (row < 0) return;
  const flags = table.flags(row);
  const isOfUpper = (flags & UPPER) !== 0;
  const isKept = isOfUpper && (flags & (ORPHAN | MAPPABLE)) === 0 && table.opens(row) === 0;
  if ((isKept && !isCrowded(layer)) || layer.isKnown(ino)) {
    table.setFlags(row, 0, FORGOTTEN);
    return;
  }
  layer.events.forgotten(ino);
  mayChange(layer, row, true);
  const isOpen = table.opens(row) > 0;
  table.setFlags(row, isOpen ? FORGOTTEN : 0, MAPPABLE | (isOpen ? 0 : FORGOTTEN));
  if (isOpen) return;
  if ((flags & ORPHAN) !== 0) deleteOrphan(layer, row);
  else if (!isOfUpper) table.remove(row);
  else if (isCrowded(layer)) dropRow(layer, row);
}

/** The share of rows in use from which on those of closed files are given up. */
const CROWDED = 0.9;

/** Whether few rows are left. With `userxattr` some files have their ids in the table only. */
export const isCrowded = ({ table, names }: Layer): boolean =>
  !names.isOfUsers && table.count > table.capacity * CROWDED;

/**
 * Gives up the row of a file, which is found again by its name, or, for a handle, by a search. Directories stay: others
 * have names in them.
 * @returns whether it could be
 */
export function dropRow({ table, state }: Layer, row: number): boolean {
  if ((table.flags(row) & (INDEXED | DIRECTORY)) !== 0 || table.opens(row) > 0 || table.backing(row) > 0) return false;
  table.remove(row);
  state.setComplete(false);
  state.countDeletion();
  return true;
}

/** The row is removed first: the next server removes a file without a row. */
function deleteOrphan(layer: Layer, row: number): void {
  const { table, directories, state, tree } = layer;
  const ino = table.id(row);
  const flags = table.flags(row);
  table.remove(row);
  if ((flags & UPPER) === 0) return;
  state.countDeletion();
  if ((flags & DIRECTORY) !== 0) tree.forgetDirectory(ino);
  const removed = removeWithContents(directories.orphans, orphanName(ino));
  if (isErrno(removed)) layer.log(`an unlinked file of the upper layer cannot be removed: ${errnoText(removed)}`);
}

/** For a server that takes over: deletes orphans that the kernel does not know, and files without a row. */
export function sweepOrphans(layer: Layer): void {
  const { table, directories } = layer;
  const gone: number[] = [];
  for (const row of table.rows()) if ((table.flags(row) & ORPHAN) !== 0) gone.push(table.id(row));
  for (const ino of gone) letGo(layer, ino);
  if (directories.orphans < 0) return;
  const left: Uint8Array[] = [];
  readDirectory(directories.orphans, (name) => {
    const row = table.find(parseOrphanName(name));
    const flags = row < 0 ? 0 : table.flags(row);
    if (row < 0) left.push(name);
    else if ((flags & (ORPHAN | UPPER)) !== UPPER) return;
    // the server before this one was killed between two steps: after a rename over the file, or before it
    else if (isOnlyOrphan(layer, row, name)) {
      dropIndexEntry(layer, row);
      becomeOrphan(layer, row);
    } else if ((flags & INDEXED) === 0) left.push(name);
  });
  for (const name of left) removeWithContents(directories.orphans, name);
}

/** Whether the file with this name among the orphans is that of the row, and has no other name but in the index. */
export function isOnlyOrphan(layer: Layer, row: number, name: Uint8Array): boolean {
  const { table, status, directories, tree, names } = layer;
  const flags = table.flags(row);
  const dir = directories.orphans;
  if (statusAt(dir, name, status) !== 0 || !tree.isOf(row, status)) return false;
  if ((flags & DIRECTORY) !== 0) return true;
  if ((flags & INDEXED) === 0) return status.nlink === 1;
  const value = getXattrAt(dir, name, names.names.nlink);
  const links = isErrno(value) ? undefined : decodeNlink(value);
  // the entry of the index, this one, and no name of the image
  return status.nlink === 2 && links !== undefined && applyNlink(links, status.nlink, lowerLinks(layer, row)) === 1;
}
