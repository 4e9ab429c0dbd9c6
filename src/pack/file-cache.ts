/**
 * Remembers the contents of a source's files between runs, so that an unchanged file is not read again.
 * docs/repository.md says when that is reliable. A cache that cannot be read or written is not an error: files are read
 * then.
 */
import { closeSync, fstatSync, readFileSync, writeFileSync } from 'node:fs';
import type { ContentDigest } from '../base/digest.ts';
import { errnoOf } from '../base/errno.ts';
import type { LocalRepository } from '../store/local-repository.ts';
import { isRegular, type StoreDirectory } from '../store/store-directory.ts';
import { decodeFileCache, FileTable } from './file-cache-format.ts';
import { type ObjectCheck, ObjectState, objectCheck } from './object-check.ts';
import type { FileStamp } from './source.ts';

/**
 * A file whose ctime is more recent than this when it is examined is not remembered: it could change once more within
 * the same tick of its file system's clock. 10 ms would be enough for the trusted file systems; the rest allows for a
 * clock that is stepped by the network.
 */
export const SETTLED_MS = 2000;

/**
 * The number of sources that a repository remembers; if there are more, the least recently packed ones are forgotten.
 */
const MAX_CACHES = 32;

export interface FileCacheOptions {
  /** Identifies the source: another one with the same name costs time, never correctness. */
  readonly source: string;
  /** The prefix of the temporary file in tmp/. */
  readonly prefix: string;
  /** Use nothing that is remembered, and remember everything anew. */
  readonly rehash: boolean;
  /** In place of SETTLED_MS. */
  readonly settledMs?: number | undefined;
}

export class FileCache {
  readonly #repository: LocalRepository;
  readonly #options: FileCacheOptions;
  readonly #known: FileTable | undefined;
  readonly #seen: FileTable;
  readonly #settledMs: number;
  /** The repository's directory, from the first look for an object on. */
  #root: StoreDirectory | undefined;
  /** The objects that `#known` names, and the known facts about each. */
  readonly objects: ObjectCheck | undefined;

  /** Loads the cache of the source. Hold the repository's lock. */
  constructor(repository: LocalRepository, options: FileCacheOptions) {
    this.#repository = repository;
    this.#options = options;
    this.#settledMs = options.settledMs ?? SETTLED_MS;
    this.#seen = new FileTable(repository.hash);
    this.#known = options.rehash ? undefined : readTable(repository, this.#name);
    this.objects = this.#known === undefined ? undefined : objectCheck(this.#known.digests, this.#known.sizes);
  }

  /** The content of a file with this stamp, if its object is in the repository. */
  find(stamp: FileStamp): ContentDigest | undefined {
    const row = this.#known?.find(stamp);
    if (row === undefined) return undefined;
    const content = (this.#known as FileTable).content(row);
    if (!this.#isStored(row, content)) return undefined;
    this.#seen.add(stamp, content);
    return content;
  }

  #isStored(row: number, content: ContentDigest): boolean {
    const known = this.objects?.found[row];
    if (known !== ObjectState.unknown) return known === ObjectState.stored;
    const root = this.#openRoot();
    return root !== undefined && this.#repository.sizeIn(root, content.digest) === content.size;
  }

  /** Undefined if it cannot be opened now: files are read then. */
  #openRoot(): StoreDirectory | undefined {
    try {
      this.#root ??= this.#repository.enter();
      return this.#root;
    } catch (error) {
      if (errnoOf(error) === undefined) throw error;
      return undefined;
    }
  }

  /** Whether a file with this stamp, if it is read from now on, may be remembered by it. */
  isSettled(stamp: FileStamp): boolean {
    return stamp.ctime * 1000 + stamp.ctimeNsec / 1e6 + this.#settledMs < Date.now();
  }

  /** Remembers a content that was read while the file had this stamp, if `isSettled` said so before. */
  add(stamp: FileStamp, content: ContentDigest): void {
    this.#seen.add(stamp, content);
  }

  /** Replaces the cache by the results of this run. */
  save(): void {
    if (this.#seen.length === 0 && this.#known === undefined) return;
    const temporary = `${this.#options.prefix}cache`;
    try {
      const cache = this.#repository.makeDirectory('cache');
      try {
        this.#repository.within('tmp', (directory) => {
          const fd = directory.create(temporary, 0o600);
          try {
            writeFileSync(fd, this.#seen.encode());
          } finally {
            closeSync(fd);
          }
          directory.rename(temporary, cache, this.#name);
        });
        forgetOldest(cache);
      } finally {
        cache.close();
      }
    } catch {
      // files are read next time; the temporary file is deleted with the others of this run
    }
  }

  close(): void {
    this.#root?.close();
    this.#root = undefined;
  }

  get #name(): string {
    return `${process.geteuid?.()}-${this.#options.source}`;
  }
}

/** Nothing if the file is missing, damaged, or written by another user, who could make us pack wrong contents. */
function readTable(repository: LocalRepository, name: string): FileTable | undefined {
  let fd: number | undefined;
  try {
    fd = repository.within('cache', (cache) => cache.openFile(name));
    if (fd === undefined) return undefined;
    const stat = fstatSync(fd);
    if (stat.uid !== process.geteuid?.() || (stat.mode & 0o022) !== 0) return undefined;
    return decodeFileCache(readFileSync(fd), repository.hash);
  } catch {
    return undefined;
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

/** The names of files in cache/: a user, and `Source.name`. No other file there may be deleted. */
const CACHE_NAME = /^\d+-[0-9A-Za-z-]+$/;

function forgetOldest(cache: StoreDirectory): void {
  const names = cache.names().filter((name) => CACHE_NAME.test(name));
  if (names.length <= MAX_CACHES) return;
  const files = names.flatMap((name) => {
    const stat = cache.stat(name);
    return stat !== undefined && isRegular(stat) ? [{ name, mtime: stat.mtime + stat.mtimeNsec / 1e9 }] : [];
  });
  files.sort((a, b) => b.mtime - a.mtime);
  for (const { name } of files.slice(MAX_CACHES)) cache.unlink(name);
}
