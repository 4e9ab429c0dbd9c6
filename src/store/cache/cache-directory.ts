/**
 * The directory of a cache of remote repositories: a repository for each hash algorithm, and the image files that were
 * fetched. docs/remote.md describes it. Any of it may be deleted at any time.
 */
import { join, resolve } from 'node:path';
import { HASH_ALGORITHMS, type HashAlgorithm } from '../../base/digest.ts';
import { ENOENT, errnoOf } from '../../base/errno.ts';
import { CfsError, reasonOf } from '../../base/error.ts';
import type { LocalRepository } from '../local-repository.ts';
import { openRepository } from '../open-repository.ts';
import { StoreDirectory } from '../store-directory.ts';
import { requireTrust } from '../trust.ts';

/** The directory of image files. */
export const IMAGES = 'images';

/** What is in a directory that is a cache. */
const OWN_NAMES: ReadonlySet<string> = new Set([...HASH_ALGORITHMS, IMAGES, 'lost+found']);

export interface OpenCacheOptions {
  /** Files are to be deleted: root refuses a cache that others may write to. */
  readonly toDelete: boolean;
  /**
   * A repository of the cache that is open already. Then problems with other parts leave these parts out, and whatever
   * else is in the directory is no problem.
   */
  readonly own?: LocalRepository;
}

/** An open cache. It is closed by `close`. */
export class CacheDirectory {
  /** Absolute. */
  readonly path: string;
  readonly repositories: readonly LocalRepository[];
  readonly #root: StoreDirectory;
  readonly #hasImages: boolean;

  private constructor(root: StoreDirectory, repositories: readonly LocalRepository[], hasImages: boolean) {
    this.path = root.path;
    this.#root = root;
    this.repositories = repositories;
    this.#hasImages = hasImages;
  }

  /**
   * Opens the cache in a directory; nothing is created. Symbolic links in it are not followed.
   * @throws CfsError (store) if it is missing, or no cache
   */
  static open(dir: string, { toDelete, own }: OpenCacheOptions): CacheDirectory {
    const path = resolve(dir);
    let root: StoreDirectory;
    try {
      root = StoreDirectory.at(path);
    } catch (error) {
      const reason = errnoOf(error) === ENOENT ? 'there is no such directory' : reasonOf(error);
      throw storeError(`Cannot open the cache ${path}: ${reason}`, error);
    }
    try {
      return own === undefined ? openAlone(root, toDelete) : openBeside(root, own, toDelete);
    } catch (error) {
      root.close();
      if (error instanceof CfsError || errnoOf(error) === undefined) throw error;
      throw storeError(`Cannot open the cache ${path}: ${reasonOf(error)}`, error);
    }
  }

  /** For the functions of this file. */
  static of(root: StoreDirectory, repositories: readonly LocalRepository[], hasImages: boolean): CacheDirectory {
    return new CacheDirectory(root, repositories, hasImages);
  }

  /** Runs `work` in the directory of image files; undefined if there is none. @throws errors of node:fs */
  withImages<T>(work: (directory: StoreDirectory) => T): T | undefined {
    const directory = this.#hasImages ? this.#root.openIfThere(IMAGES) : undefined;
    if (directory === undefined) return undefined;
    try {
      return work(directory);
    } finally {
      directory.close();
    }
  }

  close(): void {
    this.#root.close();
  }
}

/** @throws CfsError (store) for anything that is not a cache */
function openAlone(root: StoreDirectory, toDelete: boolean): CacheDirectory {
  const { path } = root;
  const names = root.names();
  if (names.includes('meta.json')) {
    const what = openRepository(path).isCache ? 'it is a part of a cache: the cache is above it' : 'it is a repository';
    throw noCache(path, what);
  }
  if (toDelete) requireTrust(root);
  const repositories = HASH_ALGORITHMS.flatMap((hash) => partOf(root, hash, toDelete) ?? []);
  const foreign = names.find((name) => !OWN_NAMES.has(name));
  // beside other files, only a repository shows that this is a cache
  if (repositories.length === 0 && foreign !== undefined) throw noCache(path, `it contains "${foreign}"`);
  if (toDelete) requireTrustedImages(root);
  return CacheDirectory.of(root, repositories, true);
}

/** A mount continues with those parts of its cache that can be used. */
function openBeside(root: StoreDirectory, own: LocalRepository, toDelete: boolean): CacheDirectory {
  const unlessRefused = <T>(work: () => T): T | undefined => {
    try {
      return work();
    } catch (error) {
      if (error instanceof CfsError || errnoOf(error) !== undefined) return undefined;
      throw error;
    }
  };
  if (toDelete && unlessRefused(() => requireTrust(root) ?? true) === undefined) {
    return CacheDirectory.of(root, [own], false);
  }
  const others = HASH_ALGORITHMS.filter((hash) => hash !== own.hash);
  const repositories = others.flatMap((hash) => unlessRefused(() => partOf(root, hash, toDelete)) ?? []);
  const hasImages = !toDelete || unlessRefused(() => requireTrustedImages(root) ?? true) !== undefined;
  return CacheDirectory.of(root, [own, ...repositories], hasImages);
}

/** The repository of an algorithm; undefined if there is none, or it is not complete. */
function partOf(root: StoreDirectory, hash: HashAlgorithm, toDelete: boolean): LocalRepository | undefined {
  const directory = root.openIfThere(hash);
  if (directory === undefined) return undefined;
  try {
    if (directory.stat('meta.json') === undefined) return undefined;
    if (toDelete) requireTrust(directory);
    const repository = openRepository(directory.path, hash);
    if (!repository.isCache) throw noCache(root.path, `${hash} in it is a repository that is no cache`);
    const { dev, ino } = directory.place;
    if (repository.place?.dev === dev && repository.place.ino === ino) return repository;
    throw storeError(`Cannot use the cache ${root.path}: another directory has taken the place of ${hash} in it`);
  } finally {
    directory.close();
  }
}

function requireTrustedImages(root: StoreDirectory): void {
  const images = root.openIfThere(IMAGES);
  if (images === undefined) return;
  try {
    requireTrust(images);
  } finally {
    images.close();
  }
}

/** The directory of the repository for objects of an algorithm, whether it is there or not. */
export const cachePart = (cache: string, hash: HashAlgorithm): string => join(cache, hash);

/** The image file of an id in a cache, whether it is there or not. */
export const cachedImage = (cache: string, id: string): string => join(cache, IMAGES, `${id}.cfs`);

const storeError = (message: string, cause?: unknown): CfsError => new CfsError('store', message, { cause });

const noCache = (path: string, reason: string): CfsError =>
  new CfsError('store', `Cannot use ${path} as a cache: ${reason}`, {
    hint: 'Give the directory of a cache of remote repositories.',
  });
