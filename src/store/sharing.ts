/**
 * Stores that several users write to. A store is shared where its directory may be written by its group: what is made in a
 * directory of it then gets that directory's group, and its mode for all but the owner, whatever the umask of the user is
 * (as git's core.sharedRepository). docs/repository.md has the rules.
 */
import { chmodSync, chownSync, fchownSync, fstatSync, type Stats } from 'node:fs';
import { errnoOf } from '../base/errno.ts';
import { fchmodSync } from '../system/file-calls.ts';

const GROUP_WRITES = 0o020;
const SET_GROUP_ID = 0o2000;
const READ = 0o444;

type Access = Pick<Stats, 'mode' | 'gid'>;

const isShared = ({ mode }: Access): boolean => (mode & GROUP_WRITES) !== 0;

/** @param parent the open directory that it was made in. @param fd of the new directory; it may only name it */
export function shareDirectory(parent: number, fd: number): void {
  const above = fstatSync(parent);
  if (!isShared(above)) return;
  // fchmod(2) takes no descriptor that only names a file
  const path = `/proc/self/fd/${fd}`;
  const own = fstatSync(fd);
  if (own.gid !== above.gid) toGroup(() => chownSync(path, own.uid, above.gid));
  const mode = above.mode & (0o777 | SET_GROUP_ID);
  if ((own.mode & (0o777 | SET_GROUP_ID)) !== mode) chmodSync(path, mode);
}

/** Files that are made one after another in one directory, all in the same way. */
export class FileSharing {
  readonly #above: Access;
  readonly #mode: number;
  #isNeeded: boolean | undefined;

  /**
   * @param directory open
   * @param mode that the files are made with; the right to read is given to those that may read the directory
   */
  constructor(directory: number, mode: number) {
    this.#above = fstatSync(directory);
    this.#mode = mode & READ & this.#above.mode;
    if (!isShared(this.#above)) this.#isNeeded = false;
  }

  /** Gives a new file to whoever shares the store. What the first one does not need the others do not. */
  share(fd: number): void {
    if (this.#isNeeded === false) return;
    const { mode, uid, gid } = fstatSync(fd);
    const lacks = this.#mode & ~mode;
    this.#isNeeded = lacks !== 0 || gid !== this.#above.gid;
    if (gid !== this.#above.gid) toGroup(() => fchownSync(fd, uid, this.#above.gid));
    if (lacks !== 0) fchmodSync(fd, (mode & 0o777) | lacks);
  }
}

/** A user that is not in the group writes there by other means, such as an ACL. */
function toGroup(change: () => void): void {
  try {
    change();
  } catch (error) {
    if (errnoOf(error) === undefined) throw error;
  }
}

/**
 * The mode of a shared store's directory.
 * @param word "group", "all", or the mode of its files in octal, such as 0660
 * @returns undefined for what shares no store
 */
export function sharedMode(word: string): number | undefined {
  const file = { group: 0o660, all: 0o664 }[word] ?? (/^0[0-7]{3}$/.test(word) ? Number.parseInt(word, 8) : 0);
  // no execution, owner and group read and write, others at most read
  if ((file & 0o113) !== 0 || (file & 0o660) !== 0o660) return undefined;
  return file | ((file & READ) >> 2) | SET_GROUP_ID;
}
