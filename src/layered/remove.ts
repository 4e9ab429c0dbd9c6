/** Removing names. The file of the last name is moved to the orphans, by the rename that also leaves a whiteout. */

import { EISDIR, ENOENT, ENOTDIR, ENOTEMPTY, type Errno, isErrno } from '../base/errno.ts';
import type { Writer } from '../fs/writable-filesystem.ts';
import { direntName, direntRange } from '../manifest/lookup.ts';
import { RENAME_WHITEOUT, renameAt, unlinkAt } from '../system/directory-calls.ts';
import { readDirectory } from '../system/directory-listing.ts';
import { type FileStatus, statusAt } from '../system/file-status.ts';
import { DIRECTORY, INDEXED, ORPHAN, UPPER } from '../upper/identity-table.ts';
import { isWhiteout } from '../upper/overlay-format.ts';
import { nlinkOf } from './attributes.ts';
import { copyUp } from './copy-up.ts';
import { directoryToChange } from './create.ts';
import { type Directory, directoryOf, isDirectoryMode, lowerHas } from './directories.ts';
import { type Entry, entryOf, isWhiteoutEntry } from './entries.ts';
import { countByUpper, dropIndexEntry, linkUp } from './index-links.ts';
import type { Layer } from './layer.ts';
import { countAddition } from './layer-rows.ts';
import { becomeOrphan, isOnlyOrphan, orphanOfImage } from './orphans.ts';
import { makeTemporary, makeWhiteout, removeTemporary } from './temporary.ts';
import { orphanName } from './upper-tree.ts';

/** Removes the name of a file that is not a directory. */
export function removeFileName(layer: Layer, parent: number, name: Uint8Array, writer: Writer): 0 | Errno {
  const found = findToRemove(layer, parent, name, writer);
  if (typeof found === 'number') return found;
  const { directory, entry, ino, isDirectory } = found;
  if (isDirectory) return EISDIR;
  writer.note(ino, 0);
  return removeName(layer, directory, name, entry);
}

/** Removes an empty directory. */
export function removeDirectoryName(layer: Layer, parent: number, name: Uint8Array, writer: Writer): 0 | Errno {
  const found = findToRemove(layer, parent, name, writer);
  if (typeof found === 'number') return found;
  const { directory, entry, ino, isDirectory } = found;
  if (!isDirectory) return ENOTDIR;
  const removed = directoryOf(layer, ino);
  if (isErrno(removed)) return removed;
  const empty = isEmpty(layer, removed);
  if (empty !== true) return empty === false ? ENOTEMPTY : empty;
  writer.note(ino, 0);
  return removeName(layer, directory, name, entry);
}

interface ToRemove {
  readonly directory: Directory;
  readonly entry: Entry;
  readonly ino: number;
  readonly isDirectory: boolean;
}

function findToRemove(layer: Layer, parent: number, name: Uint8Array, writer: Writer): ToRemove | 0 | Errno {
  for (;;) {
    const directory = directoryToChange(layer, parent);
    if (isErrno(directory)) return directory;
    const entry = entryOf(layer, directory, name);
    if (isErrno(entry)) {
      // an earlier server has removed it
      if (entry !== ENOENT || !writer.again || writer.noted[0] === 0) return entry;
      settle(layer, writer.noted[0]);
      return 0;
    }
    const { ino } = entry;
    if (!layer.state.waitWhileBusy(ino)) return { directory, entry, ino, isDirectory: isDirectoryEntry(layer, entry) };
  }
}

export const isDirectoryEntry = ({ table, tables }: Layer, { row, lower }: Entry): boolean =>
  row >= 0 ? (table.flags(row) & DIRECTORY) !== 0 : isDirectoryMode(tables.inodes.mode[lower] as number);

/** Notes that an inode lost its last name to an earlier server, if it did. */
export function settle(layer: Layer, ino: number): void {
  const row = layer.table.find(ino);
  if (row < 0) return;
  const flags = layer.table.flags(row);
  if ((flags & UPPER) === 0) becomeOrphan(layer, row);
  else if ((flags & ORPHAN) === 0 && isOnlyOrphan(layer, row, orphanName(ino))) {
    dropIndexEntry(layer, row);
    becomeOrphan(layer, row);
  }
}

/** Removes a name, and leaves a whiteout if the image has it. */
export function removeName(layer: Layer, directory: Directory, name: Uint8Array, entry: Entry): 0 | Errno {
  const prepared = ownName(layer, directory, name, entry);
  if (isErrno(prepared)) return prepared;
  const hides = lowerHas(layer, directory, name);
  if (hides) countAddition(layer.table, directory.row);
  if (prepared === undefined) {
    const made = makeWhiteout(layer, directory.fd, name);
    if (isErrno(made)) return made;
    orphanOfImage(layer, entry.ino, layer.tables.inodes.generation[entry.lower] as number);
    return 0;
  }
  // that of an entry of the upper layer is in `layer.status`
  const status = entry.lower < 0 && !isDirectoryEntry(layer, entry) ? layer.status : undefined;
  return removeUpperName(layer, directory, name, prepared, hides, status);
}

/**
 * The row of an entry whose name is in the upper layer: for a hard link of the image the name is made there first.
 * Undefined for an inode that is only in the image, and has one name.
 */
export function ownName(
  layer: Layer,
  directory: Directory,
  name: Uint8Array,
  entry: Entry,
): number | undefined | Errno {
  const { tables, table, linkNames } = layer;
  if (entry.lower < 0) return countByUpper(layer, entry.row) || entry.row;
  const isLinked =
    linkNames === undefined &&
    !isDirectoryMode(tables.inodes.mode[entry.lower] as number) &&
    (tables.inodes.nlink[entry.lower] as number) > 1;
  if (entry.row < 0 && !isLinked) return undefined;
  const row = entry.row >= 0 ? entry.row : copyUp(layer, entry.ino, 'metadata');
  if (isErrno(row)) return row;
  // it was copied up to its place
  if ((table.flags(row) & INDEXED) === 0) return row;
  const linked = linkUp(layer, row, directory, name);
  return isErrno(linked) ? linked : row;
}

function removeUpperName(
  layer: Layer,
  { fd, ino: parent }: Directory,
  name: Uint8Array,
  row: number,
  hides: boolean,
  status: FileStatus | undefined,
): 0 | Errno {
  const { table, directories } = layer;
  const ino = table.id(row);
  const links = status === undefined ? linksAt(layer, fd, name, row) : nlinkOf(layer, row, table.flags(row), status);
  if (isErrno(links)) return links;
  if (links <= 1) {
    const moved = renameAt(fd, name, directories.orphans, orphanName(ino), hides ? RENAME_WHITEOUT : 0);
    if (isErrno(moved)) return moved;
    dropIndexEntry(layer, row);
    becomeOrphan(layer, row);
    return 0;
  }
  const removed = hides ? replaceByWhiteout(layer, fd, name) : unlinkAt(fd, name);
  if (isErrno(removed)) return removed;
  table.removeName(row, parent, name);
  return 0;
}

/** The number of names of a file that users see; 1 for a directory. */
export function linksAt(layer: Layer, dir: number, name: Uint8Array, row: number): number | Errno {
  const flags = layer.table.flags(row);
  if ((flags & DIRECTORY) !== 0) return 1;
  const looked = statusAt(dir, name, layer.status);
  return isErrno(looked) ? looked : nlinkOf(layer, row, flags, layer.status);
}

function replaceByWhiteout(layer: Layer, fd: number, name: Uint8Array): 0 | Errno {
  const place = makeTemporary(layer, (dir, temporary) => makeWhiteout(layer, dir, temporary));
  if (isErrno(place)) return place;
  const moved = renameAt(place.dir, place.name, fd, name, 0);
  if (isErrno(moved)) removeTemporary(layer, place);
  return moved;
}

/** Whether a directory has no entries. */
export function isEmpty(layer: Layer, directory: Directory): boolean | Errno {
  const hidden = new Set<string>();
  if (directory.fd >= 0) {
    let hasEntry = false;
    const listed = readDirectory(directory.fd, (name) => {
      if (hasEntry || statusAt(directory.fd, name, layer.status) !== 0) return;
      const { mode, rdev } = layer.status;
      if (isWhiteout(mode, rdev) || isWhiteoutEntry(layer, directory, name, layer.status)) {
        hidden.add(Buffer.from(name).toString('latin1'));
      } else hasEntry = true;
    });
    if (isErrno(listed)) return listed;
    if (hasEntry) return false;
  }
  if (directory.lower < 0) return true;
  const [from, to] = direntRange(layer.tables, directory.lower);
  for (let dirent = from; dirent < to; dirent++) {
    if (!hidden.has(Buffer.from(direntName(layer.tables, dirent)).toString('latin1'))) return false;
  }
  return true;
}
