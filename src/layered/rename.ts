/**
 * Renaming, also over another file and in exchange with it.
 *
 * The one rename(2) that moves the file decides. Preparations are made before, and are harmless without it: a redirect
 * that names the present place, the mark `opaque`, a second name among the orphans for a file that is replaced. A
 * directory that is replaced, or a whiteout in the place of a directory, is first exchanged with the directory that is
 * moved, and then removed from the old name.
 */

import { EEXIST, EINVAL, EISDIR, ENOENT, ENOTDIR, ENOTEMPTY, type Errno, EXDEV, isErrno } from '../base/errno.ts';
import {
  RENAME_EXCHANGE as EXCHANGE_FLAG,
  RENAME_NOREPLACE as NOREPLACE_FLAG,
  type Writer,
} from '../fs/writable-filesystem.ts';
import {
  linkAt,
  RENAME_EXCHANGE,
  RENAME_NOREPLACE,
  RENAME_WHITEOUT,
  renameAt,
  unlinkAt,
} from '../system/directory-calls.ts';
import { statusAt } from '../system/file-status.ts';
import { setXattrAt } from '../system/xattr-calls.ts';
import { DIRECTORY, INDEXED, METACOPY, NEW, OPAQUE } from '../upper/identity-table.ts';
import { Y } from '../upper/overlay-format.ts';
import { ALL, copyUp } from './copy-up.ts';
import { directoryToChange } from './create.ts';
import { type Directory, directoryOf, lowerHas } from './directories.ts';
import { type Entry, entryOf } from './entries.ts';
import { dropIndexEntry, markImpure } from './index-links.ts';
import type { Layer } from './layer.ts';
import { countAddition, lowerOf } from './layer-rows.ts';
import { becomeOrphan, orphanOfImage } from './orphans.ts';
import { needsRedirect, writeRedirect } from './redirects.ts';
import { isDirectoryEntry, isEmpty, linksAt, ownName, settle } from './remove.ts';
import { orphanName } from './upper-tree.ts';

const EMPTY: Uint8Array = Uint8Array.of();

/** A name in a directory, and the entry that it has. */
interface Side {
  readonly directory: Directory;
  readonly name: Uint8Array;
  readonly entry: Entry;
}

export function rename(
  layer: Layer,
  parent: number,
  name: Uint8Array,
  newParent: number,
  newName: Uint8Array,
  flags: number,
  writer: Writer,
): 0 | Errno {
  if (flags !== 0 && flags !== EXCHANGE_FLAG && flags !== NOREPLACE_FLAG) return EINVAL;
  for (;;) {
    const from = directoryToChange(layer, parent);
    if (isErrno(from)) return from;
    const to = newParent === parent ? from : directoryToChange(layer, newParent);
    if (isErrno(to)) return to;
    const source = entryOf(layer, from, name);
    if (flags !== EXCHANGE_FLAG && !writer.again && !isErrno(source)) {
      const moved = moveToFreeName(layer, { directory: from, name, entry: source }, to, newName, writer);
      if (moved !== EEXIST) return moved;
    }
    const target = entryOf(layer, to, newName);
    if (isErrno(source))
      return source === ENOENT && isMoved(target, writer)
        ? movedBefore(layer, writer, from, name, to, newName)
        : source;
    if (isErrno(target) && target !== ENOENT) return target;
    const inode = source.ino;
    const replaced = isErrno(target) ? 0 : target.ino;
    if (layer.state.waitWhileBusy(inode) || layer.state.waitWhileBusy(replaced)) continue;
    const one = { directory: from, name, entry: source };
    const isExchanged = writer.again && writer.noted[0] === replaced && writer.noted[1] === inode;
    if (flags === EXCHANGE_FLAG) {
      if (isErrno(target)) return target;
      if (!isExchanged) writer.note(inode, replaced);
      return exchange(layer, one, { directory: to, name: newName, entry: target }, isExchanged);
    }
    const other = { directory: to, name: newName, entry: isErrno(target) ? undefined : target };
    if (other.entry !== undefined) {
      if (flags === NOREPLACE_FLAG) return EEXIST;
      // two names of one file: nothing happens
      if (inode === replaced) return 0;
      // an earlier server has exchanged the directories
      if (isExchanged) return finishMove(layer, one, other, source.row, other.entry.row);
    }
    const moved = move(layer, one, other, writer);
    if (moved !== undefined) return moved;
  }
}

/**
 * Moves a file that the image does not have to a name that nothing has, which rename(2) finds out by itself.
 * @returns EEXIST, and nothing has changed, if it is another case
 */
function moveToFreeName(
  layer: Layer,
  { directory: from, name, entry: { row, lower } }: Side,
  to: Directory,
  newName: Uint8Array,
  writer: Writer,
): 0 | Errno {
  const { table, state } = layer;
  if (row < 0 || lower >= 0 || (table.flags(row) & (NEW | DIRECTORY | INDEXED | METACOPY)) !== NEW) return EEXIST;
  const ino = table.id(row);
  if (state.isBusy(ino) || lowerHas(layer, from, name) || lowerHas(layer, to, newName)) return EEXIST;
  writer.note(ino, 0);
  const moved = renameAt(from.fd, name, to.fd, newName, RENAME_NOREPLACE);
  if (isErrno(moved)) return moved;
  table.moveName(row, from.ino, name, to.ino, newName);
  if (from.ino !== to.ino) countAddition(table, from.row);
  countAddition(table, to.row);
  return 0;
}

/** Whether an earlier server has moved the file: it is at its destination. */
function isMoved(target: Entry | Errno, writer: Writer): target is Entry {
  return writer.again && !isErrno(target) && writer.noted[0] !== 0 && target.ino === writer.noted[0];
}

function movedBefore(
  layer: Layer,
  { noted }: Writer,
  from: Directory,
  name: Uint8Array,
  to: Directory,
  newName: Uint8Array,
): 0 {
  const row = layer.table.find(noted[0]);
  if (row >= 0) layer.table.moveName(row, from.ino, name, to.ino, newName);
  if (noted[1] !== 0) settle(layer, noted[1]);
  return 0;
}

/** Makes sure that an entry has a file in the upper layer that may be moved from `side` to the directory `to`. */
function prepareMove(layer: Layer, { directory, name, entry }: Side, to: Directory): number | Errno {
  const { table } = layer;
  const own = ownName(layer, directory, name, entry);
  if (isErrno(own)) return own;
  let row: number | undefined | Errno = own;
  if (row === undefined) {
    const isMerged = isDirectoryEntry(layer, entry);
    if (isMerged && (layer.settings.redirectDir !== 'on' || layer.settings.userxattr)) return EXDEV;
    row = copyUp(layer, entry.ino, 'metadata');
    if (isErrno(row)) return row;
  }
  if (needsRedirect(layer, row)) {
    const written = writeRedirect(layer, row, directory.ino === to.ino);
    if (isErrno(written)) {
      // mv(1) copies a directory then; a file gets its data here
      if (written !== EXDEV || (table.flags(row) & DIRECTORY) !== 0) return written;
      const completed = copyUp(layer, table.id(row), ALL);
      if (isErrno(completed)) return completed;
    }
  }
  const isHiding = (table.flags(row) & (DIRECTORY | OPAQUE)) === DIRECTORY && lowerOf(table, row) < 0 && to.lower >= 0;
  if (isHiding) {
    const fd = layer.tree.directory(table.id(row));
    const set = isErrno(fd) ? fd : setXattrAt(fd, EMPTY, layer.names.names.opaque, Y, 0);
    if (isErrno(set)) return set;
    table.setFlags(row, OPAQUE, 0);
  }
  return (table.flags(row) & NEW) !== 0 ? row : markImpure(layer, to.ino, to.fd) || row;
}

function exchange(layer: Layer, one: Side, other: Side, isDone: boolean): 0 | Errno {
  const { table } = layer;
  const row = prepareMove(layer, one, other.directory);
  if (isErrno(row)) return row;
  const otherRow = prepareMove(layer, other, one.directory);
  if (isErrno(otherRow)) return otherRow;
  const { directory: from, name } = one;
  const { directory: to, name: newName } = other;
  if (!isDone) {
    const moved = renameAt(from.fd, name, to.fd, newName, RENAME_EXCHANGE);
    if (isErrno(moved)) return moved;
    table.moveName(row, from.ino, name, to.ino, newName);
    table.moveName(otherRow, to.ino, newName, from.ino, name);
  } else {
    // the entries were looked up after the exchange
    table.moveName(row, to.ino, newName, from.ino, name);
    table.moveName(otherRow, from.ino, name, to.ino, newName);
  }
  countAddition(table, from.row);
  countAddition(table, to.row);
  return 0;
}

interface Target {
  readonly directory: Directory;
  readonly name: Uint8Array;
  readonly entry: Entry | undefined;
}

/** Undefined if the lock was free in between: the entries have to be looked up again. */
function move(layer: Layer, source: Side, target: Target, writer: Writer): 0 | Errno | undefined {
  const { table, state } = layer;
  const { releases } = state;
  const isDirectory = isDirectoryEntry(layer, source.entry);
  const replaced = target.entry;
  if (replaced !== undefined) {
    const isOther = isDirectoryEntry(layer, replaced);
    if (isDirectory !== isOther) return isDirectory ? ENOTDIR : EISDIR;
    const empty = isDirectory ? emptiness(layer, replaced.ino) : true;
    if (empty !== true) return empty === false ? ENOTEMPTY : empty;
  }
  const targetRow = replaced === undefined ? undefined : ownName(layer, target.directory, target.name, replaced);
  if (isErrno(targetRow)) return targetRow;
  const row = prepareMove(layer, source, target.directory);
  if (isErrno(row)) return row;
  if (state.releases !== releases) return undefined;
  const ino = table.id(row);
  writer.note(ino, replaced === undefined ? 0 : replaced.ino);
  const result = isDirectory
    ? moveDirectory(layer, source, target, targetRow)
    : moveFile(layer, source, target, targetRow);
  if (isErrno(result)) return result;
  const { directory: from, name } = source;
  const { directory: to, name: newName } = target;
  table.moveName(row, from.ino, name, to.ino, newName);
  if (from.ino !== to.ino || lowerHas(layer, from, name)) countAddition(table, from.row);
  countAddition(table, to.row);
  if (replaced !== undefined && targetRow === undefined) {
    orphanOfImage(layer, replaced.ino, layer.tables.inodes.generation[replaced.lower] as number);
  }
  return 0;
}

function emptiness(layer: Layer, ino: number): boolean | Errno {
  const directory = directoryOf(layer, ino);
  return isErrno(directory) ? directory : isEmpty(layer, directory);
}

/** @param targetRow of the file in the upper layer that is replaced */
function moveFile(layer: Layer, source: Side, target: Target, targetRow: number | undefined): 0 | Errno {
  const { table, directories } = layer;
  const { directory: to, name: newName } = target;
  let isLast = false;
  if (targetRow !== undefined) {
    const links = linksAt(layer, to.fd, newName, targetRow);
    if (isErrno(links)) return links;
    isLast = links <= 1;
    if (isLast) {
      const orphan = orphanName(table.id(targetRow));
      // of a server that was killed before the rename
      unlinkAt(directories.orphans, orphan);
      const kept = linkAt(to.fd, newName, directories.orphans, orphan);
      if (isErrno(kept)) return kept;
    }
  }
  const { directory: from, name } = source;
  const moved = renameAt(from.fd, name, to.fd, newName, lowerHas(layer, from, name) ? RENAME_WHITEOUT : 0);
  if (isErrno(moved)) {
    if (isLast) unlinkAt(directories.orphans, orphanName(table.id(targetRow as number)));
    return moved;
  }
  if (targetRow === undefined) return 0;
  if (isLast) {
    dropIndexEntry(layer, targetRow);
    becomeOrphan(layer, targetRow);
  } else table.removeName(targetRow, to.ino, newName);
  return 0;
}

function moveDirectory(layer: Layer, source: Side, target: Target, targetRow: number | undefined): 0 | Errno {
  const { directory: from, name } = source;
  const { directory: to, name: newName } = target;
  const hides = lowerHas(layer, from, name);
  const there = statusAt(to.fd, newName, layer.status);
  if (there === ENOENT) return renameAt(from.fd, name, to.fd, newName, hides ? RENAME_WHITEOUT : 0);
  if (isErrno(there)) return there;
  const exchanged = renameAt(from.fd, name, to.fd, newName, RENAME_EXCHANGE);
  if (isErrno(exchanged)) return exchanged;
  // a whiteout is at the old name now: it is needed there, or is removed
  if (targetRow === undefined) {
    // if it stays, it hides nothing
    if (!hides) unlinkAt(from.fd, name);
    return 0;
  }
  const removed = removeReplaced(layer, from, name, targetRow);
  if (isErrno(removed)) renameAt(from.fd, name, to.fd, newName, RENAME_EXCHANGE);
  return removed;
}

/** Removes a directory that was replaced by one with this old name, which it has now itself. */
function removeReplaced(layer: Layer, from: Directory, name: Uint8Array, row: number): 0 | Errno {
  const flags = lowerHas(layer, from, name) ? RENAME_WHITEOUT : 0;
  const taken = renameAt(from.fd, name, layer.directories.orphans, orphanName(layer.table.id(row)), flags);
  if (isErrno(taken)) return taken;
  becomeOrphan(layer, row);
  return 0;
}

/** Carries out the rest of a move of a directory over another one, after the exchange of the two. */
function finishMove(layer: Layer, from: Target, to: Target, replacedRow: number, movedRow: number): 0 | Errno {
  layer.table.moveName(movedRow, from.directory.ino, from.name, to.directory.ino, to.name);
  countAddition(layer.table, from.directory.row);
  countAddition(layer.table, to.directory.row);
  return removeReplaced(layer, from.directory, from.name, replacedRow);
}
