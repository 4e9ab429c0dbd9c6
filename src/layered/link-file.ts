/** Adding a name to an inode of a layered file system. */
import { EEXIST, ENOENT, ENOSPC, type Errno, isErrno } from '../base/errno.ts';
import type { WritableAttributes, Writer } from '../fs/writable-filesystem.ts';
import { linkAt, renameAt } from '../system/directory-calls.ts';
import { statusAt } from '../system/file-status.ts';
import { NEW, ORPHAN } from '../upper/identity-table.ts';
import { fillFrom } from './attributes.ts';
import { ALL, copyUp } from './copy-up.ts';
import { directoryToChange } from './create.ts';
import type { Directory } from './directories.ts';
import { entryOf } from './entries.ts';
import { countByUpper, markImpure } from './index-links.ts';
import type { Layer } from './layer.ts';
import { countAddition, LINKABLE } from './layer-rows.ts';
import { needsRedirect, writeRedirect } from './redirects.ts';
import { makeTemporary, removeTemporary } from './temporary.ts';
import type { Place } from './upper-tree.ts';

/** As `WritableFilesystem.link`. */
export function linkFile(
  layer: Layer,
  ino: number,
  parent: number,
  name: Uint8Array,
  writer: Writer,
  out: WritableAttributes,
): 0 | Errno {
  const { table } = layer;
  const directory = directoryToChange(layer, parent);
  if (isErrno(directory)) return directory;
  const existing = entryOf(layer, directory, name);
  if (!isErrno(existing)) {
    const isDone = writer.again && existing.row >= 0 && table.id(existing.row) === ino;
    return isDone ? linked(layer, existing.row, directory, name, out) : EEXIST;
  }
  if (existing !== ENOENT) return existing;
  let row = copyUp(layer, ino, 'metadata');
  if (isErrno(row)) return row;
  if (needsRedirect(layer, row)) {
    const written = writeRedirect(layer, row, false);
    // the path is too long for a redirect
    if (isErrno(written)) row = copyUp(layer, ino, ALL);
    if (isErrno(row)) return row;
  }
  if ((table.flags(row) & NEW) === 0) {
    const marked = markImpure(layer, parent, directory.fd);
    if (isErrno(marked)) return marked;
  }
  const counted = countByUpper(layer, row);
  if (isErrno(counted)) return counted;
  writer.note(ino, 0);
  const place = layer.tree.checkedPlace(row);
  if (isErrno(place)) return place;
  const isOrphan = (table.flags(row) & ORPHAN) !== 0;
  const made = isOrphan
    ? renameAt(place.dir, place.name, directory.fd, name, 0)
    : linkTo(layer, place, directory.fd, name);
  if (isErrno(made)) return made;
  return linked(layer, row, directory, name, out);
}

/** Links a file to a name that has no entry: there is nothing, or a whiteout. */
function linkTo(layer: Layer, from: Place, dir: number, name: Uint8Array): 0 | Errno {
  const linked = linkAt(from.dir, from.name, dir, name);
  if (linked !== EEXIST) return linked;
  const place = makeTemporary(layer, (work, temporary) => linkAt(from.dir, from.name, work, temporary));
  if (isErrno(place)) return place;
  const moved = renameAt(place.dir, place.name, dir, name, 0);
  if (isErrno(moved)) removeTemporary(layer, place);
  return moved;
}

function linked(layer: Layer, row: number, directory: Directory, name: Uint8Array, out: WritableAttributes): 0 | Errno {
  if (!layer.table.addName(row, directory.ino, name)) return ENOSPC;
  layer.table.setFlags(row, 0, ORPHAN | LINKABLE);
  countAddition(layer.table, directory.row);
  const looked = statusAt(directory.fd, name, layer.status);
  return isErrno(looked) ? looked : fillFrom(layer, row, layer.status, out);
}
