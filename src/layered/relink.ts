/**
 * Giving names to inodes that have none, for checkpoints: docs/checkpoint.md.
 *
 * The kernel refuses link(2) of an inode without links before it asks. So a file among the orphans can be made
 * `linkable`: it is reported with one link then, and linkat(2) arrives as for any other file. Directories cannot be
 * linked at all: they are renamed here, and the kernel does not know of it until it looks the name up.
 */

import type { OrphanRequest } from '../base/checkpoint-structs.ts';
import {
  EEXIST,
  EINVAL,
  EISDIR,
  ENAMETOOLONG,
  ENOENT,
  ENOTDIR,
  EPERM,
  EROFS,
  type Errno,
  ESTALE,
  isErrno,
} from '../base/errno.ts';
import { emptyWritableAttributes, type WritableAttributes, type Writer } from '../fs/writable-filesystem.ts';
import type { CapabilityReach } from '../system/caller-capabilities.ts';
import { renameAt } from '../system/directory-calls.ts';
import { statusAt } from '../system/file-status.ts';
import { setXattrAt } from '../system/xattr-calls.ts';
import { addToClaim } from '../upper/claims.ts';
import { NEW, OPAQUE, ORPHAN } from '../upper/identity-table.ts';
import { Y } from '../upper/overlay-format.ts';
import { attributesOf, dropAttributes } from './attributes.ts';
import { changing } from './change-marks.ts';
import { copyUp } from './copy-up.ts';
import { directoryToChange, moveOver } from './create.ts';
import { isDirectoryMode } from './directories.ts';
import { entryOf } from './entries.ts';
import { markImpure } from './index-links.ts';
import type { Layer } from './layer.ts';
import { countAddition, LINKABLE } from './layer-rows.ts';
import { linkFile } from './link-file.ts';
import type { Place } from './upper-tree.ts';

const NAME_MAX = 255;
const NO_NAMES = ['', '.', '..'];
const attributes: WritableAttributes = emptyWritableAttributes();
const parentAttributes: WritableAttributes = emptyWritableAttributes();

/** Under the lock: answers CFS_IOC_LINKABLE or CFS_IOC_RELINK. @returns the number of links of the file */
export function answerOrphan(
  layer: Layer,
  own: number,
  request: OrphanRequest,
  isRelink: boolean,
  reach: Exclude<CapabilityReach, 'none'>,
): { readonly ino: number; readonly nlink: number } | Errno {
  const ino = request.ino === 0 ? own : request.ino;
  const looked = attributesOf(layer, ino, attributes);
  if (isErrno(looked)) return looked;
  if (request.ino !== 0 && attributes.generation !== request.generation) return ESTALE;
  if (reach !== 'all' && !reach.covers(attributes.uid, attributes.gid)) return EPERM;
  if (layer.settings.readOnly) return EROFS;
  const result = isRelink
    ? changing(layer, [ino, request.parent], () => relink(layer, ino, request))
    : setLinkable(layer, ino, request);
  if (isErrno(result)) return result;
  const after = attributesOf(layer, ino, attributes);
  return isErrno(after) ? after : { ino, nlink: attributes.nlink };
}

/** Makes a file without a name linkable, or takes that back. Nothing changes for one that has a name. */
function setLinkable(layer: Layer, ino: number, request: OrphanRequest): 0 | Errno {
  const { table } = layer;
  const recorded = recordClaim(layer, ino, request);
  if (isErrno(recorded)) return recorded;
  const row = table.find(ino);
  if (row < 0 || (table.flags(row) & ORPHAN) === 0) return 0;
  if (isDirectoryMode(attributes.mode)) return EISDIR;
  table.setFlags(row, request.isLinkable ? LINKABLE : 0, request.isLinkable ? 0 : LINKABLE);
  dropAttributes(layer, ino);
  return 0;
}

/** Before a name is given: whatever happens then, the claim has it. */
function recordClaim({ directories }: Layer, ino: number, { claim, parent, name }: OrphanRequest): 0 | Errno {
  if (claim === 0n) return 0;
  if (!isName(name)) return EINVAL;
  return addToClaim(directories.claims, claim, { ino, generation: attributes.generation, parent, name });
}

const isName = (name: Uint8Array): boolean =>
  !name.includes(0x2f) && !NO_NAMES.includes(Buffer.from(name).toString('latin1'));

function relink(layer: Layer, ino: number, request: OrphanRequest): 0 | Errno {
  const { table } = layer;
  const { parent, name } = request;
  if (!isName(name)) return EINVAL;
  if (name.length > NAME_MAX) return ENAMETOOLONG;
  const row = table.find(ino);
  const above = attributesOf(layer, parent, parentAttributes);
  if (isErrno(above)) return above;
  if (!isDirectoryMode(parentAttributes.mode)) return ENOTDIR;
  const directory = directoryToChange(layer, parent);
  if (isErrno(directory)) return directory;
  const existing = entryOf(layer, directory, name);
  if (!isErrno(existing)) {
    // a server that was killed has named it
    if (existing.row < 0 || table.id(existing.row) !== ino) return EEXIST;
    return named(layer, existing.row, parent);
  }
  if (existing !== ENOENT) return existing;
  // it has a name
  if (row < 0 || (table.flags(row) & ORPHAN) === 0) return EEXIST;
  const recorded = recordClaim(layer, ino, request);
  if (isErrno(recorded)) return recorded;
  const linked = isDirectoryMode(attributes.mode)
    ? moveDirectory(layer, ino, directory.fd, parent, name)
    : linkFile(layer, ino, parent, name, WRITER, attributes);
  return isErrno(linked) ? linked : named(layer, table.find(ino), parent);
}

/** The request may be carried out twice: its name is compared. */
const WRITER: Writer = { uid: 0, gid: 0, pid: 0, umask: 0, again: false, noted: [0, 0], note: () => undefined };

function named(layer: Layer, row: number, parent: number): 0 {
  const { table } = layer;
  table.setFlags(row, 0, ORPHAN | LINKABLE);
  dropAttributes(layer, table.id(row));
  dropAttributes(layer, parent);
  return 0;
}

/** Moves a removed directory, which is empty, to a name. It shows nothing of the image any more. */
function moveDirectory(layer: Layer, ino: number, dir: number, parent: number, name: Uint8Array): 0 | Errno {
  const { table, tree, names } = layer;
  const row = copyUp(layer, ino, 'metadata');
  if (isErrno(row)) return row;
  const place = tree.checkedPlace(row);
  if (isErrno(place)) return place;
  if ((table.flags(row) & NEW) === 0) {
    const marked = markImpure(layer, parent, dir);
    if (isErrno(marked)) return marked;
  }
  if ((table.flags(row) & OPAQUE) === 0) {
    const set = setXattrAt(place.dir, place.name, names.names.opaque, Y, 0);
    if (isErrno(set)) return set;
    table.setFlags(row, OPAQUE, 0);
  }
  const moved = moveTo(layer, place, dir, name);
  if (isErrno(moved)) return moved;
  // without room in the table, the name is found when it is looked up
  table.addName(row, parent, name);
  const above = table.find(parent);
  if (above >= 0) countAddition(table, above);
  return 0;
}

function moveTo(layer: Layer, place: Place, dir: number, name: Uint8Array): 0 | Errno {
  // what is there is a whiteout
  if (statusAt(dir, name, layer.status) === 0) return moveOver(place, dir, name, true);
  return renameAt(place.dir, place.name, dir, name, 0);
}
