/** Making files: in their directory, or, in the place of a whiteout, in the work directory and renamed over it. */

import { EEXIST, ENOENT, ENOSPC, EPERM, type Errno, isErrno } from '../base/errno.ts';
import type { InodeIdentity } from '../base/handle-format.ts';
import { hasSetIds, PERMISSIONS, S_IFCHR, S_IFDIR, S_IFLNK, S_IFMT, S_IFREG, S_ISGID } from '../base/stat-bits.ts';
import type { WritableAttributes, Writer } from '../fs/writable-filesystem.ts';
import {
  chmodAt,
  makeDirectoryAt,
  makeNodeAt,
  makeSymlinkAt,
  RENAME_EXCHANGE,
  renameAt,
  unlinkAt,
} from '../system/directory-calls.ts';
import { statusAt, statusOf } from '../system/file-status.ts';
import { setXattrAt } from '../system/xattr-calls.ts';
import { DIRECTORY, NEW, OPAQUE, ORPHAN, UPPER } from '../upper/identity-table.ts';
import { isWhiteout, Y } from '../upper/overlay-format.ts';
import { fillFrom } from './attributes.ts';
import { copyDirectoryUp } from './copy-up.ts';
import { type Directory, directoryOf, isDirectoryMode, lowerHas } from './directories.ts';
import { entryOf } from './entries.ts';
import type { Layer } from './layer.ts';
import { countAddition, NO_CAPABILITIES, newIdentity, SEEN, setFile, setLower } from './layer-rows.ts';
import { readLayerXattrs, writeIdentity } from './layer-xattrs.ts';
import { hasDefaultAcl, inheritAcl, modeFor } from './permissions.ts';
import { makeTemporary, own, removeTemporary } from './temporary.ts';
import { orphanName, type Place } from './upper-tree.ts';

/** A file to be made. */
export interface NewFile {
  /** Type and permissions. */
  readonly mode: number;
  readonly rdev: number;
  /** The target of a symbolic link. */
  readonly target?: Uint8Array;
}

const SERVER_UID = process.geteuid?.() ?? 0;
const SERVER_GID = process.getegid?.() ?? 0;

/** A directory in the upper layer for a change of its names, copied up if need be. ENOENT if it was removed. */
export function directoryToChange(layer: Layer, ino: number): Directory | Errno {
  const copied = copyDirectoryUp(layer, ino);
  if (isErrno(copied)) return copied;
  const directory = directoryOf(layer, ino);
  if (isErrno(directory)) return directory;
  return (layer.table.flags(directory.row) & ORPHAN) !== 0 ? ENOENT : directory;
}

/** Makes a file with a name. @returns its row; `out` has its attributes */
export function makeFile(
  layer: Layer,
  parent: number,
  name: Uint8Array,
  file: NewFile,
  writer: Writer,
  out: WritableAttributes,
): number | Errno {
  // it would be a whiteout
  if ((file.mode & S_IFMT) === S_IFCHR && file.rdev === 0) return EPERM;
  const directory = directoryToChange(layer, parent);
  if (isErrno(directory)) return directory;
  const isInImage = lowerHas(layer, directory, name);
  const noted = writer.again ? writer.noted[0] : 0;
  const fresh = newIdentity(layer);
  const identity = noted > 0 ? { ...fresh, id: noted } : fresh;
  writer.note(identity.id, 0);
  if (!isInImage) {
    const mode = isLink(file) ? file.mode : modeFor(layer, directory, file.mode, writer.umask);
    const made = makeHere(layer, directory, name, { ...file, mode }, writer, identity);
    if (made !== EEXIST) {
      const place = { dir: directory.fd, name };
      const row = isErrno(made) ? made : published(layer, directory, name, identity, made, out, { ...place, mode });
      if (isErrno(row) && !isErrno(made)) removeTemporary(layer, place);
      return row;
    }
  }
  const there = statusAt(directory.fd, name, layer.status);
  if (there === ENOENT) return EEXIST;
  if (isErrno(there)) return there;
  if (isWhiteout(layer.status.mode, layer.status.rdev)) {
    const flags = makeOver(layer, directory, name, file, writer, identity);
    return isErrno(flags) ? flags : published(layer, directory, name, identity, flags, out);
  }
  return noted > 0 ? finish(layer, directory, name, file, writer, identity, out) : EEXIST;
}

/** The file may be that of an earlier server, which did not finish it. */
function finish(
  layer: Layer,
  directory: Directory,
  name: Uint8Array,
  file: NewFile,
  writer: Writer,
  identity: InodeIdentity,
  out: WritableAttributes,
): number | Errno {
  const { table, status } = layer;
  const isNoted = table.find(identity.id) >= 0 || table.findUpper(status.inoLow, status.inoHigh) >= 0;
  // before the file is adopted, which may give it an id
  const xattrs = isNoted ? undefined : readLayerXattrs(layer.names, directory.fd, name, status.mode);
  if (isErrno(xattrs)) return xattrs;
  const entry = entryOf(layer, directory, name);
  if (isErrno(entry)) return entry;
  if (entry.row >= 0 && table.id(entry.row) === identity.id) {
    const filled = fillFrom(layer, entry.row, status, out);
    return isErrno(filled) ? filled : entry.row;
  }
  if (xattrs === undefined || xattrs.own !== undefined || xattrs.origin !== undefined) return EEXIST;
  // it has no id yet: nothing else makes files
  table.remove(entry.row);
  const flags = dressNew(layer, directory, { dir: directory.fd, name }, file, writer, identity);
  return isErrno(flags) ? flags : published(layer, directory, name, identity, flags, out);
}

function makeNode(dir: number, name: Uint8Array, { mode, rdev, target }: NewFile): 0 | Errno {
  switch (mode & S_IFMT) {
    case S_IFDIR:
      return makeDirectoryAt(dir, name, mode & PERMISSIONS);
    case S_IFLNK:
      return makeSymlinkAt(dir, name, target as Uint8Array);
    default:
      return makeNodeAt(dir, name, mode, rdev);
  }
}

/**
 * Makes the file in its directory, from which it inherits.
 * @param file its mode without the writer's umask
 * @returns flags for its row
 */
function makeHere(
  layer: Layer,
  directory: Directory,
  name: Uint8Array,
  file: NewFile,
  writer: Writer,
  identity: InodeIdentity,
): number | Errno {
  const made = makeNode(directory.fd, name, file);
  if (isErrno(made)) return made;
  const place = { dir: directory.fd, name };
  const flags = dressNew(layer, directory, place, file, writer, identity);
  // what is reported as failed must not have a name
  if (isErrno(flags)) removeTemporary(layer, place);
  return flags;
}

/**
 * The umask of this process counts, too, if the directory has no default ACL: it may be that of a library's user. It
 * is not asked for, which would be two system calls: `layer.status` of the new file tells what it took away.
 */
function repairMode(layer: Layer, directory: Directory, { dir, name }: Place, mode: number): 0 | Errno {
  const { status } = layer;
  if ((mode & PERMISSIONS_OF_UMASK & ~status.mode) === 0 || (status.mode & S_IFMT) === S_IFLNK) return 0;
  if (hasDefaultAcl(layer, directory)) return 0;
  const changed = chmodAt(dir, name, (status.mode & PERMISSIONS) | (mode & PERMISSIONS_OF_UMASK));
  return isErrno(changed) ? changed : statusAt(dir, name, status);
}
const PERMISSIONS_OF_UMASK = 0o777;

const isLink = ({ mode }: NewFile): boolean => (mode & S_IFMT) === S_IFLNK;

/** Owner and the layer's xattrs of a file that was made in its directory. @returns flags for its row */
export function dressNew(
  layer: Layer,
  directory: Directory,
  { dir, name }: Place,
  file: NewFile,
  writer: Writer,
  identity: InodeIdentity,
): number | Errno {
  const owned = giveTo(layer, directory, { dir, name }, file, writer);
  if (isErrno(owned)) return owned;
  const named = writeIdentity(layer.names, dir, name, file.mode, identity);
  if (isErrno(named)) return named;
  if (!isDirectoryMode(file.mode)) return 0;
  // a new directory in a merged one is opaque, as in overlayfs: a later image may have the name
  return directory.lower < 0 ? DIRECTORY : makeOpaque(layer, dir, name);
}

/** Gives a file that the server made in its directory to the writer, and its group to that of a set-group directory. */
function giveTo(layer: Layer, { fd }: Directory, { dir, name }: Place, file: NewFile, writer: Writer): 0 | Errno {
  if (writer.uid === SERVER_UID && writer.gid === SERVER_GID) return 0;
  const parent = statusOf(fd, layer.status);
  if (isErrno(parent)) return parent;
  const hasGroup = (layer.status.mode & S_ISGID) !== 0;
  if (writer.uid === SERVER_UID && hasGroup) return 0;
  const owned = own(dir, name, writer.uid, hasGroup ? -1 : writer.gid, undefined);
  if (isErrno(owned) || isLink(file) || !hasSetIds(file.mode)) return owned;
  const looked = statusAt(dir, name, layer.status);
  return isErrno(looked) ? looked : chmodAt(dir, name, (layer.status.mode & 0o777) | (file.mode & 0o7000));
}

function makeOpaque(layer: Layer, dir: number, name: Uint8Array): number | Errno {
  const set = setXattrAt(dir, name, layer.names.names.opaque, Y, 0);
  return isErrno(set) ? set : DIRECTORY | OPAQUE;
}

/** Makes the file in the work directory, and renames it over the whiteout. @returns flags for its row */
function makeOver(
  layer: Layer,
  directory: Directory,
  name: Uint8Array,
  file: NewFile,
  writer: Writer,
  identity: InodeIdentity,
): number | Errno {
  const made = makeUnnamed(layer, directory, file, writer, identity);
  if (isErrno(made)) return made;
  const isDirectory = isDirectoryMode(file.mode);
  const flags = isDirectory ? makeOpaque(layer, made.dir, made.name) : 0;
  const moved = isErrno(flags) ? flags : moveOver(made, directory.fd, name, isDirectory);
  if (!isErrno(moved)) return flags;
  removeTemporary(layer, made);
  return moved;
}

/** Renames a temporary file over a whiteout. */
export function moveOver(from: Place, dir: number, name: Uint8Array, isDirectory: boolean): 0 | Errno {
  if (!isDirectory) return renameAt(from.dir, from.name, dir, name, 0);
  const exchanged = renameAt(from.dir, from.name, dir, name, RENAME_EXCHANGE);
  if (isErrno(exchanged)) return exchanged;
  // otherwise the next mount removes the whiteout
  unlinkAt(from.dir, from.name);
  return 0;
}

/** Makes a file in the work directory with all that it inherits from the directory that it is for. */
function makeUnnamed(
  layer: Layer,
  directory: Directory,
  file: NewFile,
  writer: Writer,
  identity: InodeIdentity,
): Place | Errno {
  const isDirectory = isDirectoryMode(file.mode);
  const requested = isLink(file) ? file.mode : modeFor(layer, directory, file.mode, writer.umask);
  const place = makeTemporary(layer, (dir, name) => makeNode(dir, name, { ...file, mode: requested }));
  if (isErrno(place)) return place;
  const { dir, name } = place;
  const mode = isLink(file) ? requested : inheritAcl(layer, directory, dir, name, requested, isDirectory);
  const dressed = isErrno(mode) ? mode : dressUnnamed(layer, directory, place, mode, writer, identity);
  if (!isErrno(dressed)) return place;
  removeTemporary(layer, place);
  return dressed;
}

function dressUnnamed(
  layer: Layer,
  directory: Directory,
  { dir, name }: Place,
  mode: number,
  writer: Writer,
  identity: InodeIdentity,
): 0 | Errno {
  const looked = statusOf(directory.fd, layer.status);
  if (isErrno(looked)) return looked;
  const hasGroup = (layer.status.mode & S_ISGID) !== 0;
  const isDirectory = isDirectoryMode(mode);
  const isSymlink = (mode & S_IFMT) === S_IFLNK;
  const bits = (mode & PERMISSIONS) | (hasGroup && isDirectory ? S_ISGID : 0);
  const owned = own(dir, name, writer.uid, hasGroup ? layer.status.gid : writer.gid, isSymlink ? undefined : bits);
  return isErrno(owned) ? owned : writeIdentity(layer.names, dir, name, mode, identity);
}

/** A file that was made in its directory: its name, or its descriptor; and the permissions that it is to have. */
interface MadePlace extends Place {
  readonly mode: number;
}

/** Adds the row of a new file. @param made if it was made in its directory */
export function published(
  layer: Layer,
  directory: Directory,
  name: Uint8Array,
  identity: InodeIdentity,
  flags: number,
  out: WritableAttributes,
  made?: MadePlace,
): number | Errno {
  const { table, status } = layer;
  const looked = made === undefined ? statusAt(directory.fd, name, status) : statusAt(made.dir, made.name, status);
  const repaired = isErrno(looked) || made === undefined ? looked : repairMode(layer, directory, made, made.mode);
  if (isErrno(repaired)) return repaired;
  const row = addNewRow(layer, identity, flags);
  if (isErrno(row)) return row;
  if (!table.addName(row, directory.ino, name)) {
    table.remove(row);
    return ENOSPC;
  }
  countAddition(table, directory.row);
  const filled = fillFrom(layer, row, status, out);
  return isErrno(filled) ? filled : row;
}

/** A row for a file with the status `layer.status`. */
function addNewRow({ table, status }: Layer, { id, generation }: InodeIdentity, flags: number): number | Errno {
  const stale = table.findUpper(status.inoLow, status.inoHigh);
  if (stale >= 0) table.remove(stale);
  const known = table.find(id);
  const row = known >= 0 ? known : table.add(id, generation);
  if (row < 0) return ENOSPC;
  setFile(table, row, status);
  setLower(table, row, -1);
  table.setFlags(row, UPPER | NEW | NO_CAPABILITIES | flags, SEEN & ~NO_CAPABILITIES);
  return row;
}

/** A regular file without a name, as a named orphan, so that it survives the server. @returns its row */
export function makeNameless(
  layer: Layer,
  parent: number,
  mode: number,
  writer: Writer,
  out: WritableAttributes,
): number | Errno {
  const directory = directoryToChange(layer, parent);
  if (isErrno(directory)) return directory;
  const noted = writer.again ? writer.noted[0] : 0;
  const known = noted > 0 ? layer.table.find(noted) : -1;
  if (known >= 0) {
    const looked = layer.tree.status(known, layer.status);
    const filled = isErrno(looked) ? looked : fillFrom(layer, known, layer.status, out);
    return isErrno(filled) ? filled : known;
  }
  const identity = newIdentity(layer);
  writer.note(identity.id, 0);
  const place = makeUnnamed(layer, directory, { mode: S_IFREG | mode, rdev: 0 }, writer, identity);
  if (isErrno(place)) return place;
  const orphan = orphanName(identity.id);
  const moved = renameAt(place.dir, place.name, layer.directories.orphans, orphan, 0);
  if (isErrno(moved)) {
    removeTemporary(layer, place);
    return moved;
  }
  const looked = statusAt(layer.directories.orphans, orphan, layer.status);
  if (isErrno(looked)) return looked;
  const row = addNewRow(layer, identity, ORPHAN);
  if (isErrno(row)) return row;
  const filled = fillFrom(layer, row, layer.status, out);
  return isErrno(filled) ? filled : row;
}
