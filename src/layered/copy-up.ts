/**
 * Copying up: an inode of the image gets a file in the upper layer. It keeps its id, handle, links and attributes.
 *
 * The file is made in the work directory and gets its name by one rename, so a server that is killed leaves nothing.
 * Its directory is copied up before it. A file with several names in the image goes to the index, and gets each name in
 * the upper layer only when that name is changed.
 */

import { EEXIST, EIO, ENODATA, ENOSPC, EROFS, type Errno, isErrno } from '../base/errno.ts';
import { S_IFDIR, S_IFMT, S_IFREG } from '../base/stat-bits.ts';
import { ROOT_INO } from '../fs/filesystem.ts';
import { u64 } from '../manifest/tables.ts';
import { closeFd } from '../system/descriptors.ts';
import { RENAME_NOREPLACE, renameAt } from '../system/directory-calls.ts';
import { truncateFd } from '../system/file-content-calls.ts';
import { statusAt, statusOf } from '../system/file-status.ts';
import { removeXattrAt, setXattrAt } from '../system/xattr-calls.ts';
import { DIRECTORY, INDEXED, METACOPY, NEW, ORPHAN, UPPER } from '../upper/identity-table.ts';
import { encodeNlink, isWhiteout } from '../upper/overlay-format.ts';
import { indexName } from '../upper/overlay-names.ts';
import { dropAttributes } from './attributes.ts';
import { type Copy, closeCopy, dress, makeCopy, markAsMetacopy, sizeOf } from './copies.ts';
import { copyContent, keepingTime } from './copy-content.ts';
import { isDirectoryMode } from './directories.ts';
import { fillInPlace } from './fill-notes.ts';
import type { ImageName } from './image-names.ts';
import { countAdditionIn, markImpure } from './index-links.ts';
import type { Layer } from './layer.ts';
import { lowerOf, setFile, setLower } from './layer-rows.ts';
import { readLayerXattrs } from './layer-xattrs.ts';
import { sizeWithoutData } from './lost-sizes.ts';
import { removeTemporary } from './temporary.ts';
import { orphanName, type Place } from './upper-tree.ts';

/**
 * The part of a regular file that is copied: its attributes, while the data stays in the image; or this number of bytes
 * of the data, which is then its size.
 */
export type Extent = 'metadata' | number;
export const ALL: number = Number.MAX_SAFE_INTEGER;

/** A change that a copy has already when it gets its name, so that nobody sees it without. */
export interface LastTouch {
  /** Whether it sets owner and group. */
  readonly isOwning: boolean;
  readonly apply: (file: Place) => 0 | Errno;
  /** Set if a copy was made with it. Then `layer.status` is that of the file. */
  isApplied: boolean;
}

const EMPTY: Uint8Array = Uint8Array.of();

/**
 * Copies an inode up, unless it is in the upper layer. Under the lock, which is free while data is copied: everything
 * that depends on other inodes is looked up afterwards.
 * @returns its row
 */
export function copyUp(layer: Layer, ino: number, extent: Extent, touch?: LastTouch): number | Errno {
  const { table, tables, state, settings } = layer;
  // the kernel refuses it before, unless the mount was made writable later
  if (settings.readOnly) return EROFS;
  state.waitWhileBusy(ino);
  const row = table.find(ino);
  if (row >= 0 && (table.flags(row) & UPPER) !== 0) return complete(layer, row, extent);
  const lower = layer.rowInImage(ino);
  if (lower < 0) {
    const found = layer.rowAfterScan(ino);
    return isErrno(found) ? found : complete(layer, found, extent);
  }
  const isDirectory = isDirectoryMode(tables.inodes.mode[lower] as number);
  if (row >= 0 && (table.flags(row) & ORPHAN) !== 0) {
    const prepare = (): Destination => amongOrphans(layer, ino);
    return copyInode(layer, lower, ino, extent, prepare, touch);
  }
  if (layer.linkNames === undefined && !isDirectory && (tables.inodes.nlink[lower] as number) > 1) {
    return copyInode(layer, lower, ino, extent, (file) => inIndex(layer, lower, ino, file), touch);
  }
  const name = layer.nameInImage(ino);
  if (name === undefined) return EIO;
  const parent = copyDirectoryUp(layer, name.parent);
  if (isErrno(parent)) return parent;
  return copyInode(layer, lower, ino, extent, () => inPlace(layer, name), touch);
}

/** The open directory of an inode in the upper layer, to which it is copied up first if need be. */
export function copyDirectoryUp(layer: Layer, ino: number): number | Errno {
  if (layer.settings.readOnly) return EROFS;
  if (ino === ROOT_INO) return layer.directories.upper;
  const row = copyUp(layer, ino, 'metadata');
  if (isErrno(row)) return row;
  return layer.tree.directory(ino);
}

/** Copies the data of a file of the upper layer that has none. */
function complete(layer: Layer, row: number, extent: Extent): number | Errno {
  if (extent === 'metadata' || (layer.table.flags(row) & METACOPY) === 0) return row;
  const lower = lowerOf(layer.table, row);
  if (lower < 0) return EIO;
  const result = fillMetacopy(layer, row, lower, extent);
  return isErrno(result) ? result : row;
}

/**
 * The data is written before the xattr is removed that marks it as missing. If the file is to be shorter, it is made
 * shorter first: with the xattr, that is as good as the data.
 */
function fillMetacopy(layer: Layer, row: number, lower: number, extent: number): 0 | Errno {
  const { table, tables, names } = layer;
  const opened = layer.tree.openContent(row, true);
  if (isErrno(opened)) return opened;
  const { fd } = opened;
  try {
    const looked = statusOf(fd, layer.status);
    if (isErrno(looked)) return looked;
    const size = sizeWithoutData(layer, lower, layer.status.size);
    const length = Math.min(size, extent);
    const ino = u64(tables.inodes.id, lower);
    const fill = (): 0 | Errno => {
      const shortened = length < size ? truncateFd(fd, length) : 0;
      const copied = isErrno(shortened) || length === 0 ? shortened : copyContent(layer, ino, fd, length);
      const removed = isErrno(copied) ? copied : removeXattrAt(fd, EMPTY, names.names.metacopy);
      if (!isErrno(removed) || removed === ENODATA) return 0;
      // it has no data yet
      truncateFd(fd, size);
      return removed;
    };
    const id = table.id(row);
    const filled = layer.state.copying(id, () => fillInPlace(layer, id, fd, fill));
    if (isErrno(filled)) return filled;
    // without effect on a file with data
    removeXattrAt(fd, EMPTY, names.names.redirect);
    table.setFlags(row, 0, METACOPY);
    dropAttributes(layer, id);
    return 0;
  } finally {
    closeFd(fd);
  }
}

/** Where a copy goes. */
interface Destination {
  readonly place: Place;
  readonly flags: number;
  /** The name that the row gets. */
  readonly name?: { readonly parent: number; readonly name: Uint8Array };
}

/** Makes a copy of an inode, and puts it to its place. @param prepare what the place needs before */
function copyInode(
  layer: Layer,
  lower: number,
  ino: number,
  extent: Extent,
  prepare: (file: Place) => Destination | Errno,
  touch: LastTouch | undefined,
): number | Errno {
  const type = (layer.tables.inodes.mode[lower] as number) & S_IFMT;
  const copy = makeCopy(layer, lower);
  if (isErrno(copy)) return copy;
  const filled = type === S_IFREG ? fill(layer, lower, ino, extent, copy) : type === S_IFDIR ? DIRECTORY : 0;
  const row = isErrno(filled) ? filled : publish(layer, lower, ino, copy, prepare, filled, touch);
  closeCopy(copy);
  if (isErrno(row)) removeTemporary(layer, copy.named);
  // it may be the copy of a killed server
  return isErrno(row) ? row : complete(layer, row, extent);
}

/** Gives a copy of a regular file its content. @returns flags for its row */
function fill(layer: Layer, lower: number, ino: number, extent: Extent, { fd }: Copy): number | Errno {
  const size = sizeOf(layer, lower);
  if (extent === 'metadata' && layer.settings.metacopy && size > 0) return markAsMetacopy(layer, lower, fd) || METACOPY;
  const length = Math.min(size, extent === 'metadata' ? ALL : extent);
  if (length === 0) return 0;
  return layer.state.copying(ino, () => copyContent(layer, u64(layer.tables.inodes.id, lower), fd, length));
}

/** Completes a copy, and moves it to its place. @param prepare what the place needs before */
function publish(
  layer: Layer,
  lower: number,
  ino: number,
  { file, named }: Copy,
  prepare: (file: Place) => Destination | Errno,
  flags: number,
  touch: LastTouch | undefined,
): number | Errno {
  const dressed = dress(layer, lower, ino, file, touch?.isOwning === true);
  const destination = isErrno(dressed) ? dressed : prepare(file);
  if (isErrno(destination)) return destination;
  const touched = touch?.apply(file) ?? 0;
  if (isErrno(touched)) return touched;
  const { place } = destination;
  const move = (): 0 | Errno => renameAt(named.dir, named.name, place.dir, place.name, RENAME_NOREPLACE);
  const moved = destination.name === undefined ? move() : keepingTime(place.dir, move);
  if (moved === EEXIST) {
    const row = addEarlierCopy(layer, lower, ino, destination);
    if (!isErrno(row)) removeTemporary(layer, named);
    return row;
  }
  if (isErrno(moved)) return moved;
  if (destination.name !== undefined) dropAttributes(layer, destination.name.parent);
  const row = addRow(layer, lower, ino, destination, flags);
  // the answer to the request has its attributes
  if (touch !== undefined && !isErrno(row)) touch.isApplied = true;
  else dropAttributes(layer, ino);
  return row;
}

/** Adds the copy that a server made which was killed before it could note it. EEXIST if it is another file. */
function addEarlierCopy(layer: Layer, lower: number, ino: number, destination: Destination): number | Errno {
  const { names, tables, status } = layer;
  const { dir, name } = destination.place;
  const looked = statusAt(dir, name, status);
  if (isErrno(looked)) return looked;
  const { mode } = status;
  if ((mode & S_IFMT) !== ((tables.inodes.mode[lower] as number) & S_IFMT)) return EEXIST;
  const xattrs = readLayerXattrs(names, dir, name, mode);
  if (isErrno(xattrs)) return xattrs;
  const { origin, own, metacopy } = xattrs;
  const isCopy = names.isPossible(mode)
    ? own?.id === ino || (origin !== undefined && 'id' in origin && origin.id === ino)
    : !isWhiteout(mode, status.rdev);
  if (!isCopy) return EEXIST;
  const isDirectory = isDirectoryMode(mode);
  return addRow(layer, lower, ino, destination, isDirectory ? DIRECTORY : metacopy === undefined ? 0 : METACOPY);
}

/** The place of an inode that has one name. */
function inPlace(layer: Layer, name: ImageName): Destination | Errno {
  const parent = copyDirectoryUp(layer, name.parent);
  if (isErrno(parent)) return parent;
  const marked = markImpure(layer, name.parent, parent);
  return isErrno(marked) ? marked : { place: { dir: parent, name: name.name }, flags: 0, name };
}

const amongOrphans = ({ directories }: Layer, ino: number): Destination => ({
  place: { dir: directories.orphans, name: orphanName(ino) },
  flags: ORPHAN,
});

/** The link count that users see is noted beside the file, because the image's names count, too. */
function inIndex(layer: Layer, lower: number, ino: number, file: Place): Destination | Errno {
  const { inodes } = layer.tables;
  // it still has all its names: removing one would have copied it up
  const value = encodeNlink({ to: 'upper', difference: (inodes.nlink[lower] as number) - 1 });
  const noted = setXattrAt(file.dir, file.name, layer.names.names.nlink, value, 0);
  if (isErrno(noted)) return noted;
  const name = indexName(layer.originFor(ino, inodes.generation[lower] as number));
  return { place: { dir: layer.directories.index, name }, flags: INDEXED };
}

function addRow(
  layer: Layer,
  lower: number,
  ino: number,
  { place, flags, name }: Destination,
  more: number,
): number | Errno {
  const { table, tables } = layer;
  const looked = statusAt(place.dir, place.name, layer.status);
  if (isErrno(looked)) return looked;
  const known = table.find(ino);
  const row = known >= 0 ? known : table.add(ino, tables.inodes.generation[lower] as number);
  if (row < 0) return ENOSPC;
  setFile(table, row, layer.status);
  setLower(table, row, lower);
  table.setFlags(row, UPPER | flags | more | (layer.linkNames?.direntOf(ino) === undefined ? 0 : NEW), 0);
  if (name === undefined) return row;
  if (!table.addName(row, name.parent, name.name)) return ENOSPC;
  countAdditionIn(layer, name.parent);
  return row;
}
