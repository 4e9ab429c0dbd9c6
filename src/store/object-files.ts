/**
 * The files of a repository as its writers make them: first without a name, or in tmp/, then under the name
 * of the object. Relative to directories that are kept open: measured, that and not node's functions take
 * half off the time that a small object needs apart from the kernel's work.
 */
import { closeSync, constants } from 'node:fs';
import { toHex, writeHex } from '../base/bytes.ts';
import { EEXIST, EINVAL, EISDIR, EMFILE, ENFILE, ENOSYS, EOPNOTSUPP, type Errno, isErrno } from '../base/errno.ts';
import { pathBytes } from '../base/path-text.ts';
import { AT_FDCWD, systemError } from '../system/libc.ts';
import { closeFd } from '../system/syscall.ts';
import {
  linkAt,
  linkFd,
  openAt,
  openNameless,
  openSync,
  renameNoReplaceAt,
  statAt,
  syncfs,
  unlinkAt,
} from './file-calls.ts';
import type { LocalRepository } from './local.ts';
import { FileSharing } from './sharing.ts';

const NEW_FILE = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL;
/** Objects are read-only for everybody, less the umask. */
const MODE = 0o444;
/** O_PATH: descriptors that only name directories need no permission to read these. */
const DIRECTORY = constants.O_DIRECTORY | 0o10000000;

/** A file that is no object yet. Whoever has it calls `publish`, `setAside` or `discard`. */
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
  readonly #directories = new Map<number, number>();
  readonly #most: number;
  #temporary: number | undefined;
  #sharing: FileSharing | undefined;
  #nameless: boolean;
  #serial = 0;

  /**
   * @param prefix begins the name of each file in tmp/; unique among all writers of the repository
   * @param nameless make files without a name, where the file system knows them; they cannot be set aside
   * @param most directories of objects that are kept open
   */
  constructor(repository: LocalRepository, prefix: string, nameless: boolean, most = 256) {
    this.#repository = repository;
    this.#prefix = prefix;
    this.#nameless = nameless;
    this.#most = Math.max(1, most);
  }

  /** Bytes of the object's file, or an errno. */
  size(digest: Uint8Array): number | Errno {
    const stat = statAt(this.#directoryOf(digest), nameOf(digest));
    return isErrno(stat) ? stat : stat.size;
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
   * @returns false where the object was there already: another writer may have stored it meanwhile, and that one stays
   */
  publish(file: NewFile, digest: Uint8Array): boolean {
    // first: what is opened later may close the directories of objects
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
    // an error here is no news: the first one is reported, and the end of the run removes what is left
    if (file.name !== undefined) unlinkAt(this.#temporaryDirectory(), file.name);
  }

  /** Waits until the file system of the repository has written everything, names included. */
  sync(): void {
    // syncfs(2) refuses a descriptor that only names the directory
    const fd = openSync(this.#repository.temporaryDirectory, 'r');
    try {
      const result = syncfs(fd);
      if (isErrno(result)) throw this.#error(result, 'syncfs', '');
    } finally {
      closeSync(fd);
    }
  }

  /** Closes the directories; they are opened again where they are needed. */
  close(): void {
    this.#closeDirectories();
    if (this.#temporary !== undefined) closeFd(this.#temporary);
    this.#temporary = undefined;
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
    return this.#temporary;
  }

  #directoryOf(digest: Uint8Array): number {
    const index = digest[0] as number;
    const known = this.#directories.get(index);
    if (known !== undefined) return known;
    for (const [oldest, fd] of this.#directories) {
      if (this.#directories.size < this.#most) break;
      closeFd(fd);
      this.#directories.delete(oldest);
    }
    const fd = this.#open(`objects/${toHex(digest.subarray(0, 1))}`);
    this.#directories.set(index, fd);
    return fd;
  }

  #closeDirectories(): void {
    for (const fd of this.#directories.values()) closeFd(fd);
    this.#directories.clear();
  }

  /** Opens something; where no more files can be opened, once more without the directories. */
  #unlessFull(open: () => number | Errno): number | Errno {
    const fd = open();
    if ((fd !== EMFILE && fd !== ENFILE) || this.#directories.size === 0) return fd;
    this.#closeDirectories();
    return open();
  }

  #open(name: string): number {
    const path = pathBytes(`${this.#repository.path}/${name}`);
    const fd = this.#unlessFull(() => openAt(AT_FDCWD, path, DIRECTORY));
    if (isErrno(fd)) throw this.#error(fd, 'open', name);
    return fd;
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
