/** Writes objects into a cache, which may be deleted or moved away at any time: then it is made again. */
import { randomBytes } from 'node:crypto';
import { statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { toHex } from '../../base/bytes.ts';
import type { ContentDigest, HashAlgorithm } from '../../base/digest.ts';
import { errnoOf, isFull } from '../../base/errno.ts';
import type { LocalRepository } from '../local-repository.ts';
import { type ObjectSink, ObjectWriter } from '../object-writer.ts';
import { openCache } from '../open-repository.ts';
import { CacheDirectory } from './cache-directory.ts';
import { type Allowance, EVICTED, type Eviction, evict } from './eviction.ts';

/** One per process and cache. */
export class CacheWriter {
  readonly path: string;
  readonly #hash: HashAlgorithm;
  readonly #prefix = `${randomBytes(8).toString('hex')}-`;
  #open: { readonly cache: LocalRepository; readonly writer: ObjectWriter } | undefined;

  /** @param path absolute: the repository in the directory of the cache */
  constructor(path: string, hash: HashAlgorithm) {
    this.path = path;
    this.#hash = hash;
  }

  /** Stores a content that was verified. @throws CfsError (store) */
  putBytes(content: Uint8Array, digest: ContentDigest): void {
    this.#retrying(({ writer }) => writer.putBytes(content, digest));
  }

  /** An object whose content comes in pieces. @throws CfsError (store) */
  begin(): ObjectSink {
    return this.#retrying(({ writer }) => writer.begin());
  }

  /** Deletes an object, if it is there: it was found damaged. @throws errors of node:fs */
  remove(digest: Uint8Array): void {
    this.#retrying(({ cache }) => removeObject(cache, digest));
  }

  /**
   * Deletes files of the cache that has this repository, as `evict`: objects of any hash algorithm, and images.
   * @throws errors of node:fs, CfsError (store)
   */
  async evict(allowance: Allowance): Promise<Eviction> {
    const { cache: own } = this.#current();
    const cache = CacheDirectory.open(dirname(own.path), { toDelete: true, own });
    try {
      return await evict(cache, allowance);
    } finally {
      cache.close();
    }
  }

  /** A number that changes when some process has deleted files of the cache; 0 if none has. */
  get evictions(): number {
    try {
      return statSync(join(this.path, EVICTED)).mtimeMs;
    } catch {
      return 0;
    }
  }

  /** Closes its open files; it can continue afterwards. */
  close(): void {
    this.#open?.writer.close();
    this.#open = undefined;
  }

  #retrying<T>(work: (open: { readonly cache: LocalRepository; readonly writer: ObjectWriter }) => T): T {
    try {
      return work(this.#current());
    } catch (error) {
      if (!mayBeGone(error)) throw error;
      this.close();
      return work(this.#current());
    }
  }

  /** No object is published without its content: nothing waits for the disk. */
  #current(): { readonly cache: LocalRepository; readonly writer: ObjectWriter } {
    if (this.#open !== undefined && isAt(this.path, this.#open.cache)) return this.#open;
    this.close();
    const cache = openCache(this.path, this.#hash);
    // a crash of the machine leaves files that are empty or too short
    const removeDamaged = (digest: Uint8Array): void => removeObject(cache, digest);
    this.#open = { cache, writer: new ObjectWriter(cache, { durable: false, prefix: this.#prefix, removeDamaged }) };
    return this.#open;
  }
}

function removeObject(cache: LocalRepository, digest: Uint8Array): void {
  const hex = toHex(digest);
  cache.within(`objects/${hex.slice(0, 2)}`, (directory) => {
    directory.removeTree(hex.slice(2));
  });
}

function isAt(path: string, { place }: LocalRepository): boolean {
  try {
    const { dev, ino } = statSync(path);
    return dev === place?.dev && ino === place.ino;
  } catch {
    return false;
  }
}

/** In a directory that somebody has deleted, file systems fail in different ways. */
function mayBeGone(error: unknown): boolean {
  const errno = errnoOf((error as Error).cause ?? error);
  return errno !== undefined && !isFull(errno);
}
