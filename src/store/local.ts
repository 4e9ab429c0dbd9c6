/**
 * A repository in a local directory; docs/repository.md specifies the layout.
 *
 *     meta.json           format version, digest algorithm, uuid
 *     lock                flock(2): shared by writers, exclusive for whoever deletes
 *     objects/ab/cdef…    one file an object, read-only, named by its digest
 *     tmp/                files that are being written
 *     cache/              what packing remembers of its sources; may be missing, and deleted at any time
 *     roots/              registered images: what they need is never deleted; may be missing
 *     paths/              where registered images are; may be missing
 *     leases/             what mounts need, as long as they hold a lock on it; may be missing
 *     quarantine/         damaged objects that fsck moved away; may be missing
 */
import { randomBytes, randomUUID } from 'node:crypto';
import { closeSync, constants, fchmodSync, openSync, statSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { toHex, writeHex } from '../base/bytes.ts';
import { DIGEST_SIZE, HASH_ALGORITHMS, type HashAlgorithm } from '../base/digest.ts';
import { EEXIST, ELOOP, ENOENT, type Errno, errnoOf, isErrno } from '../base/errno.ts';
import { CfsError, reasonOf } from '../base/error.ts';
import { pathBytes } from '../base/path-text.ts';
import { openBeneath, openHow } from '../system/beneath.ts';
import { type FileVersion, fileVersion, statFd } from '../system/file-status.ts';
import { AT_FDCWD } from '../system/libc.ts';
import { closeFd, openAt } from '../system/syscall.ts';
import { writeAll } from './content-copier.ts';
import * as calls from './file-calls.ts';
import { giveTo, type Lockers, lockersOf } from './lockable.ts';
import type { Repository } from './repository.ts';
import { isRegular, type Place, StoreDirectory } from './store-directory.ts';
import { requireTrust } from './trust.ts';

const FORMAT = 'cfs-repository';
const FORMAT_VERSION = 1;
/** A fifo in the place of an object must not block whoever opens it. */
const READ_OBJECT = openHow(constants.O_RDONLY | constants.O_NONBLOCK);
const O_PATH = 0o10000000;
const NAME_OBJECT = openHow(O_PATH);
const NAME_DIRECTORY = O_PATH | constants.O_DIRECTORY;
/** meta.json has 150 bytes. */
const META_LIMIT = 64 << 10;

/** What meta.json says. */
export interface Meta {
  readonly hash: HashAlgorithm;
  readonly uuid: string;
}

export class LocalRepository implements Repository {
  readonly path: string;
  readonly uuid: string;
  readonly hash: HashAlgorithm;
  readonly #objects: string;
  /** `objects/ab/cdef…` and NUL, whose digits change with each use. */
  readonly #nativePath: Buffer;
  /** Where `objects/` begins in it. */
  readonly #relative: number;
  readonly #directory: number;
  readonly #place: Place | undefined;

  /**
   * @param directory a descriptor of the repository's directory; -1 for none. It stays the caller's. Objects are taken from
   *   there, wherever the directory is now and whatever is at `path`; only what is not there is looked for at `path`,
   *   where somebody may have put the repository anew.
   * @param place which directory it is, where there is no descriptor: `enter` refuses another one that has its path by then
   */
  constructor(path: string, meta: Meta, directory = -1, place?: Place) {
    this.path = path;
    this.#directory = directory;
    this.#place = place;
    this.uuid = meta.uuid;
    this.hash = meta.hash;
    this.#objects = `${path}/objects/`;
    this.#nativePath = pathBytes(`${this.objectPath(new Uint8Array(DIGEST_SIZE))}\0`);
    this.#relative = pathBytes(path).length + 1;
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

  get leasesDirectory(): string {
    return join(this.path, 'leases');
  }

  get quarantineDirectory(): string {
    return join(this.path, 'quarantine');
  }

  get lockPath(): string {
    return join(this.path, 'lock');
  }

  /**
   * The repository's directory, for what is done in it. The caller closes it.
   * @throws what node:fs throws; CfsError (store) where another directory has the path by now
   */
  enter(): StoreDirectory {
    if (this.#directory >= 0) return StoreDirectory.of(this.#directory, this.path);
    const directory = StoreDirectory.at(this.path);
    const { dev, ino } = directory.place;
    if (this.#place === undefined || (dev === this.#place.dev && ino === this.#place.ino)) return directory;
    directory.close();
    throw storeError(`Cannot use repository ${this.path}: another directory was put in its place meanwhile`);
  }

  /** Does `work` in a directory of the repository; undefined where that is missing. @throws what node:fs throws */
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

  /** A directory of the repository, which the caller closes. @throws what node:fs throws */
  directory(name: string): StoreDirectory {
    const root = this.enter();
    try {
      return root.open(name);
    } finally {
      root.close();
    }
  }

  /** As `directory`; makes it where it is missing. */
  makeDirectory(name: string, mode?: number): StoreDirectory {
    const root = this.enter();
    try {
      return root.make(name, mode);
    } finally {
      root.close();
    }
  }

  /** Who may write to it. */
  get lockers(): Lockers {
    const root = this.enter();
    try {
      return lockersOf(root);
    } finally {
      root.close();
    }
  }

  /** Which directory it is, for the threads of a program. */
  get place(): Place | undefined {
    return this.#place;
  }

  open(digest: Uint8Array): number | Errno {
    return this.#openObject(digest, READ_OBJECT);
  }

  #openObject(digest: Uint8Array, how: typeof READ_OBJECT): number | Errno {
    const path = this.#pathOf(digest).subarray(this.#relative);
    const kept = this.#directory < 0 ? ENOENT : openBeneath(this.#directory, path, how);
    if (!isErrno(kept)) return kept;
    const root = openAt(AT_FDCWD, pathBytes(this.path), NAME_DIRECTORY);
    const found = isErrno(root) ? root : openBeneath(root, path, how);
    if (!isErrno(root)) closeFd(root);
    return kept === ENOENT || !isErrno(found) ? found : kept;
  }

  status(digest: Uint8Array, out: FileVersion): 0 | Errno {
    const path = this.#pathOf(digest);
    const kept = this.#directory < 0 ? ENOENT : fileVersion(path.subarray(this.#relative), out, this.#directory);
    if (kept === 0) return 0;
    const result = fileVersion(path, out);
    return result === 0 || kept === ENOENT ? result : kept;
  }

  /** The object's path with its NUL; valid until the next call. */
  #pathOf(digest: Uint8Array): Buffer {
    const path = this.#nativePath;
    const end = path.length - 1;
    writeHex(path, end - 2 * DIGEST_SIZE - 1, digest, 0, 1);
    writeHex(path, end - 2 * (DIGEST_SIZE - 1), digest, 1, DIGEST_SIZE);
    return path;
  }

  size(digest: Uint8Array): number | Errno {
    const fd = this.#openObject(digest, NAME_OBJECT);
    // behind a link in place of a directory there is nothing that anybody opens
    if (fd === ELOOP) return 0;
    if (isErrno(fd)) return fd;
    const stat = statFd(fd);
    closeFd(fd);
    if (isErrno(stat)) return stat;
    return isRegular(stat) ? stat.size : 0;
  }
}

const storeError = (message: string, cause?: unknown): CfsError => new CfsError('store', message, { cause });

/**
 * Opens a repository that exists. `dir` may also be its `objects` directory, as composefs names it.
 * @param hash what an image names its objects by; a repository of another kind is refused
 * @throws CfsError (store)
 */
export function openRepository(dir: string, hash?: HashAlgorithm): LocalRepository {
  const path = repositoryRoot(resolve(dir));
  const { meta, place } = readMeta(path);
  if (hash !== undefined && meta.hash !== hash) {
    throw storeError(
      `Cannot use repository ${path}: it names objects by ${meta.hash}, the image by ${hash}. Give a repository made with 'cfs-repo init --hash ${hash} DIR'.`,
    );
  }
  return new LocalRepository(path, meta, -1, place);
}

function repositoryRoot(path: string): string {
  const isObjects = basename(path) === 'objects' && !exists(join(path, 'meta.json'));
  return isObjects && exists(join(dirname(path), 'meta.json')) ? dirname(path) : path;
}

function exists(path: string): boolean {
  try {
    return statSync(path, { throwIfNoEntry: false }) !== undefined;
  } catch {
    return false; // e.g. ENOTDIR, EACCES: whoever goes on to use it gets the reason
  }
}

/** For who wants to read, and for who packs. */
const ADVICE =
  "Give the store that the image was packed into (--repo DIR, or CFS_STORE); 'cfs-repo init DIR' makes a new, empty one.";

/** Also where path.resolve has made one slash of two. */
const isUrl = (path: string): boolean => /(?:^|\/)[a-z][a-z0-9+.-]+:\/\/?[^/]/i.test(path);

function readMeta(path: string): { readonly meta: Meta; readonly place: Place } {
  let text: string;
  let place: Place;
  try {
    const root = StoreDirectory.at(path);
    try {
      place = root.place;
      text = root.readText('meta.json', META_LIMIT);
    } finally {
      root.close();
    }
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === ENOENT && exists(path)) {
      throw storeError(`Cannot use ${path} as a repository: it has no meta.json. ${ADVICE}`);
    }
    if (errno === ENOENT) {
      throw storeError(
        `Cannot open repository ${path}: ${isUrl(path) ? 'URLs are not known. Give a directory' : `there is no such directory. ${ADVICE}`}`,
      );
    }
    throw storeError(`Cannot open repository ${path}: meta.json: ${reasonOf(error)}`, error);
  }
  let meta: { format?: unknown; version?: unknown; hash?: unknown; uuid?: unknown };
  try {
    meta = JSON.parse(text) as typeof meta;
  } catch {
    throw storeError(`Cannot open repository ${path}: meta.json is not JSON`);
  }
  if (typeof meta !== 'object' || meta === null || meta.format !== FORMAT) {
    throw storeError(`Cannot use ${path} as a repository: meta.json is not one of cfs`);
  }
  if (meta.version !== FORMAT_VERSION) {
    throw storeError(
      `Cannot use repository ${path}: it has format version ${String(meta.version)}; this program knows version ${FORMAT_VERSION}`,
    );
  }
  if (!HASH_ALGORITHMS.includes(meta.hash as HashAlgorithm) || typeof meta.uuid !== 'string') {
    throw storeError(`Cannot use repository ${path}: meta.json names no known hash or no uuid`);
  }
  return { meta: { hash: meta.hash as HashAlgorithm, uuid: meta.uuid }, place };
}

/**
 * Makes a repository in `dir`, which may exist when it is empty. meta.json is written last: a directory
 * without it is no repository, so an interrupted init is simply run again.
 * @param mode of the directory of a shared one (sharing.ts)
 * @throws CfsError (store)
 */
export function initRepository(dir: string, hash: HashAlgorithm, mode?: number): LocalRepository {
  const path = resolve(dir);
  if (/^[a-z][a-z0-9+.-]+:\/\//i.test(dir)) {
    throw storeError(`Cannot make a repository in ${dir}: URLs are not known. Give a directory`);
  }
  try {
    makeDirectory(path);
    const root = StoreDirectory.at(path);
    try {
      return initIn(root, hash, mode);
    } finally {
      root.close();
    }
  } catch (error) {
    if (error instanceof CfsError) throw error;
    throw storeError(`Cannot make a repository in ${path}: ${reasonOf(error)}`, error);
  }
}

function initIn(root: StoreDirectory, hash: HashAlgorithm, mode: number | undefined): LocalRepository {
  const { path } = root;
  requireTrust(root);
  if (root.stat('meta.json') !== undefined) {
    throw storeError(`Cannot make a repository in ${path}: there is one already`);
  }
  const foreign = foreignEntry(root);
  if (foreign !== undefined) {
    throw storeError(`Cannot make a repository in ${path}: the directory is not empty (it holds "${foreign}")`);
  }
  if (mode !== undefined) setMode(root, mode);
  root.make('tmp').close();
  const objects = root.make('objects');
  try {
    for (let i = 0; i < 256; i++) objects.make(i.toString(16).padStart(2, '0')).close();
  } finally {
    objects.close();
  }
  const lock = root.openFile('lock', constants.O_WRONLY | constants.O_CREAT, 0o600);
  try {
    giveTo(lock, lockersOf(root));
  } finally {
    closeFd(lock);
  }
  const meta = { format: FORMAT, version: FORMAT_VERSION, hash, uuid: randomUUID() };
  writeMeta(root, Buffer.from(`${JSON.stringify(meta, null, 2)}\n`));
  return new LocalRepository(path, meta, -1, root.place);
}

function setMode(directory: StoreDirectory, mode: number): void {
  const fd = directory.openToRead();
  try {
    fchmodSync(fd, mode);
  } finally {
    closeFd(fd);
  }
}

/** Last of all, and at once: without it there is no repository. */
function writeMeta(root: StoreDirectory, bytes: Uint8Array): void {
  const temporary = `meta.json.${randomBytes(6).toString('hex')}.tmp`;
  const fd = root.create(temporary, 0o644);
  try {
    try {
      writeAll(fd, bytes, 0);
      calls.fsyncSync(fd);
    } finally {
      closeFd(fd);
    }
    root.rename(temporary, root, 'meta.json');
  } catch (error) {
    try {
      root.unlink(temporary);
    } catch {
      // the first error is the one to report
    }
    throw error;
  }
  root.sync();
}

/**
 * `mkdir -p`. Not node's own: where mkdir(2) says ENOENT although the parent exists, as in /proc, that one
 * tries for ever (node 20).
 */
export function makeDirectory(path: string): void {
  try {
    calls.mkdirSync(path);
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === EEXIST && statSync(path).isDirectory()) return;
    if (errno !== ENOENT || exists(dirname(path))) throw error;
    makeDirectory(dirname(path));
    calls.mkdirSync(path);
  }
}

/** A name that no interrupted `initRepository` left there. */
function foreignEntry(root: StoreDirectory): string | undefined {
  const own = new Set(['objects', 'tmp', 'lock', 'lost+found']);
  const foreign = root.names().find((name) => !own.has(name) && !name.startsWith('meta.json.'));
  return foreign ?? anyObject(root);
}

/** Objects without a meta.json: a repository that lost it, whose algorithm nobody may guess. */
function anyObject(root: StoreDirectory): string | undefined {
  const objects = root.openIfThere('objects');
  try {
    for (const prefix of objects?.names() ?? []) {
      const directory = objects?.open(prefix);
      const name = directory?.names()[0];
      directory?.close();
      if (name !== undefined) return `objects/${prefix}/${name}`;
    }
    return undefined;
  } finally {
    objects?.close();
  }
}

/**
 * The repository in `dir`; a new one where `dir` is missing or empty.
 * @param hash the algorithm that it must have; undefined: what it has, BLAKE3 for a new one
 */
export function openOrInitRepository(dir: string, hash?: HashAlgorithm): LocalRepository {
  const isThere = (): boolean => exists(join(repositoryRoot(resolve(dir)), 'meta.json'));
  if (isThere()) return openRepository(dir, hash);
  try {
    return initRepository(dir, hash ?? 'blake3');
  } catch (error) {
    // two programs may make one store at the same time: the other was first
    if (isThere()) return openRepository(dir, hash);
    throw error;
  }
}

/** fsync(2) of a directory: the names in it are on the device then. */
export function syncDirectory(path: string): void {
  const fd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    calls.fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
