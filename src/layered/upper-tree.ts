/**
 * The files of the upper layer, by the rows of the table of identities: the place of each, and open descriptors.
 *
 * A path is never used as a whole, because it may be longer than the kernel allows: each directory is opened in its own
 * parent, and is kept open. No link is followed. Every thread has descriptors of its own, so none is closed under
 * another thread. `tidy` closes those that are too many between two operations, so that one stays valid within one.
 * Only directories that were deleted, and those that a walk of the whole layer has opened, are closed before.
 */

import { constants } from 'node:fs';
import {
  EACCES,
  EISDIR,
  ELOOP,
  ENOENT,
  ENOTDIR,
  ENXIO,
  EPERM,
  EROFS,
  type Errno,
  ESTALE,
  ETXTBSY,
  isErrno,
} from '../base/errno.ts';
import { ROOT_INO } from '../fs/filesystem.ts';
import { closeFd, openAt } from '../system/descriptors.ts';
import { emptyFileStatus, type FileStatus, statusAt, statusOf } from '../system/file-status.ts';
import { O_PATH } from '../system/libc.ts';
import { DIRECTORY, type IdentityTable, INDEXED, ORPHAN, UPPER } from '../upper/identity-table.ts';
import { indexName } from '../upper/overlay-names.ts';
import type { LayerDirectories } from './layer-parts.ts';
import type { LayerState } from './layer-state.ts';

/** A name in an open directory; an empty one is the directory itself. */
export interface Place {
  readonly dir: number;
  readonly name: Uint8Array;
}

interface OpenContent {
  readonly fd: number;
  readonly isWritable: boolean;
}

const EMPTY: Uint8Array = Uint8Array.of();
const DIRECTORY_PATH = O_PATH | constants.O_DIRECTORY | constants.O_NOFOLLOW;
const MOST_DIRECTORIES = 256;
const MOST_FILES = 32;
/** Descriptors of deleted directories keep next to nothing: they are looked for only now and then. */
const DELETIONS_A_SWEEP = 64;

/** The name of an inode among the orphans. */
export const orphanName = (ino: number): Uint8Array => Buffer.from(ino.toString(16).padStart(13, '0'), 'latin1');

/** The inverse; -1 for another name. */
export function parseOrphanName(name: Uint8Array): number {
  const text = Buffer.from(name).toString('latin1');
  return /^[0-9a-f]{13}$/.test(text) ? Number.parseInt(text, 16) : -1;
}

export class UpperTree {
  readonly #table: IdentityTable;
  readonly #directories: LayerDirectories;
  readonly #state: LayerState;
  readonly #searchFor: (row: number) => 0 | Errno;
  readonly #originFor: (id: number, generation: number) => Uint8Array;
  readonly #isReadOnly: boolean;
  /** By ino, the latest used last. */
  readonly #open = new Map<number, number>();
  /** The one that was used last. */
  #latest = 0;
  readonly #contents = new Map<number, OpenContent>();
  readonly #status: FileStatus = emptyFileStatus();
  #deletions = 0;
  #swept = 0;

  /**
   * @param searchFor finds the names of a row whose file is not at the place in the table; ENOENT if it has none
   * @param originFor the xattr `origin` for an inode of the image
   * @param isReadOnly no file is opened for writing
   */
  constructor(
    table: IdentityTable,
    directories: LayerDirectories,
    state: LayerState,
    searchFor: (row: number) => 0 | Errno,
    originFor: (id: number, generation: number) => Uint8Array,
    isReadOnly: boolean,
  ) {
    this.#originFor = originFor;
    this.#isReadOnly = isReadOnly;
    this.#table = table;
    this.#directories = directories;
    this.#state = state;
    this.#searchFor = searchFor;
    this.#deletions = this.#swept = state.deletions;
  }

  /** Called before an operation: closes descriptors that are too many, or whose files were deleted. */
  tidy(): void {
    if (this.#open.size > MOST_DIRECTORIES) this.#closeOldest();
    if (this.#contents.size > MOST_FILES) {
      for (const ino of this.#contents.keys()) {
        if (this.#contents.size <= MOST_FILES / 2) break;
        this.#forgetContent(ino);
      }
    }
    const { deletions } = this.#state;
    if (deletions - this.#swept >= DELETIONS_A_SWEEP) {
      this.#swept = deletions;
      for (const ino of this.#open.keys()) if (this.#table.find(ino) < 0) this.forgetDirectory(ino);
    }
    if (deletions === this.#deletions) return;
    this.#deletions = deletions;
    for (const ino of this.#contents.keys()) if (this.#table.find(ino) < 0) this.#forgetContent(ino);
  }

  #closeOldest(): void {
    for (const ino of this.#open.keys()) {
      if (this.#open.size <= MOST_DIRECTORIES / 2) return;
      this.forgetDirectory(ino);
    }
  }

  #forgetContent(ino: number): void {
    const content = this.#contents.get(ino);
    if (content === undefined) return;
    closeFd(content.fd);
    this.#contents.delete(ino);
  }

  /**
   * The place of a row's file in the upper layer, of which is known that the file is there: for changes. Some names of
   * a file may not be in the table, or others of it be out of date after a server was killed.
   */
  checkedPlace(row: number): Place | Errno {
    const looked = this.status(row, this.#status);
    return isErrno(looked) ? looked : this.place(row);
  }

  /** The place of a row's file in the upper layer by the table. ESTALE if it has none. */
  place(row: number): Place | Errno {
    const table = this.#table;
    const flags = table.flags(row);
    const ino = table.id(row);
    if ((flags & UPPER) === 0) return ESTALE;
    if (ino === ROOT_INO) return { dir: this.#directories.upper, name: EMPTY };
    if ((flags & ORPHAN) !== 0) return { dir: this.#directories.orphans, name: orphanName(ino) };
    const named = table.nameOf(row);
    if (named === undefined) {
      if ((flags & INDEXED) === 0) return ESTALE;
      return { dir: this.#directories.index, name: indexName(this.#originFor(ino, table.generation(row))) };
    }
    const dir = this.directory(named.parent);
    return isErrno(dir) ? dir : { dir, name: named.name };
  }

  /** As `status`, of a directory that is open without its place: that is not known to be right afterwards. */
  statusOfOpen(row: number, out: FileStatus): 0 | Errno {
    const ino = this.#table.id(row);
    const fd = ino === ROOT_INO ? this.#directories.upper : this.#open.get(ino);
    return fd === undefined ? this.status(row, out) : statusOf(fd, out);
  }

  /** Fills `out` with the status of a row's file. Corrects the table if the file has another place. */
  status(row: number, out: FileStatus): 0 | Errno {
    const first = this.#statusAt(row, out);
    if (first === 0 || !isMissing(first)) return first;
    return this.#again(row, first, () => this.#statusAt(row, out));
  }

  #statusAt(row: number, out: FileStatus): 0 | Errno {
    const place = this.place(row);
    if (isErrno(place)) return place;
    const result = statusAt(place.dir, place.name, out);
    if (isErrno(result)) return result;
    return this.isOf(row, out) ? 0 : ESTALE;
  }

  /** Whether a status is of the row's file, and not of another one with its name. */
  isOf(row: number, { inoLow, inoHigh }: FileStatus): boolean {
    return inoLow === this.#table.upperLow(row) && inoHigh === this.#table.upperHigh(row);
  }

  /** The open directory of an inode in the upper layer; ESTALE if it has none there. */
  directory(ino: number): number | Errno {
    if (ino === ROOT_INO) return this.#directories.upper;
    const known = this.#open.get(ino);
    if (known !== undefined) {
      // mostly the same one again and again
      if (ino !== this.#latest) {
        this.#open.delete(ino);
        this.#open.set(ino, known);
        this.#latest = ino;
      }
      return known;
    }
    const row = this.#table.find(ino);
    if (row < 0 || (this.#table.flags(row) & (UPPER | DIRECTORY)) !== (UPPER | DIRECTORY)) return ESTALE;
    const first = this.#openDirectory(row);
    const isWrong = isErrno(first) && isMissing(first);
    const fd = isWrong ? this.#again(row, first, () => this.#openDirectory(row)) : first;
    if (!isErrno(fd)) {
      this.#open.set(ino, fd);
      this.#latest = ino;
    }
    return fd;
  }

  #openDirectory(row: number): number | Errno {
    const place = this.place(row);
    if (isErrno(place)) return place;
    const fd = openAt(place.dir, place.name, DIRECTORY_PATH);
    if (isErrno(fd)) return fd;
    const status = statusOf(fd, this.#status);
    if (status === 0 && this.isOf(row, this.#status)) return fd;
    closeFd(fd);
    return isErrno(status) ? status : ESTALE;
  }

  /** The inodes of the directories that are open. */
  openDirectories(): ReadonlySet<number> {
    return new Set(this.#open.keys());
  }

  /** Closes directories that a walk has opened, if they are many; an operation may use those that are `kept`. */
  closeOthers(kept: ReadonlySet<number>): void {
    if (this.#open.size - kept.size <= MOST_DIRECTORIES) return;
    for (const ino of this.#open.keys()) if (!kept.has(ino)) this.forgetDirectory(ino);
  }

  /** Forgets a directory that no longer has this inode. */
  forgetDirectory(ino: number): void {
    const fd = this.#open.get(ino);
    if (fd === undefined) return;
    closeFd(fd);
    this.#open.delete(ino);
  }

  /**
   * A descriptor of a regular file for reading and writing, which this thread keeps. It is for this operation.
   * @param isForWriting else one that can only read may be returned
   */
  content(row: number, isForWriting: boolean): number | Errno {
    const ino = this.#table.id(row);
    const known = this.#contents.get(ino);
    if (known?.isWritable === true || (known !== undefined && !isForWriting)) return known.fd;
    this.#forgetContent(ino);
    const opened = this.openContent(row, isForWriting);
    if (!isErrno(opened)) this.#contents.set(ino, opened);
    return isErrno(opened) ? opened : opened.fd;
  }

  /** Tries once more after a search for the file. @param first the error that it had without */
  #again<T>(row: number, first: Errno, attempt: () => T): T | Errno {
    const found = this.#searchFor(row);
    if (found === 0) return attempt();
    return found === ENOENT ? first : found;
  }

  /** Whether something else is at the place of a row's file: an ordinary user cannot open a whiteout. */
  #isForeign(row: number): boolean {
    return this.#statusAt(row, this.#status) !== 0;
  }

  /** As `content`, for the caller to close. */
  openContent(row: number, isForWriting: boolean): OpenContent | Errno {
    const first = this.#openContentNow(row, isForWriting);
    const isWrong = isErrno(first) && (isElsewhere(first) || (first === EACCES && this.#isForeign(row)));
    return isWrong ? this.#again(row, first, () => this.#openContentNow(row, isForWriting)) : first;
  }

  #openContentNow(row: number, isForWriting: boolean): OpenContent | Errno {
    const place = this.place(row);
    if (isErrno(place)) return place;
    let isWritable = isForWriting || !this.#isReadOnly;
    let fd = openFile(place, isWritable ? constants.O_RDWR : constants.O_RDONLY);
    if (isErrno(fd) && !isForWriting && isOnlyForReading(fd)) {
      fd = openFile(place, constants.O_RDONLY);
      isWritable = false;
    }
    if (isErrno(fd)) return fd;
    const status = statusOf(fd, this.#status);
    if (status === 0 && this.isOf(row, this.#status)) return { fd, isWritable };
    closeFd(fd);
    return isErrno(status) ? status : ESTALE;
  }
}

const openFile = ({ dir, name }: Place, access: number): number | Errno =>
  openAt(dir, name, access | constants.O_NOFOLLOW | constants.O_NONBLOCK);

/** A file with `chattr +i`, or a program that runs. */
const isOnlyForReading = (errno: Errno): boolean =>
  errno === EPERM || errno === EACCES || errno === EROFS || errno === ETXTBSY;

const isMissing = (errno: Errno): boolean => errno === ENOENT || errno === ESTALE || errno === ENOTDIR;

/** At its place there is nothing, or a whiteout, a directory or a symbolic link: no regular file. */
const isElsewhere = (errno: Errno): boolean =>
  isMissing(errno) || errno === ENXIO || errno === EISDIR || errno === ELOOP;
