/** Directories of a layered file system: each is one of the upper layer, one of the image, or both merged. */
import { ENOENT, ENOTDIR, type Errno, ESTALE, isErrno } from '../base/errno.ts';
import { S_IFDIR, S_IFMT } from '../base/stat-bits.ts';
import { isDirectory, lookupDirent, lookupName } from '../manifest/lookup.ts';
import type { ManifestTables } from '../manifest/tables.ts';
import { DIRECTORY, ORPHAN, UPPER } from '../upper/identity-table.ts';
import type { Redirect } from '../upper/overlay-format.ts';
import type { Layer } from './layer.ts';
import { lowerOf } from './layer-rows.ts';

export interface Directory {
  readonly ino: number;
  /** The row in the table of identities; -1 for a directory of the image without one. */
  readonly row: number;
  /** The open directory in the upper layer; -1 for none. */
  readonly fd: number;
  /** The directory of the image that is seen through it; -1 for none. */
  readonly lower: number;
}

/** ENOENT for an unknown inode, ENOTDIR for another type. */
export function directoryOf(layer: Layer, ino: number): Directory | Errno {
  const { table, tables } = layer;
  let row = table.find(ino);
  if (row < 0 || (table.flags(row) & UPPER) === 0) {
    const lower = layer.rowInImage(ino);
    if (lower >= 0) {
      if (!isDirectory(tables, lower)) return ENOTDIR;
      const isGone = row >= 0 && (table.flags(row) & ORPHAN) !== 0;
      return { ino, row, fd: -1, lower: isGone ? -1 : lower };
    }
    const found = layer.rowAfterScan(ino);
    if (isErrno(found)) return found;
    row = found;
  }
  const flags = table.flags(row);
  if ((flags & DIRECTORY) === 0) return ENOTDIR;
  const fd = layer.tree.directory(ino);
  if (isErrno(fd)) return fd === ESTALE ? ENOENT : fd;
  return { ino, row, fd, lower: (flags & ORPHAN) !== 0 ? -1 : lowerOf(table, row) };
}

/** Whether the image has the name in this directory, visible or not. */
export const lowerHas = (layer: Layer, { lower }: Directory, name: Uint8Array): boolean =>
  lower >= 0 && lookupDirent(layer.tables, lower, name) >= 0;

/** The directory's inode in the image that has this name, -1 for none. */
export const lowerEntry = (layer: Layer, { lower }: Directory, name: Uint8Array): number =>
  lower < 0 ? -1 : lookupName(layer.tables, lower, name);

/** The inode of the image that a redirect leads to, from a directory of it (-1 for none); -1 for none. */
export function followRedirect(tables: ManifestTables, { isAbsolute, names }: Redirect, from: number): number {
  let at = isAbsolute ? 0 : from;
  for (const name of names) {
    if (at < 0 || !isDirectory(tables, at)) return -1;
    at = lookupName(tables, at, name);
  }
  return at;
}

/** The type bits of an inode of the image. */
export const lowerType = (tables: ManifestTables, row: number): number => (tables.inodes.mode[row] as number) & S_IFMT;

/** The names of the image's inode below a row; 0 if there is none. */
export function lowerLinks({ table, tables }: Layer, row: number): number {
  const lower = lowerOf(table, row);
  return lower < 0 ? 0 : (tables.inodes.nlink[lower] as number);
}

export const isDirectoryMode = (mode: number): boolean => (mode & S_IFMT) === S_IFDIR;
