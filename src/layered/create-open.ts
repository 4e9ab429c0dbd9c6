/** Making regular files that are open afterwards: the file is made by the call that opens it. */
import { EEXIST, type Errno, isErrno } from '../base/errno.ts';
import { PERMISSIONS, S_IFREG } from '../base/stat-bits.ts';
import type { OpenedContent, WritableAttributes, Writer } from '../fs/writable-filesystem.ts';
import { closeFd } from '../system/descriptors.ts';
import { createAt, unlinkAt } from '../system/directory-calls.ts';
import { noteMappable, openNew } from './content.ts';
import { directoryToChange, dressNew, makeFile, published } from './create.ts';
import { type Directory, lowerHas } from './directories.ts';
import type { Layer } from './layer.ts';
import { newIdentity } from './layer-rows.ts';
import { modeFor } from './permissions.ts';

const ITSELF: Uint8Array = Uint8Array.of();

/**
 * As `makeFile`, for a regular file.
 * @param mode its permissions
 * @param flags of open(2)
 * @returns a descriptor for reading and writing
 */
export function createFile(
  layer: Layer,
  parent: number,
  name: Uint8Array,
  mode: number,
  flags: number,
  writer: Writer,
  out: WritableAttributes,
): OpenedContent | Errno {
  const directory = directoryToChange(layer, parent);
  if (isErrno(directory)) return directory;
  const isPlain = !writer.again && !lowerHas(layer, directory, name);
  const made = isPlain ? createHere(layer, directory, name, mode, flags, writer, out) : EEXIST;
  if (made !== EEXIST) return made;
  // over a whiteout, or not at all
  const row = makeFile(layer, parent, name, { mode: S_IFREG | mode, rdev: 0 }, writer, out);
  return isErrno(row) ? row : openNew(layer, row, flags, out);
}

function createHere(
  layer: Layer,
  directory: Directory,
  name: Uint8Array,
  requested: number,
  openFlags: number,
  writer: Writer,
  out: WritableAttributes,
): OpenedContent | Errno {
  const mode = modeFor(layer, directory, S_IFREG | requested, writer.umask);
  const identity = newIdentity(layer);
  writer.note(identity.id, 0);
  const fd = createAt(directory.fd, name, mode & PERMISSIONS);
  if (isErrno(fd)) return fd;
  const place = { dir: fd, name: ITSELF, mode };
  const flags = dressNew(layer, directory, place, { mode, rdev: 0 }, writer, identity);
  const row = isErrno(flags) ? flags : published(layer, directory, name, identity, flags, out, place);
  if (!isErrno(row)) {
    noteMappable(layer, row, openFlags, out);
    return { fd };
  }
  closeFd(fd);
  unlinkAt(directory.fd, name);
  return row;
}
