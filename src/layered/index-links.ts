/** Hard links of files of the image, and notes on directories of the upper layer. */

import { ENOSPC, type Errno, isErrno } from '../base/errno.ts';
import { linkAt, unlinkAt } from '../system/directory-calls.ts';
import { emptyFileStatus, statusAt } from '../system/file-status.ts';
import { getXattrAt, setXattrAt } from '../system/xattr-calls.ts';
import { INDEXED } from '../upper/identity-table.ts';
import { applyNlink, decodeNlink, encodeNlink, type RelativeNlink, Y } from '../upper/overlay-format.ts';
import { indexName } from '../upper/overlay-names.ts';
import { nlinkOf } from './attributes.ts';
import { lowerLinks } from './directories.ts';
import type { Layer } from './layer.ts';
import { countAddition, IMPURE } from './layer-rows.ts';

const EMPTY: Uint8Array = Uint8Array.of();

/** A listing in progress must see the entry in the upper layer. */
export function countAdditionIn({ table }: Layer, parent: number): void {
  const row = table.find(parent);
  if (row >= 0) countAddition(table, row);
}

/** Notes on a directory that it has an entry with the number of its origin. @param fd of the directory */
export function markImpure({ table, names }: Layer, ino: number, fd: number): 0 | Errno {
  const row = table.find(ino);
  if (row < 0 || (table.flags(row) & IMPURE) !== 0) return 0;
  const set = setXattrAt(fd, EMPTY, names.names.impure, Y, 0);
  if (isErrno(set)) return set;
  table.setFlags(row, IMPURE, 0);
  return 0;
}

/**
 * Links a file of the index to its name in the image, before that name is changed.
 * @param directory the open directory in the upper layer, and its id
 */
export function linkUp(
  layer: Layer,
  row: number,
  directory: { readonly fd: number; readonly ino: number },
  name: Uint8Array,
): 0 | Errno {
  const { table, names } = layer;
  const place = layer.tree.checkedPlace(row);
  if (isErrno(place)) return place;
  const looked = statusAt(place.dir, place.name, layer.status);
  if (isErrno(looked)) return looked;
  const visible = nlinkOf(layer, row, table.flags(row), layer.status);
  if (isErrno(visible)) return visible;
  const nlink = layer.status.nlink;
  const note = (to: 'upper' | 'lower', difference: number): 0 | Errno =>
    setXattrAt(place.dir, place.name, names.names.nlink, encodeNlink({ to, difference }), 0);
  // as a difference to the image's inode, the value is right before and after the link
  const before = note('lower', visible - lowerLinks(layer, row));
  if (isErrno(before)) return before;
  const impure = markImpure(layer, directory.ino, directory.fd);
  if (isErrno(impure)) return impure;
  const linked = linkAt(place.dir, place.name, directory.fd, name);
  if (isErrno(linked)) return linked;
  const after = note('upper', visible - (nlink + 1));
  if (isErrno(after)) return after;
  if (!table.addName(row, directory.ino, name)) return ENOSPC;
  countAdditionIn(layer, directory.ino);
  return 0;
}

const upperStatus = emptyFileStatus();

/**
 * Called before a name of a file is made or removed: the noted number of links must follow that of the upper file. A
 * server that was killed while it linked a name of the image left it relative to the image.
 */
export function countByUpper(layer: Layer, row: number): 0 | Errno {
  const { table, names, tree } = layer;
  const flags = table.flags(row);
  if ((flags & INDEXED) === 0) return 0;
  const place = tree.checkedPlace(row);
  if (isErrno(place)) return place;
  const value = getXattrAt(place.dir, place.name, names.names.nlink);
  if (isErrno(value) || decodeNlink(value)?.to !== 'lower') return 0;
  const looked = statusAt(place.dir, place.name, upperStatus);
  const visible = isErrno(looked) ? looked : nlinkOf(layer, row, flags, upperStatus);
  if (isErrno(visible)) return visible;
  const note = encodeNlink({ to: 'upper', difference: visible - upperStatus.nlink });
  return setXattrAt(place.dir, place.name, names.names.nlink, note, 0);
}

/** The index has no entry for an inode without names. */
export function dropIndexEntry(layer: Layer, row: number): void {
  const { table, directories } = layer;
  if ((table.flags(row) & INDEXED) === 0) return;
  unlinkAt(directories.index, indexName(layer.originFor(table.id(row), table.generation(row))));
  table.setFlags(row, 0, INDEXED);
}

/** Whether a file of the index has no names but that: a server was killed before it removed the entry. */
export function isLeftInIndex(links: RelativeNlink | undefined, nlink: number, ofImage: number): boolean {
  return nlink === 1 && links !== undefined && applyNlink(links, nlink, ofImage) === undefined;
}
