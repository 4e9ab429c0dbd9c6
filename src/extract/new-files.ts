/**
 * Makes files in open directories. A file gets its name when it is complete; before that it has none, or one that
 * begins with `.cfs-extract.`. A file, link or empty directory that has its name already is replaced, never followed.
 */
import { EEXIST, EINVAL, EISDIR, ENOTEMPTY, EOPNOTSUPP, EPERM, type Errno, isErrno } from '../base/errno.ts';
import { S_IFBLK, S_IFCHR, S_IFLNK, S_IFMT, S_IFREG } from '../base/stat-bits.ts';
import { linkTarget } from '../manifest/lookup.ts';
import type { ManifestTables } from '../manifest/tables.ts';
import { closeFd, openNameless } from '../system/descriptors.ts';
import {
  createAt,
  linkAt,
  makeNodeAt,
  makeSymlinkAt,
  removeDirectoryAt,
  renameAt,
  unlinkAt,
} from '../system/directory-calls.ts';
import { linkFd } from '../system/names.ts';

/** Until it is complete only its owner may open it. */
const PRIVATE_MODE = 0o600;

/** One per thread. */
export class NewFiles {
  readonly #tables: ManifestTables;
  readonly #prefix: string;
  #serial = 0;
  #nameless = true;

  /** @param prefix of temporary names; unique among all that write into the target */
  constructor(tables: ManifestTables, prefix: string) {
    this.#tables = tables;
    this.#prefix = `.cfs-extract.${prefix}`;
  }

  /**
   * Makes a regular file.
   * @param fill writes its content and attributes through a descriptor
   * @throws what `fill` throws; then there is no file
   */
  makeFile(dir: number, name: Uint8Array, fill: (fd: number) => 0 | Errno): 0 | Errno {
    const nameless = this.#nameless ? openNameless(dir, PRIVATE_MODE) : EOPNOTSUPP;
    if (!isErrno(nameless)) {
      try {
        const filled = fill(nameless);
        return isErrno(filled) ? filled : this.#nameFd(nameless, dir, name);
      } finally {
        closeFd(nameless);
      }
    }
    if (nameless !== EOPNOTSUPP && nameless !== EISDIR && nameless !== EINVAL) return nameless;
    this.#nameless = false;
    const temporary = this.#temporaryName();
    const fd = createAt(dir, temporary, PRIVATE_MODE);
    if (isErrno(fd)) return fd;
    let done = false;
    try {
      const filled = fill(fd);
      const named = isErrno(filled) ? filled : this.#replace(dir, temporary, name);
      done = !isErrno(named);
      return named;
    } finally {
      closeFd(fd);
      if (!done) unlinkAt(dir, temporary);
    }
  }

  /**
   * Makes a file of another type than regular and directory.
   * @param dress sets its attributes through the directory and a name
   */
  makeSpecial(dir: number, name: Uint8Array, row: number, dress: (dir: number, name: Uint8Array) => void): 0 | Errno {
    const mode = this.#tables.inodes.mode[row] as number;
    const temporary = this.#temporaryName();
    const type = mode & S_IFMT;
    const made =
      type === S_IFLNK
        ? makeSymlinkAt(dir, temporary, linkTarget(this.#tables, row))
        : makeNodeAt(dir, temporary, type | PRIVATE_MODE, this.#tables.inodes.rdev[row] as number);
    if (isErrno(made)) return made;
    dress(dir, temporary);
    return this.#orRemoved(dir, temporary, this.#replace(dir, temporary, name));
  }

  /** Makes a further name of a file. */
  link(fromDir: number, from: Uint8Array, dir: number, name: Uint8Array): 0 | Errno {
    const linked = linkAt(fromDir, from, dir, name);
    if (linked !== EEXIST) return linked;
    const temporary = this.#temporaryName();
    const made = linkAt(fromDir, from, dir, temporary);
    return isErrno(made) ? made : this.#orRemoved(dir, temporary, this.#replace(dir, temporary, name));
  }

  #nameFd(fd: number, dir: number, name: Uint8Array): 0 | Errno {
    const linked = linkFd(fd, dir, name);
    if (linked !== EEXIST) return linked;
    const temporary = this.#temporaryName();
    const named = linkFd(fd, dir, temporary);
    return isErrno(named) ? named : this.#orRemoved(dir, temporary, this.#replace(dir, temporary, name));
  }

  /** Gives a file its name, in one step. */
  #replace(dir: number, temporary: Uint8Array, name: Uint8Array): 0 | Errno {
    const renamed = renameAt(dir, temporary, dir, name, 0);
    if (renamed !== EISDIR && renamed !== ENOTEMPTY && renamed !== EEXIST) return renamed;
    const removed = removeDirectoryAt(dir, name);
    return isErrno(removed) ? removed : renameAt(dir, temporary, dir, name, 0);
  }

  /** After a rename between two names of one file both are there. */
  #orRemoved(dir: number, temporary: Uint8Array, result: 0 | Errno): 0 | Errno {
    unlinkAt(dir, temporary);
    return result;
  }

  #temporaryName(): Uint8Array {
    return Buffer.from(`${this.#prefix}.${this.#serial++}`);
  }
}

/** Whether only a privileged user may make such a file, and this error says so. */
export function isPrivilege(tables: ManifestTables, row: number, errno: Errno): boolean {
  const type = (tables.inodes.mode[row] as number) & S_IFMT;
  return errno === EPERM && (type === S_IFCHR || type === S_IFBLK);
}

export const isRegular = (tables: ManifestTables, row: number): boolean =>
  ((tables.inodes.mode[row] as number) & S_IFMT) === S_IFREG;
