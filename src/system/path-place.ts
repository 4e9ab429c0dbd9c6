/**
 * The file system of a path, even if the path no longer exists. So a deleted file can be distinguished from one whose
 * disk is not mounted now, or that is in another container.
 */
import { closeSync, constants, fstatSync, openSync } from 'node:fs';
import { dirname } from 'node:path';
import { toHex } from '../base/bytes.ts';
import { EACCES, ENOENT, ENOTDIR, errnoOf, isErrno } from '../base/errno.ts';
import { statFileSystem } from './file-status.ts';
import { fileSystemUuid } from './file-system-uuid.ts';
import { O_PATH } from './libc.ts';
import { mountIdOfFd, mountOfId } from './mount-table.ts';

export interface PathPlace {
  /** Of the file system; bytes as latin1 text. Empty if unknown. */
  readonly mountpoint: string;
  /** Hexadecimal; empty if unknown. */
  readonly uuid: string;
  /** f_fsid of statfs(2), hexadecimal; empty if the file system has none. */
  readonly fsid: string;
}

/**
 * The place of `path`, determined by the nearest existing directory above it.
 * @throws errors of node:fs if it cannot be examined
 */
export function placeOfPath(path: string): PathPlace {
  const fd = openNearest(dirname(path));
  try {
    const mount = mountOfId(mountIdOfFd(fd));
    const stat = statFileSystem(fd);
    const words = isErrno(stat) ? [0, 0] : stat.id;
    const uuid = fileSystemUuid(fd, fstatSync(fd).dev);
    return {
      mountpoint: mount === undefined ? '' : Buffer.from(mount.mountpointBytes).toString('latin1'),
      uuid: uuid === undefined ? '' : toHex(uuid),
      fsid: words.every((word) => word === 0) ? '' : words.map((word) => word.toString(16).padStart(8, '0')).join(''),
    };
  } finally {
    closeSync(fd);
  }
}

function openNearest(directory: string): number {
  for (let at = directory; ; at = dirname(at)) {
    try {
      return openDirectory(at);
    } catch (error) {
      const errno = errnoOf(error);
      if ((errno !== ENOENT && errno !== ENOTDIR) || at === dirname(at)) throw error;
    }
  }
}

/** An unreadable directory can be named nevertheless; its uuid is then unknown. */
function openDirectory(path: string): number {
  try {
    return openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
  } catch (error) {
    if (errnoOf(error) !== EACCES) throw error;
    return openSync(path, O_PATH | constants.O_DIRECTORY);
  }
}

/** Whether both are the same file system at the same mount point, as far as known. */
export function isSamePlace(a: PathPlace, b: PathPlace): boolean {
  if (a.mountpoint !== b.mountpoint) return false;
  if (a.uuid !== '' && b.uuid !== '') return a.uuid === b.uuid;
  return a.fsid === '' || b.fsid === '' || a.fsid === b.fsid;
}
