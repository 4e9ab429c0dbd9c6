/** Redirects: the place in the image of a moved directory, or of the data of a moved file. */
import { type Errno, EXDEV, isErrno } from '../base/errno.ts';
import { directoryOfDirent } from '../manifest/lookup.ts';
import { statusAt } from '../system/file-status.ts';
import { setXattrAt } from '../system/xattr-calls.ts';
import { DIRECTORY, METACOPY } from '../upper/identity-table.ts';
import { encodeRedirect } from '../upper/overlay-format.ts';
import type { Layer } from './layer.ts';
import { lowerOf } from './layer-rows.ts';
import type { Place } from './upper-tree.ts';

/** Whether a row's file depends on its place: a merged directory, or a file without data. */
export function needsRedirect({ table }: Layer, row: number): boolean {
  const flags = table.flags(row);
  return (flags & (DIRECTORY | METACOPY)) !== 0 && lowerOf(table, row) >= 0;
}

/**
 * Writes the redirect of a file before it is moved: it names the place of now, so it is right before and after the
 * move.
 * @param isWithin whether it stays in its directory
 * @returns EXDEV if redirects are off, or the path is too long
 */
export function writeRedirect(layer: Layer, row: number, isWithin: boolean): 0 | Errno {
  const { table, tables, tree, settings, names, imageNames } = layer;
  if (settings.redirectDir !== 'on' || settings.userxattr) return EXDEV;
  const lower = lowerOf(table, row);
  const path = imageNames.pathOf(lower);
  const parent = table.nameOf(row)?.parent;
  const parentRow = parent === undefined ? -1 : table.find(parent);
  // by its name, if its directory of the image is the one that is visible through its directory
  const isBeside =
    isWithin && parentRow >= 0 && lowerOf(table, parentRow) === directoryOfDirent(tables, imageNames.direntOf(lower));
  const place = tree.place(row);
  if (isErrno(place)) return place;
  const linked = isBeside ? hasSeveralNames(layer, row, place) : false;
  if (isErrno(linked)) return linked;
  const value = encodeRedirect(
    isBeside && !linked ? { isAbsolute: false, names: path.slice(-1) } : { isAbsolute: true, names: path },
  );
  return value === undefined ? EXDEV : setXattrAt(place.dir, place.name, names.names.redirect, value, 0);
}

/** Whether a file has names in other directories, perhaps, in which a name alone would mean another file. */
function hasSeveralNames({ table, tables, status }: Layer, row: number, { dir, name }: Place): boolean | Errno {
  if ((table.flags(row) & DIRECTORY) !== 0) return false;
  if ((tables.inodes.nlink[lowerOf(table, row)] as number) > 1) return true;
  const looked = statusAt(dir, name, status);
  return isErrno(looked) ? looked : status.nlink > 1;
}
