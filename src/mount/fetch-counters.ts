/** Counts what a mount has fetched since its server started. One thread writes, in shared memory. */
import type { MirrorObserver } from '../remote/mirrors.ts';
import type { ServedRemote } from './served-image.ts';

/** For each server: */
const SERVER_COUNTS = 4;
const REQUESTS = 0;
const BYTES = 1;
const FAILURES = 2;
const FAILOVERS = 3;
/** Before them: */
const OBJECTS = 0;
const OBJECT_BYTES = 1;
const FAILED = 2;
const HEADER = 3;

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
}

export interface FetchStatistics {
  /** Objects that were fetched and stored, and their bytes. */
  readonly objects: number;
  readonly bytes: number;
  /** Requests of readers that failed because an object could not be fetched. */
  readonly failed: number;
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

  stored(bytes: number): void {
    this.#add(OBJECTS, 1);
    this.#add(OBJECT_BYTES, bytes);
  }

  failed(): void {
    this.#add(FAILED, 1);
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
    };
  }

  #add(index: number, n: number): void {
    this.#words[index] = (this.#words[index] as number) + n;
  }
}

export function fetchStatistics({ servers, counters }: Pick<ServedRemote, 'servers' | 'counters'>): FetchStatistics {
  const words = new Float64Array(counters);
  const [objects = 0, bytes = 0, failed = 0] = words;
  const ofServers = servers.map((url, i): ServerStatistics => {
    const [requests = 0, bytes = 0, failures = 0, failovers = 0] = words.subarray(HEADER + i * SERVER_COUNTS);
    return { url, requests, bytes, failures, failovers };
  });
  return { objects, bytes, failed, servers: ofServers };
}
