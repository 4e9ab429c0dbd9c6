/**
 * Repositories that several users write to. A repository is shared if its directory is group-writable. A file or
 * directory created in a directory of it then gets that directory's group, and its mode for all but the owner, whatever
 * the umask of the user (like git's core.sharedRepository). docs/repository.md has the rules.
 */

import { chmodSync, chownSync, fchownSync, fstatSync, type Stats } from 'node:fs';
import { errnoOf } from '../base/errno.ts';
import { S_IWGRP } from '../base/stat-bits.ts';
import { fchmodSync } from '../system/file-calls.ts';

const SET_GROUP_ID = 0o2000;
const READ = 0o444;

type Access = Pick<Stats, 'mode' | 'gid'>;

const isShared = ({ mode }: Access): boolean => (mode & S_IWGRP) !== 0;

/**
 * @param parent the open directory that it was created in. @param fd of the new directory; it may be an O_PATH
 * descriptor
 */
export function shareDirectory(parent: number, fd: number): void {
  const above = fstatSync(parent);
  if (!isShared(above)) return;
  // fchmod(2) refuses an O_PATH descriptor
  const path = `/proc/self/fd/${fd}`;
  const own = fstatSync(fd);
  if (own.gid !== above.gid) toGroup(() => chownSync(path, own.uid, above.gid));
  const mode = above.mode & (0o777 | SET_GROUP_ID);
  if ((own.mode & (0o777 | SET_GROUP_ID)) !== mode) chmodSync(path, mode);
}

/** Files that are created one after another in one directory, all with the same mode. */
export class FileSharing {
  readonly #above: Access;
  readonly #mode: number;
  #isNeeded: boolean | undefined;

  /**
   * @param directory open
   * @param mode the mode that the files are created with; read permission is granted to users that may read the
   *   directory
   */
  constructor(directory: number, mode: number) {
    this.#above = fstatSync(directory);
    this.#mode = mode & READ & this.#above.mode;
    if (!isShared(this.#above)) this.#isNeeded = false;
  }

  /**
   * Gives a new file to the users that share the repository. If the first one needs no change, the others do not
   * either.
   */
  share(fd: number): void {
    if (this.#isNeeded === false) return;
    const { mode, uid, gid } = fstatSync(fd);
    const lacks = this.#mode & ~mode;
    this.#isNeeded = lacks !== 0 || gid !== this.#above.gid;
    if (gid !== this.#above.gid) toGroup(() => fchownSync(fd, uid, this.#above.gid));
    if (lacks !== 0) fchmodSync(fd, (mode & 0o777) | lacks);
  }
}

/** A user that is not in the group has write permission by other means, such as an ACL. */
function toGroup(change: () => void): void {
  try {
    change();
  } catch (error) {
    if (errnoOf(error) === undefined) throw error;
  }
}

/**
 * The mode of a shared repository's directory.
 * @param word "group", "all", or the mode of its files in octal, such as 0660
 * @returns undefined for a mode that shares nothing
 */
export function sharedMode(word: string): number | undefined {
  const file = { group: 0o660, all: 0o664 }[word] ?? (/^0[0-7]{3}$/.test(word) ? Number.parseInt(word, 8) : 0);
  // no execution, owner and group read and write, others at most read
  if ((file & 0o113) !== 0 || (file & 0o660) !== 0o660) return undefined;
  return file | ((file & READ) >> 2) | SET_GROUP_ID;
}
