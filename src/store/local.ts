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
import { randomUUID } from 'node:crypto';
import { chmodSync, closeSync, constants, opendirSync, openSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { toHex, writeHex } from '../base/bytes.ts';
import { DIGEST_SIZE, HASH_ALGORITHMS, type HashAlgorithm } from '../base/digest.ts';
import { EEXIST, EIO, ENOENT, type Errno, errnoOf, isErrno } from '../base/errno.ts';
import { CfsError, reasonOf } from '../base/error.ts';
import { pathBytes } from '../base/path-text.ts';
import { type FileVersion, fileVersion } from '../system/file-status.ts';
import { openAt } from '../system/syscall.ts';
import * as calls from './file-calls.ts';
import { replaceFile } from './replace-file.ts';
import type { Repository } from './repository.ts';
import { shareLock, shareNewDirectory, shareNewFile } from './sharing.ts';

const FORMAT = 'cfs-repository';
const FORMAT_VERSION = 1;
/** A fifo in the place of an object must not block whoever opens it. */
const OBJECT_FLAGS = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;

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

  /**
   * @param directory a descriptor of the repository's directory; -1 for none. It stays the caller's. Objects are taken from
   *   there, wherever the directory is now and whatever is at `path`; only what is not there is looked for at `path`,
   *   where somebody may have put the repository anew.
   */
  constructor(path: string, meta: Meta, directory = -1) {
    this.path = path;
    this.#directory = directory;
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

  open(digest: Uint8Array): number | Errno {
    const kept = this.#directory < 0 ? ENOENT : openAt(this.#directory, this.#relativePath(digest), OBJECT_FLAGS);
    if (!isErrno(kept)) return kept;
    try {
      return openSync(this.objectPath(digest), OBJECT_FLAGS);
    } catch (error) {
      return kept === ENOENT ? (errnoOf(error) ?? EIO) : kept;
    }
  }

  status(digest: Uint8Array, out: FileVersion): 0 | Errno {
    const path = this.#pathOf(digest);
    const kept = this.#directory < 0 ? ENOENT : fileVersion(path.subarray(this.#relative), out, this.#directory);
    if (kept === 0) return 0;
    const result = fileVersion(path, out);
    return result === 0 || kept === ENOENT ? result : kept;
  }

  #relativePath(digest: Uint8Array): Uint8Array {
    return this.#pathOf(digest).subarray(this.#relative, -1);
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
    try {
      return statSync(this.objectPath(digest), { throwIfNoEntry: false })?.size ?? ENOENT;
    } catch (error) {
      return errnoOf(error) ?? EIO;
    }
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
  const meta = readMeta(path);
  if (hash !== undefined && meta.hash !== hash) {
    throw storeError(
      `Cannot use repository ${path}: it names objects by ${meta.hash}, the image by ${hash}. Give a repository made with 'cfs-repo init --hash ${hash} DIR'.`,
    );
  }
  return new LocalRepository(path, meta);
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

function readMeta(path: string): Meta {
  const file = join(path, 'meta.json');
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
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
  return { hash: meta.hash as HashAlgorithm, uuid: meta.uuid };
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
    makeDirectory(path, false);
    if (mode !== undefined) chmodSync(path, mode);
    if (exists(join(path, 'meta.json'))) {
      throw storeError(`Cannot make a repository in ${path}: there is one already`);
    }
    const foreign = foreignEntry(path);
    if (foreign !== undefined) {
      throw storeError(`Cannot make a repository in ${path}: the directory is not empty (it holds "${foreign}")`);
    }
    makeDirectory(join(path, 'tmp'));
    for (let i = 0; i < 256; i++) {
      makeDirectory(join(path, 'objects', i.toString(16).padStart(2, '0')));
    }
    makeLock(path);
    const meta = { format: FORMAT, version: FORMAT_VERSION, hash, uuid: randomUUID() };
    replaceFile(join(path, 'meta.json'), Buffer.from(`${JSON.stringify(meta, null, 2)}\n`), true);
    if (mode !== undefined) shareMeta(path);
    return new LocalRepository(path, meta);
  } catch (error) {
    if (error instanceof CfsError) throw error;
    throw storeError(`Cannot make a repository in ${path}: ${reasonOf(error)}`, error);
  }
}

/** The store is there by now; until here nobody else knows of it. */
function shareMeta(path: string): void {
  const fd = openSync(join(path, 'meta.json'), 'r');
  try {
    shareNewFile(fd, path, 0o644);
  } finally {
    closeSync(fd);
  }
}

function makeLock(path: string): void {
  const fd = calls.openSync(join(path, 'lock'), 'a');
  try {
    shareLock(fd, path);
  } finally {
    closeSync(fd);
  }
}

/**
 * `mkdir -p`. Not node's own: where mkdir(2) says ENOENT although the parent exists, as in /proc, that one
 * tries for ever (node 20).
 * @param isShared in a shared store: the new directory is shared, too
 */
export function makeDirectory(path: string, isShared = true): void {
  try {
    calls.mkdirSync(path);
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === EEXIST && statSync(path).isDirectory()) return;
    if (errno !== ENOENT || exists(dirname(path))) throw error;
    makeDirectory(dirname(path), isShared);
    calls.mkdirSync(path);
  }
  if (isShared) shareNewDirectory(path);
}

/** A name that no interrupted `initRepository` left there. */
function foreignEntry(path: string): string | undefined {
  const own = new Set(['objects', 'tmp', 'lock', 'lost+found']);
  const dir = opendirSync(path);
  try {
    for (let entry = dir.readSync(); entry !== null; entry = dir.readSync()) {
      if (!own.has(entry.name) && !entry.name.startsWith('meta.json.')) return entry.name;
    }
  } finally {
    dir.closeSync();
  }
  return anyObject(join(path, 'objects'));
}

/** Objects without a meta.json: a repository that lost it, whose algorithm nobody may guess. */
function anyObject(objects: string): string | undefined {
  if (!exists(objects)) return undefined;
  for (const prefix of readdirSync(objects)) {
    const name = readdirSync(join(objects, prefix))[0];
    if (name !== undefined) return `objects/${prefix}/${name}`;
  }
  return undefined;
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
