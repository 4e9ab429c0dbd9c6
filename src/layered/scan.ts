/**
 * A walk of the whole upper layer, which adopts every entry. It is for an id that the table does not have, such as that
 * of a handle from an earlier mount, and for a file that is not at the place in the table. The table is only a cache of
 * the upper layer.
 */

import { isErrno } from '../base/errno.ts';
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
import { adopt, flagsOf, isWhiteoutEntry } from './entries.ts';
import { isLeftInIndex } from './index-links.ts';
import type { Layer, Search } from './layer.ts';
import { setLower } from './layer-rows.ts';
import { readLayerXattrs } from './layer-xattrs.ts';
import { restoreSize } from './lost-sizes.ts';
import { dropRow, isCrowded } from './orphans.ts';

const status = emptyFileStatus();

export const SEARCH: Search = { id: findId, row: findRow };

/** A table that is nearly full keeps no files but the one that is sought; then the next search begins anew. */
function findId(layer: Layer, ino: number): void {
  const { table, state } = layer;
  let isAll = true;
  walk(layer, (row, isNew) => {
    if (table.id(row) === ino) return !isAll;
    if (isNew && isCrowded(layer) && dropRow(layer, row)) isAll = false;
    return false;
  });
  if (isAll) state.setComplete(true);
}

/** Adopts all entries, as far as the table has room. */
export function adoptAll(layer: Layer): void {
  findId(layer, 0);
}

function findRow(layer: Layer, row: number): boolean {
  const { table } = layer;
  const [low, high] = [table.upperLow(row), table.upperHigh(row)];
  const ino = table.id(row);
  for (const { parent, name } of table.names(row)) table.removeName(row, parent, name);
  walk(layer, () => status.inoLow === low && status.inoHigh === high);
  return table.find(ino) === row && table.nameCount(row) > 0;
}

/** Adopts the entries of all directories until `visit` returns true. It may drop rows of files. */
function walk(layer: Layer, visit: (row: number, isNew: boolean) => boolean): void {
  const { table } = layer;
  const left = [ROOT_INO];
  const open = layer.tree.openDirectories();
  for (let ino = left.pop(); ino !== undefined; ino = left.pop()) {
    layer.tree.closeOthers(open);
    const directory = directoryOf(layer, ino);
    if (isErrno(directory) || directory.fd < 0) continue;
    const listed: Uint8Array[] = [];
    readDirectory(directory.fd, (name) => listed.push(name));
    for (const name of listed) {
      if (statusAt(directory.fd, name, status) !== 0) continue;
      if (isWhiteoutEntry(layer, directory, name, status)) continue;
      const isNew = table.findUpper(status.inoLow, status.inoHigh) < 0;
      const row = adopt(layer, directory, name, status);
      if (isErrno(row)) continue;
      if ((table.flags(row) & DIRECTORY) !== 0) left.push(table.id(row));
      if (visit(row, isNew)) return;
    }
  }
}

/**
 * Adopts the entries of the index: files of the image with several names, some of which may not be in the upper layer.
 */
export function adoptIndex(layer: Layer): void {
  const { table, tables, directories } = layer;
  if (directories.index < 0) return;
  readDirectory(directories.index, (name) => {
    const bytes = parseIndexName(name);
    const origin = bytes === undefined ? undefined : decodeOrigin(bytes);
    if (origin === undefined || !('id' in origin)) return;
    const lower = rowOfId(tables, origin.id);
    if (lower < 0 || statusAt(directories.index, name, status) !== 0) return;
    // with nfs_export=on of Linux there are entries of directories and of removed files, too
    const type = status.mode & S_IFMT;
    if (type === S_IFDIR || type !== lowerType(tables, lower) || isWhiteout(status.mode, status.rdev)) return;
    if (removeLeftover(layer, name, lower)) return;
    const xattrs = readLayerXattrs(layer.names, directories.index, name, status.mode);
    if (isErrno(xattrs)) return;
    const known = table.find(origin.id);
    const row = known >= 0 ? known : table.add(origin.id, origin.generation);
    if (row < 0) return;
    table.setUpper(row, status.inoLow, status.inoHigh);
    // it may have no data, and no other name
    const flags = flagsOf(layer, status.mode, xattrs, true) | INDEXED;
    table.setFlags(row, flags, 0);
    setLower(table, row, lower);
    if ((flags & METACOPY) !== 0) restoreSize(layer, origin.id, directories.index, name, lower, status);
  });
}

/** Removes an entry of the index without other names. @returns whether it is one */
function removeLeftover({ tables, names, directories, settings }: Layer, name: Uint8Array, lower: number): boolean {
  const value = getXattrAt(directories.index, name, names.names.nlink);
  const links = isErrno(value) ? undefined : decodeNlink(value);
  if (!isLeftInIndex(links, status.nlink, tables.inodes.nlink[lower] as number)) return false;
  if (!settings.readOnly) unlinkAt(directories.index, name);
  return true;
}
