/** Files that are not complete yet, in the work directory. Each mount empties it. */

import { equalBytes } from '../base/bytes.ts';
import { EEXIST, EMLINK, ENOENT, type Errno, isErrno } from '../base/errno.ts';
import { S_IFCHR } from '../base/stat-bits.ts';
import { chmodAt, chownAt, linkAt, makeNodeAt, unlinkAt } from '../system/directory-calls.ts';
import { errnoText } from '../system/libc.ts';
import { emptyDirectory, removeWithContents } from '../upper/empty-directory.ts';
import { isTemporaryName } from '../upper/overlay-names.ts';
import type { Layer } from './layer.ts';
import type { Place } from './upper-tree.ts';

/** Makes a file with an unused name in the work directory. */
export function makeTemporary(layer: Layer, make: (dir: number, name: Uint8Array) => number | Errno): Place | Errno {
  const dir = layer.directories.work;
  for (;;) {
    const name = Buffer.from(`#${layer.state.nextTemporary().toString(16)}`, 'latin1');
    const made = make(dir, name);
    if (!isErrno(made)) return { dir, name };
    // of a server before this one
    if (made !== EEXIST) return made;
  }
}

/** Removes a temporary file, or a directory with its contents; nothing if it is gone. */
export function removeTemporary(layer: Layer, { dir, name }: Place): void {
  const removed = removeWithContents(dir, name);
  if (isErrno(removed) && removed !== ENOENT) {
    layer.log(`a temporary file of the upper layer cannot be removed: ${errnoText(removed)}`);
  }
}

/** Removes the temporary files of a server that was killed. They may be links of files, which would count them. */
export function sweepTemporaries({ directories: { work } }: Layer): void {
  if (work >= 0) emptyDirectory(work, (name) => !isTemporaryName(name) || equalBytes(name, SHARED));
}

/** Owner, group and mode of a new file; set-id bits last, because a change of owner removes them. */
export function own(dir: number, name: Uint8Array, uid: number, gid: number, mode: number | undefined): 0 | Errno {
  const owned = chownAt(dir, name, uid, gid);
  return isErrno(owned) || mode === undefined ? owned : chmodAt(dir, name, mode);
}

/** The last whiteout that was made, which further ones are links of. */
const SHARED: Uint8Array = Buffer.from('#whiteout');

/**
 * Makes a whiteout: a hard link of one that all share, or a new one if that has too many names. EEXIST if the name is
 * taken.
 */
export function makeWhiteout(layer: Layer, dir: number, name: Uint8Array): 0 | Errno {
  const { work } = layer.directories;
  const linked = linkAt(work, SHARED, dir, name);
  if (linked === 0 || linked === EEXIST) return linked;
  if (linked === EMLINK) unlinkAt(work, SHARED);
  const made = makeNodeAt(work, SHARED, S_IFCHR, 0);
  if (isErrno(made) && made !== EEXIST) return made;
  const again = linkAt(work, SHARED, dir, name);
  return again === 0 || again === EEXIST ? again : makeNodeAt(dir, name, S_IFCHR, 0);
}
