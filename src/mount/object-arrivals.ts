/** Fetches objects of the image of a mount from its remote repositories into the cache. */
import { oneLine } from '../base/bytes.ts';
import { errnoOf, isFull } from '../base/errno.ts';
import { CfsError, reasonOf } from '../base/error.ts';
import type { Log } from '../base/log.ts';
import { objectSizes } from '../manifest/lookup.ts';
import type { ManifestTables } from '../manifest/tables.ts';
import type { ObjectName } from '../objects/repository.ts';
import { HttpClient } from '../remote/http-client.ts';
import { LazyObjects } from '../remote/lazy-objects.ts';
import { PREFETCH_REQUESTS, Prefetch } from '../remote/prefetch.ts';
import { parseRemoteAddress } from '../remote/remote-url.ts';
import { CacheWriter } from '../store/cache/cache-writer.ts';
import type { Allowance, Eviction } from '../store/cache/eviction.ts';
import { FetchCounters } from './fetch-counters.ts';
import { FreeSpace } from './free-space.ts';
import { ObjectOrigins } from './object-origins.ts';
import { prefetchOf, type RemoteOptions } from './options.ts';
import type { ServedRemote } from './served-image.ts';

/** The part of the limit of the cache that is stored before its size is looked at again. */
const LOOK_AFTER = 1 / 20;
/** The part of a full cache that stays: so the next objects do not make mounts look at all of it again. */
const LEFT = 0.9;
/** How often a mount looks whether another one has deleted objects of the cache. */
const LOOK_MS = 10_000;
/** The part of the limit above which nothing is fetched ahead: below that, nothing is deleted for it. */
const AHEAD_UP_TO = 0.9;
/** Bytes on the disk that stay free of what is fetched ahead. */
const STAYS_FREE: number = 64 << 20;
const BLOCK = 4096;
/** Of one server. */
const CONNECTIONS: number = 32 + PREFETCH_REQUESTS;

interface Origin {
  /** Its address, for messages. */
  readonly text: string;
  readonly objects: LazyObjects;
}

/** Certificates that were there when the mount was made may be gone when another server continues it. */
export function clientOf({ cacert }: Pick<RemoteOptions, 'cacert'>, log: Log): HttpClient {
  try {
    return new HttpClient({ connections: CONNECTIONS, cacert });
  } catch (error) {
    if (!(error instanceof CfsError)) throw error;
    log(`${error.message}: no certificates are trusted beside those of node`);
    return new HttpClient({ connections: CONNECTIONS });
  }
}

const isOfFullDisk = (error: unknown): boolean => isFull(errnoOf((error as Error).cause ?? error));

export class ObjectArrivals {
  readonly #client: HttpClient;
  readonly #cache: CacheWriter;
  readonly #counters: FetchCounters;
  readonly #origins: readonly Origin[];
  readonly #known: ObjectOrigins;
  readonly #log: Log;
  readonly #cacheSize: number | undefined;
  readonly #freeSpace: FreeSpace;
  readonly #onEvicted: () => void;
  /** Problems of pins that the log has. */
  readonly #told = new Set<string>();
  /** Bytes that were stored since the cache was looked at; at first it may have any size. */
  #stored = Number.POSITIVE_INFINITY;
  /** Bytes in the cache on the disk, as far as this mount knows; undefined before it was looked at. */
  #used: number | undefined;
  /** The first look at the whole cache. */
  #scan: Promise<Eviction> | undefined;
  #eviction: Promise<void> | undefined;
  #evictions: number;
  readonly #watch: NodeJS.Timeout;
  readonly #prefetch: Prefetch | undefined;

  /**
   * @param imageId 64 hexadecimal digits
   * @param isThere whether a repository has the object of a row, the cache included
   * @param onEvicted called when objects of the cache were deleted, by any mount
   */
  constructor(
    { options, cache, counters, origins }: ServedRemote,
    imageId: string,
    tables: ManifestTables,
    log: Log,
    isThere: (row: number) => boolean,
    onEvicted: () => void,
  ) {
    this.#log = log;
    this.#cacheSize = options.cacheSize;
    this.#freeSpace = new FreeSpace(cache, options.cacheMinFree);
    this.#onEvicted = onEvicted;
    const { addresses, insecure } = options;
    const { hash } = tables.header;
    const image = { id: imageId, hash, digests: tables.objects.digest, sizes: objectSizes(tables) };
    this.#client = clientOf(options, log);
    this.#cache = new CacheWriter(cache, hash);
    this.#counters = new FetchCounters(counters);
    this.#evictions = this.#cache.evictions;
    this.#watch = setInterval(() => this.#look(), LOOK_MS);
    this.#known = new ObjectOrigins({ options, origins });
    let servers = 0;
    this.#origins = addresses.map((word, origin) => {
      const { text, mirrors } = parseRemoteAddress(word, insecure);
      const first = servers;
      servers += mirrors.length;
      const objects = new LazyObjects(this.#client, mirrors, image, this.#cache, {
        observer: this.#counters.observer(first),
        onMap: (map) => this.#known.foundMap(origin, map),
        onStored: (row, server) => {
          this.#known.stored(origin, row, first + server);
          this.#note(first + server, image.sizes[row] as number);
          this.#prefetch?.stored(row);
        },
      });
      return { text, objects };
    });
    const mode = prefetchOf(options);
    if (mode === 'off') return;
    this.#prefetch = new Prefetch(
      this.#origins.map(({ objects }) => objects),
      {
        mode,
        sizes: image.sizes,
        isThere,
        whyFull: (bytes) => this.#whyFull(bytes),
        isOfFullDisk,
        onTotal: (objects, bytes) => this.#counters.prefetchTotal(objects, bytes),
        onThere: (bytes) => this.#counters.prefetchThere(bytes),
        onState: (state) => this.#counters.prefetchState(state),
      },
    );
  }

  /** Begins to fetch what is to be there before someone opens it. */
  async prefetch(): Promise<void> {
    try {
      await this.#prefetch?.run();
    } catch (error) {
      if (!(error instanceof CfsError) && errnoOf(error) === undefined) throw error;
      this.#log(`cannot fetch objects ahead: ${reasonOf(error)}`);
    }
  }

  /** Why objects of so many bytes are not stored before someone opens them. */
  async #whyFull(bytes: number): Promise<'cache-full' | 'disk-full' | undefined> {
    if (this.#freeSpace.isTooLittleFor(bytes + STAYS_FREE)) return 'disk-full';
    if (this.#cacheSize === undefined) return undefined;
    // what is stored during the look may not be counted
    this.#scan ??= this.#cache.evict(() => undefined);
    const { before } = await this.#scan;
    this.#used ??= before;
    return this.#used + bytes > this.#cacheSize * AHEAD_UP_TO ? 'cache-full' : undefined;
  }

  /**
   * Fetches an object that no repository has, or of which the cache has a damaged copy.
   * @returns why it did not come; undefined if the cache has it now
   */
  async fetch(object: ObjectName): Promise<string | undefined> {
    try {
      return await this.#fetch(object);
    } catch (error) {
      if (!isOfFullDisk(error)) return this.#unwritable(error);
    }
    try {
      this.#prefetch?.stop('disk-full');
      // the disk is full: the oldest tenth of the cache makes room, or more for a large object
      // one that runs may delete nothing
      await this.#eviction;
      await this.#evict((before) => Math.max(0, before - Math.max(before / 10, object.size * 1.2)));
      return await this.#fetch(object);
    } catch (error) {
      return this.#unwritable(error);
    }
  }

  #unwritable(error: unknown): string {
    this.#counters.failed();
    const isExpected = error instanceof CfsError || errnoOf(error) !== undefined;
    // the place of a bug belongs in the log
    return oneLine(isExpected ? reasonOf(error) : String((error as Error).stack ?? error));
  }

  #note(server: number, bytes: number): void {
    this.#counters.stored(server, bytes);
    this.#stored += bytes;
    if (this.#used !== undefined) this.#used += Math.ceil(bytes / BLOCK) * BLOCK;
    if (this.#isToBeLookedAt) void this.#evict();
    else if (this.#freeSpace.stored(bytes)) this.#makeSpace();
  }

  /** From time to time. */
  #look(): void {
    this.#lookForEvictions();
    this.#makeSpace();
  }

  #makeSpace(): void {
    const missing = this.#freeSpace.missing(this.#cache.evictions);
    if (missing === 0) return;
    this.#prefetch?.stop('disk-full');
    void this.#evict((before) => Math.max(0, before - missing));
  }

  get #isToBeLookedAt(): boolean {
    return this.#cacheSize !== undefined && this.#stored > this.#cacheSize * LOOK_AFTER;
  }

  /** What may stay. As much as may be there now is not too much at the next look. */
  #allowanceOf(before: number): number | undefined {
    const most = (this.#cacheSize ?? Number.POSITIVE_INFINITY) * (1 - LOOK_AFTER);
    return before <= most ? undefined : most * LEFT;
  }

  /** One at a time. Rejects never: a cache that is too large is better than none. */
  async #evict(allowance: Allowance = (before) => this.#allowanceOf(before)): Promise<void> {
    this.#eviction ??= this.#evictNow(allowance).finally(() => {
      this.#eviction = undefined;
    });
    await this.#eviction;
  }

  async #evictNow(first: Allowance): Promise<void> {
    try {
      for (let allowance = first; ; allowance = (before) => this.#allowanceOf(before)) {
        this.#stored = 0;
        const { before, after, problems } = await this.#cache.evict(allowance);
        this.#used = after;
        if (after < before) this.#prefetch?.stop('cache-full');
        this.#tellPins(problems);
        this.#lookForEvictions();
        // what was stored in the meantime was not seen
        if (!this.#isToBeLookedAt) return;
      }
    } catch (error) {
      if (!(error instanceof CfsError) && errnoOf(error) === undefined) throw error;
      this.#log(`cannot delete objects of the cache: ${reasonOf(error)}`);
    }
  }

  #tellPins(problems: readonly string[]): void {
    for (const problem of problems.filter((each) => !this.#told.has(each))) {
      this.#told.add(problem);
      this.#log(`objects of a pinned image are not kept in the cache: ${problem}`);
    }
  }

  async #fetch({ index, digest }: ObjectName): Promise<string | undefined> {
    const problems: string[] = [];
    this.#cache.remove(digest);
    for (const [origin, { objects }] of this.#origins.entries()) {
      const failure = await objects.fetch(index);
      if (failure === undefined) return undefined;
      if (failure.kind === 'absent') this.#known.absent(origin, index);
      problems.push(failure.problem);
    }
    this.#counters.failed();
    return oneLine([...new Set(problems)].join('; '));
  }

  #lookForEvictions(): void {
    const { evictions } = this.#cache;
    if (evictions === this.#evictions) return;
    this.#evictions = evictions;
    // what is fetched ahead must not take the place of what was used
    this.#prefetch?.stop('cache-full');
    this.#onEvicted();
  }

  /** Ends all requests, which fail. */
  async end(): Promise<void> {
    clearInterval(this.#watch);
    await this.#prefetch?.end();
    this.#cache.close();
    await this.#client.close();
  }
}
