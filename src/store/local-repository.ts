import { constants } from 'node:fs';
import { join } from 'node:path';
import { toHex, writeHex } from '../base/bytes.ts';
import { DIGEST_SIZE, type HashAlgorithm } from '../base/digest.ts';
import { ELOOP, ENOENT, type Errno, errnoOf, isErrno } from '../base/errno.ts';
import { CfsError, reasonOf } from '../base/error.ts';
import { pathBytes } from '../base/path-text.ts';
import type { Repository } from '../objects/repository.ts';
import { openBeneath, openHow } from '../system/beneath.ts';
import { closeFd, openAt } from '../system/descriptors.ts';
import { type FileVersion, fileVersion, fileVersionOf, statFd } from '../system/file-status.ts';
import { AT_FDCWD, O_PATH } from '../system/libc.ts';
import { type Lockers, lockersOf } from './lockable.ts';
import { isRegular, type Place, StoreDirectory } from './store-directory.ts';

/** A fifo in the place of an object must not block an open. */
const READ_OBJECT = openHow(constants.O_RDONLY | constants.O_NONBLOCK);
const NAME_OBJECT = openHow(O_PATH);
const NAME_DIRECTORY = O_PATH | constants.O_DIRECTORY;
/** The contents of meta.json. */
export interface Meta {
  readonly hash: HashAlgorithm;
  readonly uuid: string;
  /** Its objects may be deleted at any time: they are fetched again. Absent if not. */
  readonly cache?: true;
}

export class LocalRepository implements Repository {
  readonly path: string;
  readonly uuid: string;
  readonly hash: HashAlgorithm;
  /** As `Meta.cache`. */
  readonly isCache: boolean;
  readonly #objects: string;
  /** The path of an object and NUL, whose digits change with each use. */
  readonly #nativePath: Buffer;
  /** The end of it: `objects/ab/cdef…` and NUL. */
  readonly #belowRoot: Buffer;
  readonly #directory: number;
  readonly #place: Place | undefined;

  /**
   * @param directory a descriptor of the repository's directory; -1 for none. It remains the caller's. Objects are
   *   opened through it, wherever the directory is now and whatever is at `path`; only those that it does not have are
   *   looked for at `path`, where the repository may have been put anew.
   * @param place the identity of the directory, if there is no descriptor: `enter` refuses another directory that has
   *   taken its path
   */
  constructor(path: string, meta: Meta, directory = -1, place?: Place) {
    this.path = path;
    this.#directory = directory;
    this.#place = place;
    this.uuid = meta.uuid;
    this.hash = meta.hash;
    this.isCache = meta.cache === true;
    this.#objects = `${path}/objects/`;
    this.#nativePath = pathBytes(`${this.objectPath(new Uint8Array(DIGEST_SIZE))}\0`);
    this.#belowRoot = this.#nativePath.subarray(pathBytes(path).length + 1);
  }

  /** The file of the object, whether it exists or not. */
  objectPath(digest: Uint8Array): string {
    const hex = toHex(digest);
    return `${this.#objects}${hex.slice(0, 2)}/${hex.slice(2)}`;
  }

  get temporaryDirectory(): string {
    return join(this.path, 'tmp');
  }

  get cacheDirectory(): string {
    return join(this.path, 'cache');
  }

  get rootsDirectory(): string {
    return join(this.path, 'roots');
  }

  get pathsDirectory(): string {
    return join(this.path, 'paths');
  }

  get quarantineDirectory(): string {
    return join(this.path, 'quarantine');
  }

  get lockPath(): string {
    return join(this.path, 'lock');
  }

  /**
   * The repository's directory, for operations in it. The caller closes it.
   * @throws errors of node:fs; CfsError (store) if another directory has taken the path
   */
  enter(): StoreDirectory {
    if (this.#directory >= 0) return StoreDirectory.of(this.#directory, this.path);
    const directory = StoreDirectory.at(this.path);
    const { dev, ino } = directory.place;
    if (this.#place === undefined || (dev === this.#place.dev && ino === this.#place.ino)) return directory;
    directory.close();
    throw storeError(`Cannot use repository ${this.path}: another directory has taken its place`);
  }

  /** Runs `work` in a directory of the repository; undefined if that is missing. @throws errors of node:fs */
  within<T>(name: string, work: (directory: StoreDirectory) => T): T | undefined {
    const root = this.enter();
    try {
      const directory = root.openIfThere(name);
      if (directory === undefined) return undefined;
      try {
        return work(directory);
      } finally {
        directory.close();
      }
    } finally {
      root.close();
    }
  }

  /** A directory of the repository, which the caller closes. @throws errors of node:fs */
  directory(name: string): StoreDirectory {
    const root = this.enter();
    try {
      return root.open(name);
    } finally {
      root.close();
    }
  }

  /** As `directory`; creates it if it is missing. */
  makeDirectory(name: string, mode?: number): StoreDirectory {
    const root = this.enter();
    try {
      return root.make(name, mode);
    } finally {
      root.close();
    }
  }

  /**
   * Runs `work` in a directory of the repository, with the names in it, sorted; does nothing if it is missing.
   * @throws CfsError (store)
   */
  withNames(name: string, work: (directory: StoreDirectory, names: readonly string[]) => void): void {
    try {
      this.within(name, (directory) => work(directory, directory.names().sort()));
    } catch (error) {
      if (error instanceof CfsError || errnoOf(error) === undefined) throw error;
      throw storeError(`Cannot read ${this.path}/${name}: ${reasonOf(error)}`, error);
    }
  }

  /** The names in a directory of the repository, sorted; none if it is missing. @throws CfsError (store) */
  names(name: string): readonly string[] {
    let all: readonly string[] = [];
    this.withNames(name, (_, names) => {
      all = names;
    });
    return all;
  }

  /** The error to report if the file system refused "Cannot …"; other errors as they are. */
  failure(what: string, error: unknown): unknown {
    if (error instanceof CfsError || errnoOf(error) === undefined) return error;
    return storeError(`Cannot ${what} in repository ${this.path}: ${reasonOf(error)}`, error);
  }

  /** The users that may write to it. */
  get lockers(): Lockers {
    const root = this.enter();
    try {
      return lockersOf(root);
    } finally {
      root.close();
    }
  }

  /** The identity of the directory, for the threads of a program. */
  get place(): Place | undefined {
    return this.#place;
  }

  open(digest: Uint8Array): number | Errno {
    return this.#openObject(digest, READ_OBJECT);
  }

  #openObject(digest: Uint8Array, how: typeof READ_OBJECT): number | Errno {
    this.#pathOf(digest);
    const path = this.#belowRoot;
    const kept = this.#directory < 0 ? ENOENT : openBeneath(this.#directory, path, how);
    if (!isErrno(kept)) return kept;
    const root = openAt(AT_FDCWD, pathBytes(this.path), NAME_DIRECTORY);
    const found = isErrno(root) ? root : openBeneath(root, path, how);
    if (!isErrno(root)) closeFd(root);
    return kept === ENOENT || !isErrno(found) ? found : kept;
  }

  status(digest: Uint8Array, out: FileVersion): 0 | Errno {
    const fd = this.#openObject(digest, NAME_OBJECT);
    if (isErrno(fd)) return fd;
    const result = fileVersionOf(fd, out);
    closeFd(fd);
    return result;
  }

  glance(digest: Uint8Array, out: FileVersion): 0 | Errno {
    const path = this.#pathOf(digest);
    const kept = this.#directory < 0 ? ENOENT : fileVersion(this.#belowRoot, out, this.#directory);
    if (kept === 0) return 0;
    const result = fileVersion(path, out);
    return result === 0 || kept === ENOENT ? result : kept;
  }

  /** The object's path with its NUL; valid until the next call, as what `#belowRoot` holds then. */
  #pathOf(digest: Uint8Array): Buffer {
    const path = this.#nativePath;
    const end = path.length - 1;
    writeHex(path, end - 2 * DIGEST_SIZE - 1, digest, 0, 1);
    writeHex(path, end - 2 * (DIGEST_SIZE - 1), digest, 1, DIGEST_SIZE);
    return path;
  }

  size(digest: Uint8Array): number | Errno {
    return sizeOf(this.#openObject(digest, NAME_OBJECT));
  }

  /** As `size`, for many lookups: `root` is the result of `enter`. */
  sizeIn(root: StoreDirectory, digest: Uint8Array): number | Errno {
    this.#pathOf(digest);
    return sizeOf(openBeneath(root.fd, this.#belowRoot, NAME_OBJECT));
  }
}

/** That of an object which was opened by its name, and is closed. */
function sizeOf(fd: number | Errno): number | Errno {
  // nothing is opened behind a link in place of a directory
  if (fd === ELOOP) return 0;
  if (isErrno(fd)) return fd;
  const stat = statFd(fd);
  closeFd(fd);
  if (isErrno(stat)) return stat;
  return isRegular(stat) ? stat.size : 0;
}

const storeError = (message: string, cause?: unknown): CfsError => new CfsError('store', message, { cause });
