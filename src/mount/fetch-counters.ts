/** Counts what a mount has fetched since its server started. One thread writes, in shared memory. */
import type { MirrorObserver } from '../remote/mirrors.ts';
import { PREFETCH_STATES, type PrefetchMode, type PrefetchState } from '../remote/prefetch.ts';
import { prefetchOf, type RemoteOptions } from './options.ts';
import type { ServedRemote } from './served-image.ts';

/** For each server: */
const SERVER_COUNTS = 7;
const REQUESTS = 0;
const BYTES = 1;
const FAILURES = 2;
const FAILOVERS = 3;
const RETRIES = 4;
const ITS_OBJECTS = 5;
const ITS_OBJECT_BYTES = 6;
/** Before them: */
const OBJECTS = 0;
const OBJECT_BYTES = 1;
const FAILED = 2;
/** What is fetched before it is asked for: the state by its number; objects and bytes that are there, and all. */
const AHEAD_STATE = 3;
const AHEAD_THERE = 4;
const AHEAD_THERE_BYTES = 5;
const AHEAD_ALL = 6;
const AHEAD_ALL_BYTES = 7;
const HEADER = 8;

/** What was asked of one server. */
export interface ServerStatistics {
  readonly url: string;
  /** Requests that it answered with what was asked for, and the bytes of these answers. */
  readonly requests: number;
  readonly bytes: number;
  /** Requests without such an answer; a file that it does not have is none. */
  readonly failures: number;
  /** Requests that it answered after another server had failed. */
  readonly failovers: number;
  /** Requests that were made again, because they had failed at all servers. */
  readonly retries: number;
  /** Objects that came from it and were stored, and their bytes. */
  readonly objects: number;
  readonly objectBytes: number;
}

/** Objects that are fetched before someone opens them. */
export interface PrefetchStatistics {
  readonly mode: PrefetchMode;
  readonly state: PrefetchState;
  /** Those that are there, and their bytes. */
  readonly objects: number;
  readonly bytes: number;
  /** All of them, as far as that is known. */
  readonly allObjects: number;
  readonly allBytes: number;
}

export interface FetchStatistics {
  /** Objects that were fetched and stored, and their bytes. */
  readonly objects: number;
  readonly bytes: number;
  /** Requests of readers that failed because an object could not be fetched. */
  readonly failed: number;
  /** Times that the cache served an object, or a piece of one, and no reader had to wait for a server. */
  readonly hits: number;
  /** Undefined with `prefetch=off`. */
  readonly prefetch?: PrefetchStatistics;
  /** In the order in which they are asked. */
  readonly servers: readonly ServerStatistics[];
}

export const allocateFetchCounters = (servers: number): SharedArrayBuffer =>
  new SharedArrayBuffer((HEADER + servers * SERVER_COUNTS) * 8);

export class FetchCounters {
  readonly #words: Float64Array;

  constructor(memory: SharedArrayBuffer) {
    this.#words = new Float64Array(memory);
  }

  /** @param server that gave the object */
  stored(server: number, bytes: number): void {
    this.#add(OBJECTS, 1);
    this.#add(OBJECT_BYTES, bytes);
    this.#add(HEADER + server * SERVER_COUNTS + ITS_OBJECTS, 1);
    this.#add(HEADER + server * SERVER_COUNTS + ITS_OBJECT_BYTES, bytes);
  }

  failed(): void {
    this.#add(FAILED, 1);
  }

  prefetchState(state: PrefetchState): void {
    this.#words[AHEAD_STATE] = PREFETCH_STATES.indexOf(state);
  }

  prefetchTotal(objects: number, bytes: number): void {
    this.#words[AHEAD_ALL] = objects;
    this.#words[AHEAD_ALL_BYTES] = bytes;
  }

  prefetchThere(bytes: number): void {
    this.#add(AHEAD_THERE, 1);
    this.#add(AHEAD_THERE_BYTES, bytes);
  }

  /** For the servers of one address. @param first the number of servers before them */
  observer(first: number): MirrorObserver {
    const at = (server: number): number => HEADER + (first + server) * SERVER_COUNTS;
    return {
      gave: (server, bytes, isSecond) => {
        this.#add(at(server) + REQUESTS, 1);
        this.#add(at(server) + BYTES, bytes);
        if (isSecond) this.#add(at(server) + FAILOVERS, 1);
      },
      failed: (server) => this.#add(at(server) + FAILURES, 1),
      retried: (server) => this.#add(at(server) + RETRIES, 1),
    };
  }

  #add(index: number, n: number): void {
    this.#words[index] = (this.#words[index] as number) + n;
  }
}

/** @param hits of the cache */
export function fetchStatistics(
  {
    options,
    servers,
    counters,
  }: Pick<ServedRemote, 'servers' | 'counters'> & { readonly options: Pick<RemoteOptions, 'prefetch'> },
  hits: number,
): FetchStatistics {
  const words = new Float64Array(counters);
  const [objects = 0, bytes = 0, failed = 0] = words;
  const ofServers = servers.map((url, i): ServerStatistics => {
    const of = words.subarray(HEADER + i * SERVER_COUNTS, HEADER + (i + 1) * SERVER_COUNTS);
    const [requests = 0, bytes = 0, failures = 0, failovers = 0, retries = 0, objects = 0, objectBytes = 0] = of;
    return { url, requests, bytes, failures, failovers, retries, objects, objectBytes };
  });
  const prefetch = prefetchStatistics(words, prefetchOf(options));
  return { objects, bytes, failed, hits, ...(prefetch && { prefetch }), servers: ofServers };
}

function prefetchStatistics(words: Float64Array, mode: PrefetchMode | 'off'): PrefetchStatistics | undefined {
  if (mode === 'off') return undefined;
  const [state = 0, objects = 0, bytes = 0, allObjects = 0, allBytes = 0] = words.subarray(AHEAD_STATE, HEADER);
  return { mode, state: PREFETCH_STATES[state] as PrefetchState, objects, bytes, allObjects, allBytes };
}
