/**
 * Removes all that is in a directory of which nothing is known: names of any bytes, trees of any depth and size, links
 * and special files. No link is followed, and no other mount is entered.
 *
 * A directory that is not empty is emptied of its files; its subdirectories are moved up, below the directory that is
 * to be emptied, and come next. So two directories are open at most, however deep the tree is.
 */
import { constants } from 'node:fs';
import {
  EACCES,
  EBUSY,
  EEXIST,
  EISDIR,
  ENOENT,
  ENOTDIR,
  ENOTEMPTY,
  EPERM,
  type Errno,
  isErrno,
} from '../base/errno.ts';
import { closeFd, openAt } from '../system/descriptors.ts';
import { chmodAt, RENAME_NOREPLACE, removeDirectoryAt, renameAt, unlinkAt } from '../system/directory-calls.ts';
import { readDirectory } from '../system/directory-listing.ts';
import { mountIdOfFd } from '../system/mount-table.ts';

const DT_DIR = 4;
const OPEN = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;

/** An entry that could not be removed. */
export interface Leftover {
  readonly name: Uint8Array;
  readonly errno: Errno;
}

/**
 * Empties the open directory `dir`.
 * @param keeps whether an entry of `dir` itself stays
 * @returns the first entry that cannot be removed: EBUSY if something is mounted there
 */
export function emptyDirectory(dir: number, keeps: (name: Uint8Array) => boolean): Leftover | undefined {
  const mountId = mountIdOfFd(dir);
  let moved = 0;
  const moveUp = (from: number, name: Uint8Array): 0 | Errno => {
    for (;;) {
      const result = renameAt(from, name, dir, Buffer.from(`#remove-${moved++}`), RENAME_NOREPLACE);
      if (result !== EEXIST) return result;
    }
  };
  for (;;) {
    let removed = 0;
    let leftover: Leftover | undefined;
    const listed = readDirectory(dir, (name, type) => {
      if (leftover !== undefined || keeps(name)) return;
      const errno = removeTree(dir, name, type, mountId, moveUp);
      if (errno === 0) removed++;
      else leftover = { name, errno };
    });
    if (leftover !== undefined) return leftover;
    if (isErrno(listed)) return { name: Uint8Array.of(), errno: listed };
    // a listing may lack entries that were moved up in the meantime
    if (removed === 0) return undefined;
  }
}

/**
 * Removes a file, or a directory with its contents.
 * @returns the error of unlinkat(2) for a file, and of AT_REMOVEDIR for a directory that cannot be emptied
 */
export function removeWithContents(dir: number, name: Uint8Array): 0 | Errno {
  const removed = unlinkAt(dir, name);
  if (removed === 0 || removeDirectoryAt(dir, name) === 0) return 0;
  const fd = openAt(dir, name, OPEN);
  // not a directory
  if (isErrno(fd)) return removed;
  emptyDirectory(fd, () => false);
  closeFd(fd);
  return removeDirectoryAt(dir, name);
}

type MoveUp = (from: number, name: Uint8Array) => 0 | Errno;

function removeTree(
  dir: number,
  name: Uint8Array,
  type: number,
  mountId: number | undefined,
  moveUp: MoveUp,
): 0 | Errno {
  const removed = remove(dir, name, type);
  if (removed !== ENOTEMPTY && removed !== EEXIST) return removed;
  const fd = openToEmpty(dir, name);
  if (isErrno(fd)) return fd;
  try {
    if (mountIdOfFd(fd) !== mountId) return EBUSY;
    const failure = emptyOf(fd, moveUp);
    return failure === 0 ? remove(dir, name, DT_DIR) : failure;
  } finally {
    closeFd(fd);
  }
}

/** Moves subdirectories that are not empty up, and removes the rest. */
function emptyOf(fd: number, moveUp: MoveUp): 0 | Errno {
  for (;;) {
    let found = 0;
    let failure: 0 | Errno = 0;
    const listed = readDirectory(fd, (name, type) => {
      if (failure !== 0) return;
      found++;
      const removed = remove(fd, name, type);
      failure = removed === ENOTEMPTY || removed === EEXIST ? moved(fd, name, moveUp) : removed;
    });
    if (failure !== 0) return failure;
    if (isErrno(listed) || found === 0) return listed;
  }
}

/** An ordinary user may move only directories that he may write to. */
function moved(fd: number, name: Uint8Array, moveUp: MoveUp): 0 | Errno {
  const result = moveUp(fd, name);
  if (result !== EACCES) return result;
  const changed = chmodAt(fd, name, 0o700);
  return isErrno(changed) ? result : moveUp(fd, name);
}

function openToEmpty(dir: number, name: Uint8Array): number | Errno {
  // an ordinary user may have directories without permissions; if this fails, the next step fails, too
  if (process.geteuid?.() !== 0) chmodAt(dir, name, 0o700);
  return openAt(dir, name, OPEN);
}

/** Removes a file or an empty directory. A name that is gone counts as removed. */
function remove(dir: number, name: Uint8Array, type: number): 0 | Errno {
  if (type !== DT_DIR) {
    const result = unlinkAt(dir, name);
    if (result === 0 || result === ENOENT) return 0;
    // EPERM: POSIX's answer for a directory; or the file may not be removed
    if (result !== EISDIR && result !== EPERM) return result;
    const asDirectory = removeDirectoryAt(dir, name);
    return asDirectory === ENOTDIR ? result : asDirectory;
  }
  const result = removeDirectoryAt(dir, name);
  return result === ENOENT ? 0 : result;
}
