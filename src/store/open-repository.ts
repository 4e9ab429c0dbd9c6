/** Opens a repository in a local directory, and creates one; docs/repository.md specifies the layout. */
import { randomBytes, randomUUID } from 'node:crypto';
import { accessSync, constants, fchmodSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { HASH_ALGORITHMS, type HashAlgorithm } from '../base/digest.ts';
import { ENOENT, errnoOf } from '../base/errno.ts';
import { CfsError, callText, reasonOf } from '../base/error.ts';
import { closeFd } from '../system/descriptors.ts';
import { exists, makeDirectory } from '../system/durable-file.ts';
import * as calls from '../system/file-calls.ts';
import { writeAll } from './content-copier.ts';
import { PREFIXES, prefixName } from './layout.ts';
import { LocalRepository, type Meta } from './local-repository.ts';
import { giveTo, lockersOf } from './lockable.ts';
import { type Place, StoreDirectory } from './store-directory.ts';
import { requireTrust } from './trust.ts';

const FORMAT = 'cfs-repository';
const FORMAT_VERSION = 1;
/** meta.json has 150 bytes. */
const META_LIMIT = 64 << 10;

const storeError = (message: string, cause?: unknown, hint?: string): CfsError =>
  new CfsError('store', message, { hint, cause });

/**
 * Opens an existing repository. `dir` may also be its `objects` directory, as composefs names it.
 * @param hash the algorithm that names an image's objects; a repository of another kind is refused
 * @throws CfsError (store)
 */
export function openRepository(dir: string, hash?: HashAlgorithm): LocalRepository {
  const path = repositoryRoot(resolve(dir));
  const { meta, place } = readMeta(path);
  if (hash !== undefined && meta.hash !== hash) {
    throw storeError(
      `Cannot use repository ${path}: it names objects by ${meta.hash}, the image by ${hash}`,
      undefined,
      `Give a repository made with ${callText('initRepository', 'DIR', { hash })}.`,
    );
  }
  return new LocalRepository(path, meta, -1, place);
}

function repositoryRoot(path: string): string {
  const isObjects = basename(path) === 'objects' && !exists(join(path, 'meta.json'));
  return isObjects && exists(join(dirname(path), 'meta.json')) ? dirname(path) : path;
}

/** Advice for readers, and for packing. */
const ADVICE =
  'Give the repository that the image was packed into (`repository`); `initRepository("DIR")` makes a new, empty one.';

const DIRECTORIES = 'Give a directory.';

/** Also if path.resolve has made one slash of two. */
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
      throw storeError(`Cannot use ${path} as a repository: it has no meta.json`, undefined, ADVICE);
    }
    if (errno === ENOENT) {
      if (isUrl(path))
        throw storeError(`Cannot open repository ${path}: URLs are not supported`, undefined, DIRECTORIES);
      throw storeError(`Cannot open repository ${path}: there is no such directory`, undefined, ADVICE);
    }
    throw storeError(`Cannot open repository ${path}: meta.json: ${reasonOf(error)}`, error);
  }
  let meta: { format?: unknown; version?: unknown; hash?: unknown; uuid?: unknown; cache?: unknown };
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
  const cache = meta.cache === true ? { cache: true as const } : {};
  return { meta: { hash: meta.hash as HashAlgorithm, uuid: meta.uuid, ...cache }, place };
}

/**
 * Creates a repository in `dir`, which may exist if it is empty. meta.json is written last: a directory without it is
 * not a repository, so an interrupted init is simply repeated.
 * @param mode of the directory of a shared one (sharing.ts)
 * @throws CfsError (store)
 */
export function initRepository(dir: string, hash: HashAlgorithm, mode?: number): LocalRepository {
  const path = resolve(dir);
  if (/^[a-z][a-z0-9+.-]+:\/\//i.test(dir)) {
    throw storeError(`Cannot make a repository in ${dir}: URLs are not supported`, undefined, DIRECTORIES);
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

/**
 * Opens the cache of objects in `dir`, or makes one. What another program is deleting of it is made again.
 * @throws CfsError (store), also if an ordinary repository is there
 */
export function openCache(dir: string, hash: HashAlgorithm): LocalRepository {
  const path = resolve(dir);
  try {
    makeDirectory(path);
    const root = StoreDirectory.at(path);
    try {
      if (root.stat('meta.json') === undefined) return initIn(root, hash, undefined, true);
      requireTrust(root);
      const cache = openRepository(path, hash);
      if (!cache.isCache) {
        throw storeError(`Cannot use ${path} as a cache: it is a repository`, undefined, 'Give another directory.');
      }
      makeDirectories(root);
      // objects are stored later, when readers wait
      accessSync(join(path, 'tmp'), constants.W_OK);
      return cache;
    } finally {
      root.close();
    }
  } catch (error) {
    if (error instanceof CfsError) throw error;
    throw storeError(`Cannot write to the cache ${path}: ${reasonOf(error)}`, error, 'Give another directory.');
  }
}

function makeDirectories(root: StoreDirectory): void {
  root.make('tmp').close();
  const objects = root.make('objects');
  try {
    for (let i = 0; i < PREFIXES; i++) objects.make(prefixName(i)).close();
  } finally {
    objects.close();
  }
}

function initIn(root: StoreDirectory, hash: HashAlgorithm, mode: number | undefined, isCache = false): LocalRepository {
  const { path } = root;
  requireTrust(root);
  if (root.stat('meta.json') !== undefined) {
    throw storeError(`Cannot make a repository in ${path}: it is one already`);
  }
  const foreign = foreignEntry(root, isCache);
  if (foreign !== undefined) {
    throw storeError(`Cannot make a repository in ${path}: the directory is not empty (it contains "${foreign}")`);
  }
  if (mode !== undefined) setMode(root, mode);
  makeDirectories(root);
  const lock = root.openFile('lock', constants.O_WRONLY | constants.O_CREAT, 0o600);
  try {
    giveTo(lock, lockersOf(root));
  } finally {
    closeFd(lock);
  }
  const meta: Meta = { hash, uuid: randomUUID(), ...(isCache ? { cache: true } : {}) };
  writeMeta(root, metaText(meta));
  return new LocalRepository(path, meta, -1, root.place);
}

/** The content of meta.json. */
export const metaText = (meta: Meta): Buffer =>
  Buffer.from(`${JSON.stringify({ format: FORMAT, version: FORMAT_VERSION, ...meta }, null, 2)}\n`);

function setMode(directory: StoreDirectory, mode: number): void {
  const fd = directory.openToRead();
  try {
    fchmodSync(fd, mode);
  } finally {
    closeFd(fd);
  }
}

/** Written last, and atomically: without it there is no repository. */
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

/** A name that an interrupted `initRepository` cannot have left there. */
function foreignEntry(root: StoreDirectory, isCache: boolean): string | undefined {
  // of a cache, whose meta.json may have been deleted first
  const more = isCache ? ['roots', 'paths', 'leases', 'runs', 'evicted'] : [];
  const own = new Set(['objects', 'tmp', 'lock', 'lost+found', ...more]);
  const foreign = root.names().find((name) => !own.has(name) && !name.startsWith('meta.json.'));
  // a wrong name of an object of a cache is noticed when it is opened
  return foreign ?? (isCache ? undefined : anyObject(root));
}

/** Objects without a meta.json: a repository that lost it, whose algorithm must not be guessed. */
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
 * The repository in `dir`; a new one if `dir` is missing or empty.
 * @param hash the required algorithm; undefined: that of the repository, BLAKE3 for a new one
 */
export function openOrInitRepository(dir: string, hash?: HashAlgorithm): LocalRepository {
  const isThere = (): boolean => exists(join(repositoryRoot(resolve(dir)), 'meta.json'));
  if (isThere()) return lasting(openRepository(dir, hash));
  try {
    return initRepository(dir, hash ?? 'blake3');
  } catch (error) {
    // two programs may create one repository at the same time: the other was first
    if (isThere()) return lasting(openRepository(dir, hash));
    throw error;
  }
}

/** @throws CfsError (store) if the repository is a cache */
function lasting(repository: LocalRepository): LocalRepository {
  if (!repository.isCache) return repository;
  throw storeError(
    `Cannot store objects in ${repository.path}: it is a cache, whose objects may be deleted`,
    undefined,
    'Give a repository.',
  );
}
