/**
 * A walk of the whole upper layer, which adopts every entry. It is for an id that the table does not have, such as that
 * of a handle from an earlier mount, and for a file that is not at the place in the table. The table is only a cache of
 * the upper layer.
 */

import { ENOENT, ENOSPC, type Errno, isErrno } from '../base/errno.ts';
import { S_IFDIR, S_IFMT } from '../base/stat-bits.ts';
import { ROOT_INO } from '../fs/filesystem.ts';
import { rowOfId } from '../manifest/lookup.ts';
import { unlinkAt } from '../system/directory-calls.ts';
import { readDirectory } from '../system/directory-listing.ts';
import { emptyFileStatus, statusAt } from '../system/file-status.ts';
import { getXattrAt } from '../system/xattr-calls.ts';
import { DIRECTORY, INDEXED, METACOPY } from '../upper/identity-table.ts';
import { decodeNlink, decodeOrigin, isWhiteout } from '../upper/overlay-format.ts';
import { parseIndexName } from '../upper/overlay-names.ts';
import { directoryOf, lowerType } from './directories.ts';
import { adopt, flagsOf, isWhiteoutEntry, OF_FILE } from './entries.ts';
import { isLeftInIndex } from './index-links.ts';
import type { Layer } from './layer.ts';
import { EARLIER, setFile, setLower } from './layer-rows.ts';
import { readLayerXattrs } from './layer-xattrs.ts';
import { restoreSize } from './lost-sizes.ts';
import { dropRow, isCrowded } from './orphans.ts';
import { isPassing } from './passing-errors.ts';

const status = emptyFileStatus();
/** No inode has this id. */
const NONE = 0;

/** A table that is nearly full keeps no files but the one that is sought; then the next search begins anew. */
export function findId(layer: Layer, ino: number): 0 | Errno {
  const { table, state } = layer;
  let isAll = true;
  const walked = walk(layer, (row, isNew) => {
    if (table.id(row) === ino) return !isAll;
    if (isNew && isCrowded(layer) && dropRow(layer, row)) isAll = false;
    return false;
  });
  if (isAll && walked === 0) {
    forgetEarlier(layer);
    state.setComplete(true);
  }
  if (table.find(ino) >= 0) return 0;
  return isErrno(walked) ? walked : ENOENT;
}

/** Removes the rows of files that no longer exist, after a walk that has seen all. */
export function forgetEarlier({ table }: Layer): void {
  for (const row of [...table.rows()]) if ((table.flags(row) & EARLIER) !== 0) table.remove(row);
}

/** Adopts all entries, as far as the table has room. */
export function adoptAll(layer: Layer): void {
  findId(layer, NONE);
}

export function findRow(layer: Layer, row: number): 0 | Errno {
  const { table } = layer;
  const [low, high] = [table.upperLow(row), table.upperHigh(row)];
  const ino = table.id(row);
  for (const { parent, name } of table.names(row)) table.removeName(row, parent, name);
  const walked = walk(layer, () => status.inoLow === low && status.inoHigh === high);
  if (table.find(ino) === row && table.nameCount(row) > 0) return 0;
  return isErrno(walked) ? walked : ENOENT;
}

/**
 * Adopts the entries of all directories until `visit` returns true. It may drop rows of files.
 * @returns an error after which there may be more entries
 */
function walk(layer: Layer, visit: (row: number, isNew: boolean) => boolean): 0 | Errno {
  const { table } = layer;
  let missed: 0 | Errno = 0;
  const miss = (error: Errno): void => {
    if (isPassing(error)) missed = error;
  };
  const left = [ROOT_INO];
  const open = layer.tree.openDirectories();
  for (let ino = left.pop(); ino !== undefined; ino = left.pop()) {
    layer.tree.closeOthers(open);
    const directory = directoryOf(layer, ino);
    if (isErrno(directory)) {
      miss(directory);
      continue;
    }
    if (directory.fd < 0) continue;
    const names: Uint8Array[] = [];
    const listed = readDirectory(directory.fd, (name) => names.push(name));
    if (isErrno(listed)) miss(listed);
    for (const name of names) {
      const looked = statusAt(directory.fd, name, status);
      if (isErrno(looked)) {
        miss(looked);
        continue;
      }
      if (isWhiteoutEntry(layer, directory, name, status)) continue;
      const isNew = table.findUpper(status.inoLow, status.inoHigh) < 0;
      const row = adopt(layer, directory, name, status);
      if (isErrno(row)) {
        miss(row);
        continue;
      }
      if ((table.flags(row) & DIRECTORY) !== 0) left.push(table.id(row));
      if (visit(row, isNew)) return missed;
    }
  }
  return missed;
}

/**
 * Adopts the entries of the index: files of the image with several names, some of which may not be in the upper layer.
 * @returns an error after which links may be unknown
 */
export function adoptIndex(layer: Layer): 0 | Errno {
  const { table, tables, directories } = layer;
  if (directories.index < 0) return 0;
  let missed: 0 | Errno = 0;
  const listed = readDirectory(directories.index, (name) => {
    const bytes = parseIndexName(name);
    const origin = bytes === undefined ? undefined : layer.originIn(decodeOrigin(bytes));
    if (origin === undefined || !('id' in origin)) return;
    const lower = rowOfId(tables, origin.id);
    const looked = lower < 0 ? 0 : statusAt(directories.index, name, status);
    if (isErrno(looked) && isPassing(looked)) missed = looked;
    if (lower < 0 || looked !== 0) return;
    // with nfs_export=on of Linux there are entries of directories and of removed files, too
    const type = status.mode & S_IFMT;
    if (type === S_IFDIR || type !== lowerType(tables, lower) || isWhiteout(status.mode, status.rdev)) return;
    if (removeLeftover(layer, name, lower)) return;
    const xattrs = readLayerXattrs(layer.names, directories.index, name, status.mode);
    if (isErrno(xattrs)) {
      if (isPassing(xattrs)) missed = xattrs;
      return;
    }
    const known = table.find(origin.id);
    const row = known >= 0 ? known : table.add(origin.id, origin.generation);
    if (row < 0) {
      missed = ENOSPC;
      return;
    }
    setFile(table, row, status);
    // it may have no data, and no other name
    const flags = flagsOf(layer, status.mode, xattrs, true) | INDEXED;
    table.setFlags(row, flags, OF_FILE | EARLIER);
    setLower(table, row, lower);
    if ((flags & METACOPY) !== 0) restoreSize(layer, origin.id, directories.index, name, lower, status);
  });
  return isErrno(listed) ? listed : missed;
}

/** Removes an entry of the index without other names. @returns whether it is one */
function removeLeftover({ tables, names, directories, settings }: Layer, name: Uint8Array, lower: number): boolean {
  const value = getXattrAt(directories.index, name, names.names.nlink);
  const links = isErrno(value) ? undefined : decodeNlink(value);
  if (!isLeftInIndex(links, status.nlink, tables.inodes.nlink[lower] as number)) return false;
  if (!settings.readOnly) unlinkAt(directories.index, name);
  return true;
}
