/**
 * Rows that the table of identities has from an earlier mount. Users change the upper directory between two mounts, so
 * each of these rows is looked at once more before it is used: at its file's xattrs, when the file is looked up, or
 * here, when an inode is sought by its id alone.
 */
import { type Errno, isErrno } from '../base/errno.ts';
import { ROOT_INO } from '../fs/filesystem.ts';
import { directoryOf } from './directories.ts';
import { entryOf } from './entries.ts';
import type { Layer } from './layer.ts';
import { EARLIER } from './layer-rows.ts';
import { findId } from './scan.ts';

/** Inodes that are being looked for, by this thread: the search for one may ask for another. */
const sought = new Set<number>();

/** As `Layer.confirm`. */
export function confirmRow(layer: Layer, ino: number, mayWalk: boolean): 0 | Errno {
  if (!isEarlier(layer, ino) || sought.has(ino)) return 0;
  sought.add(ino);
  try {
    for (const id of pathTo(layer, ino)) if (isEarlier(layer, id)) lookAtNames(layer, id);
    if (!mayWalk || !isEarlier(layer, ino)) return 0;
    const found = findId(layer, ino);
    return isErrno(found) && isEarlier(layer, ino) ? found : 0;
  } finally {
    sought.delete(ino);
  }
}

function isEarlier({ table }: Layer, ino: number): boolean {
  const row = table.find(ino);
  return row >= 0 && (table.flags(row) & EARLIER) !== 0;
}

/** The inode and the directories above it that are not confirmed either, from above. */
function pathTo(layer: Layer, ino: number): number[] {
  const { table } = layer;
  const path = new Set<number>();
  for (let at = ino; at !== ROOT_INO && isEarlier(layer, at) && !path.has(at); ) {
    path.add(at);
    at = table.nameOf(table.find(at))?.parent ?? ROOT_INO;
  }
  return [...path].reverse();
}

/** Looks up the names that the row has: its file is confirmed if it is there, and so is any other. */
function lookAtNames(layer: Layer, ino: number): void {
  const { table } = layer;
  for (const { parent, name } of table.names(table.find(ino))) {
    if (isEarlier(layer, parent)) continue;
    const directory = directoryOf(layer, parent);
    if (!isErrno(directory) && directory.fd >= 0) entryOf(layer, directory, name);
    if (!isEarlier(layer, ino)) return;
  }
}
