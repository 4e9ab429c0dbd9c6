/**
 * The files of a repository as its writers create them: first without a name, or in tmp/, then under the name of the
 * object. Names are relative to directories that are kept open: measured, this and avoiding node's functions saves half
 * of the time for a small object, apart from the kernel's work.
 */
import { constants } from 'node:fs';
import { toHex, writeHex } from '../base/bytes.ts';
import {
  EEXIST,
  EINVAL,
  EISDIR,
  EMFILE,
  ENFILE,
  ENOSYS,
  EOPNOTSUPP,
  type Errno,
  errnoOf,
  isErrno,
} from '../base/errno.ts';
import { closeFd } from '../system/descriptors.ts';
import {
  linkAt,
  linkFd,
  openAt,
  openNameless,
  renameNoReplaceAt,
  statAt,
  syncfs,
  unlinkAt,
} from '../system/file-calls.ts';
import { systemError } from '../system/libc.ts';
import type { LocalRepository } from './local-repository.ts';
import { FileSharing } from './sharing.ts';
import { isRegular, type StoreDirectory } from './store-directory.ts';

const NEW_FILE = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL;
/** Objects are read-only for all users, less the umask. */
const MODE = 0o444;

/** A file that is not an object yet. Its owner calls `publish`, `setAside` or `discard`. */
export interface NewFile {
  /** Open for reading and writing; -1 once it was set aside. */
  fd: number;
  /** In tmp/; undefined: it has no name, and vanishes when it is closed. */
  readonly name: Uint8Array | undefined;
}

export class ObjectFiles {
  readonly #repository: LocalRepository;
  readonly #prefix: string;
  /** By the first byte of the digests in it, in the order in which they were opened. */
  readonly #directories = new Map<number, StoreDirectory>();
  readonly #most: number;
  /**
   * The repository's: all others are opened from it, so that they belong to one repository whatever happens to its
   * path.
   */
  #root: StoreDirectory | undefined;
  #temporary: StoreDirectory | undefined;
  #sharing: FileSharing | undefined;
  #nameless: boolean;
  #serial = 0;

  /**
   * @param prefix of the name of each file in tmp/; unique among all writers of the repository
   * @param nameless create files without a name, if the file system supports them; they cannot be set aside
   * @param most the number of directories of objects that are kept open
   */
  constructor(repository: LocalRepository, prefix: string, nameless: boolean, most = 256) {
    this.#repository = repository;
    this.#prefix = prefix;
    this.#nameless = nameless;
    this.#most = Math.max(1, most);
  }

  /** The size of the object's file, or an errno; 0, which no object has, if it is not a regular file. */
  size(digest: Uint8Array): number | Errno {
    const stat = statAt(this.#directoryOf(digest), nameOf(digest));
    if (isErrno(stat)) return stat;
    return isRegular(stat) ? stat.size : 0;
  }

  create(): NewFile {
    const directory = this.#temporaryDirectory();
    if (this.#nameless) {
      const fd = this.#unlessFull(() => openNameless(directory, MODE));
      if (!isErrno(fd)) return this.#shared({ fd, name: undefined });
      if (fd !== EOPNOTSUPP && fd !== EISDIR && fd !== EINVAL) throw this.#error(fd, 'open', 'tmp');
      this.#nameless = false;
    }
    const name = Buffer.from(`${this.#prefix}${this.#serial++}`);
    const fd = this.#unlessFull(() => openAt(directory, name, NEW_FILE, MODE));
    if (isErrno(fd)) throw this.#error(fd, 'open', 'tmp');
    return this.#shared({ fd, name });
  }

  #shared(file: NewFile): NewFile {
    try {
      this.#sharing ??= new FileSharing(this.#temporaryDirectory(), MODE);
      this.#sharing.share(file.fd);
      return file;
    } catch (error) {
      this.discard(file);
      throw error;
    }
  }

  /** Closes a file that has a name in tmp/, to be published later. */
  setAside(file: NewFile): void {
    closeFd(file.fd);
    file.fd = -1;
  }

  /**
   * Gives the file the name of the object, and closes it.
   * @returns false if the object exists already: another writer may have stored it in the meantime, and that one stays
   */
  publish(file: NewFile, digest: Uint8Array): boolean {
    // first: files that are opened later may close the directories of objects
    if (file.name !== undefined) this.#temporaryDirectory();
    const directory = this.#directoryOf(digest);
    const name = nameOf(digest);
    const result =
      file.name === undefined ? linkFd(file.fd, directory, name) : this.#rename(file.name, directory, name);
    if (result !== 0) this.discard(file);
    else if (file.fd >= 0) this.setAside(file);
    if (result === EEXIST) return false;
    if (isErrno(result)) throw this.#error(result, 'link', `objects/${toHex(digest.subarray(0, 1))}`);
    return true;
  }

  /** Removes the file. */
  discard(file: NewFile): void {
    if (file.fd >= 0) this.setAside(file);
    // errors are ignored: the first one is reported, and the end of the run removes the rest
    if (file.name !== undefined) unlinkAt(this.#temporaryDirectory(), file.name);
  }

  /** Waits until the file system of the repository has written everything, names included. */
  sync(): void {
    this.#temporary ??= this.#open('tmp');
    const fd = this.#temporary.openToRead();
    try {
      const result = syncfs(fd);
      if (isErrno(result)) throw this.#error(result, 'syncfs', '');
    } finally {
      closeFd(fd);
    }
  }

  /** Closes the directories; they are opened again when needed. */
  close(): void {
    this.#closeDirectories();
    this.#temporary?.close();
    this.#root?.close();
    this.#temporary = undefined;
    this.#root = undefined;
  }

  #rename(from: Uint8Array, directory: number, name: Uint8Array): 0 | Errno {
    const temporary = this.#temporaryDirectory();
    const result = renameNoReplaceAt(temporary, from, directory, name);
    if (result !== EINVAL && result !== ENOSYS) return result;
    const linked = linkAt(temporary, from, directory, name);
    if (linked === 0) unlinkAt(temporary, from);
    return linked;
  }

  #temporaryDirectory(): number {
    this.#temporary ??= this.#open('tmp');
    return this.#temporary.fd;
  }

  #directoryOf(digest: Uint8Array): number {
    const index = digest[0] as number;
    const known = this.#directories.get(index);
    if (known !== undefined) return known.fd;
    for (const [oldest, directory] of this.#directories) {
      if (this.#directories.size < this.#most) break;
      directory.close();
      this.#directories.delete(oldest);
    }
    const directory = this.#open(`objects/${toHex(digest.subarray(0, 1))}`);
    this.#directories.set(index, directory);
    return directory.fd;
  }

  #closeDirectories(): void {
    for (const directory of this.#directories.values()) directory.close();
    this.#directories.clear();
  }

  /** Opens a file; if no more files can be opened, closes the directories and tries again. */
  #unlessFull(open: () => number | Errno): number | Errno {
    const fd = open();
    if ((fd !== EMFILE && fd !== ENFILE) || this.#directories.size === 0) return fd;
    this.#closeDirectories();
    return open();
  }

  #open(name: string): StoreDirectory {
    this.#root ??= this.#repository.enter();
    try {
      return this.#root.open(name);
    } catch (error) {
      const errno = errnoOf(error);
      if ((errno !== EMFILE && errno !== ENFILE) || this.#directories.size === 0) throw error;
      this.#closeDirectories();
      return this.#root.open(name);
    }
  }

  #error(errno: Errno, call: string, below: string): Error {
    return systemError(errno, call, `${this.#repository.path}/${below}`);
  }
}

/** The name of an object in its directory: all digits but the first two. */
function nameOf(digest: Uint8Array): Uint8Array {
  const name = Buffer.allocUnsafe(2 * (digest.length - 1));
  writeHex(name, 0, digest, 1, digest.length);
  return name;
}
