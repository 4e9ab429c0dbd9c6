/**
 * Fetches objects of an image before someone asks for them, beside the requests of readers. It stops where going on
 * would do harm, and waits while no server answers.
 */
import { setImmediate, setTimeout as sleep } from 'node:timers/promises';
import { type FetchTask, planAhead, planFetch } from './fetch-plan.ts';
import { Gate } from './gate.ts';
import { JOINED_BYTES, type KnownObjects, type LazyObjects, TAKES_MEMORY } from './lazy-objects.ts';
import { UnavailableError } from './mirrors.ts';
import type { FetchFailure } from './object-fetch.ts';

/** The objects that the map lists as those that programs open first; or these, and then all others. */
export type PrefetchMode = 'hot' | 'all';

/**
 * `looking`: for what is missing; `waiting`: no server answers; `incomplete`: no server has, or gives, some objects.
 * With `cache-full`, `disk-full` and `failed` it has ended before everything was there, as with `incomplete`.
 */
export const PREFETCH_STATES = [
  'looking',
  'running',
  'waiting',
  'done',
  'incomplete',
  'cache-full',
  'disk-full',
  'failed',
] as const;
export type PrefetchState = (typeof PREFETCH_STATES)[number];

/** Requests at the same time; with `all`, one while readers wait. */
export const PREFETCH_REQUESTS = 4;
/**
 * Bytes of a request: at first and at least, and at most, if it is not for one object. Readers wait for the requests
 * that have what they read, so on an unknown link these are small.
 */
const FIRST_BYTES = 1 << 17;
const LEAST_BYTES = 1 << 16;
const MOST_BYTES = 1 << 22;
/** What a request asks for is what came in so many milliseconds before. */
const REQUEST_MS = 1000;
/** Milliseconds of looking for objects before other work of the thread. */
const AT_ONCE_MS = 5;
/** Objects in a row that a repository without a map does not have: it has none. */
const ABSENT_IN_ROW = 32;
/** How often an object, or the map, is asked for that comes from servers that answer with errors. */
const TRIES = 3;
/** Milliseconds until servers that did not answer are asked again; doubled with each time in a row. */
const PAUSE = 1000;
const PAUSE_MAX = 60_000;

export interface PrefetchOptions {
  readonly mode: PrefetchMode;
  /** Bytes of each object of the image. */
  readonly sizes: Float64Array;
  /** Whether an object need not be fetched. */
  isThere(row: number): boolean;
  /** Why an object of so many bytes, or several, must not be stored now. */
  whyFull(bytes: number): Promise<'cache-full' | 'disk-full' | undefined>;
  /** Whether an error of storing an object says that the disk is full. */
  isOfFullDisk(error: unknown): boolean;
  /** The objects to be had are known: this many, of so many bytes. */
  onTotal(objects: number, bytes: number): void;
  /** One of them is there. */
  onThere(bytes: number): void;
  onState(state: PrefetchState): void;
  /** Milliseconds between questions to servers that do not answer, for tests. */
  readonly pause?: number;
}

/** Where objects come from, in one remote repository. */
export type PrefetchOrigin = Pick<LazyObjects, 'known' | 'idle' | 'settled'>;

interface Origin {
  readonly objects: PrefetchOrigin;
  /** By row: how often it did not give the object; TRIES if it does not have it. */
  readonly refused: Uint8Array;
  absentInRow: number;
  /** How often it did not give its map. */
  mapFailures: number;
}

/** `away`: the servers do not answer; `again`: some objects are to be asked for again. */
type Asked = 'away' | 'again' | undefined;

/** Ends the work. */
class Full extends Error {
  readonly state: 'cache-full' | 'disk-full';

  constructor(state: Full['state']) {
    super(state);
    this.state = state;
  }
}

const [WANTED, THERE] = [1, 2];

export class Prefetch {
  readonly #origins: readonly Origin[];
  readonly #options: PrefetchOptions;
  readonly #large = new Gate(1);
  readonly #ending = new AbortController();
  /** By row. */
  readonly #marks: Uint8Array;
  #rows: readonly number[] | undefined;
  #left = 0;
  #bytesAtOnce = FIRST_BYTES;
  #running: Promise<void> | undefined;
  #isEnded = false;
  /** When other work of the thread went on last, as `performance.now()`. */
  #lastYield = 0;

  /** @param origins asked in this order */
  constructor(origins: readonly PrefetchOrigin[], options: PrefetchOptions) {
    const { length } = options.sizes;
    this.#origins = origins.map((objects) => ({
      objects,
      refused: new Uint8Array(length),
      absentInRow: 0,
      mapFailures: 0,
    }));
    this.#options = options;
    this.#marks = new Uint8Array(length);
  }

  /** Fetches what is missing. Call it once. Rejects only for a bug, and errors of the target other than a full disk. */
  run(): Promise<void> {
    this.#running = this.#run();
    return this.#running;
  }

  /** Stops, and waits until nothing is under way. */
  async end(): Promise<void> {
    this.#isEnded = true;
    this.#ending.abort();
    await this.#running?.catch(() => undefined);
  }

  /** Stops because objects were deleted to make room. */
  stop(state: 'cache-full' | 'disk-full'): void {
    if (this.#running !== undefined) this.#ending.abort(new Full(state));
  }

  /** An object is stored, whoever asked for it. */
  stored(row: number): void {
    if (this.#marks[row] !== WANTED) return;
    this.#marks[row] = THERE;
    this.#left--;
    this.#options.onThere(this.#sizeOf(row));
  }

  #sizeOf(row: number): number {
    return this.#options.sizes[row] as number;
  }

  async #run(): Promise<void> {
    const { onState } = this.#options;
    try {
      onState('looking');
      onState(await this.#fetchAll());
    } catch (error) {
      const reason: unknown = this.#ending.signal.aborted ? this.#ending.signal.reason : error;
      if (this.#isEnded) return;
      if (reason instanceof Full) onState(reason.state);
      else if (this.#options.isOfFullDisk(reason)) onState('disk-full');
      else {
        onState('failed');
        throw reason;
      }
    }
  }

  async #fetchAll(): Promise<PrefetchState> {
    if (this.#options.mode === 'all') await this.#want(this.#options.sizes.map((_, row) => row));
    // a mount that has all objects asks nobody
    else if (!(await this.#isMissing())) return 'done';
    const { pause = PAUSE } = this.#options;
    for (let failures = 0; this.#rows === undefined || this.#left > 0; failures++) {
      const before = this.#left;
      if (!(await this.#askOrigins())) break;
      if (this.#left < before) failures = 0;
      this.#options.onState('waiting');
      await sleep(Math.min(pause * 2 ** Math.min(failures, 10), PAUSE_MAX), undefined, { signal: this.#ending.signal });
    }
    const isUnknown = this.#rows === undefined && this.#origins.some(({ mapFailures }) => mapFailures > 0);
    return this.#left > 0 || isUnknown ? 'incomplete' : 'done';
  }

  /** @returns whether it is worthwhile to ask again */
  async #askOrigins(): Promise<boolean> {
    let isUseful = false;
    for (const origin of this.#origins) {
      if (this.#rows !== undefined && this.#left === 0) return false;
      const asked = await this.#ask(origin);
      this.#ending.signal.throwIfAborted();
      isUseful ||= asked !== undefined;
    }
    return isUseful;
  }

  async #ask(origin: Origin): Promise<Asked> {
    let known: KnownObjects;
    try {
      known = await origin.objects.known();
    } catch (error) {
      if (!(error instanceof UnavailableError)) throw error;
      if (error.kind === 'away') return 'away';
      origin.mapFailures++;
      return origin.mapFailures < TRIES ? 'again' : undefined;
    }
    const { map } = known;
    const hot = map?.hot ?? [];
    if (this.#rows === undefined) {
      if (hot.length === 0) return undefined;
      await this.#want(hot);
    }
    const rows = (this.#rows as readonly number[]).filter((row) => this.#isToBeAsked(origin, row));
    // requests that readers may wait for are small
    const most = { ordered: JOINED_BYTES, others: MOST_BYTES };
    const order = this.#options.mode === 'hot' ? rows : hot;
    const tasks = planAhead(map, this.#options.sizes, rows, order, most);
    return await this.#carryOut(origin, known, tasks);
  }

  #isToBeAsked(origin: Origin, row: number): boolean {
    return this.#marks[row] === WANTED && (origin.refused[row] as number) < TRIES;
  }

  /** Whether some object of the image would have to be fetched. */
  async #isMissing(): Promise<boolean> {
    for (let row = 0; row < this.#options.sizes.length; row++) {
      if (!this.#options.isThere(row)) return true;
      await this.#yield();
    }
    return false;
  }

  /** Other work of the thread goes on now and then. @throws the reason for which it ends */
  async #yield(): Promise<void> {
    if (performance.now() - this.#lastYield < AT_ONCE_MS) return;
    await setImmediate();
    this.#lastYield = performance.now();
    this.#ending.signal.throwIfAborted();
  }

  async #want(rows: ArrayLike<number>): Promise<void> {
    this.#rows = [...new Set(Array.from(rows))];
    const bytes = this.#rows.reduce((sum, row) => sum + this.#sizeOf(row), 0);
    this.#left = this.#rows.length;
    for (const row of this.#rows) this.#marks[row] = WANTED;
    this.#options.onTotal(this.#rows.length, bytes);
    for (const row of this.#rows) {
      if (this.#options.isThere(row)) this.stored(row);
      await this.#yield();
    }
  }

  async #carryOut(origin: Origin, known: KnownObjects, tasks: readonly FetchTask[]): Promise<Asked> {
    let next = 0;
    let isAway = false;
    let isIncomplete = false;
    const isOver = (): boolean => isAway || (known.map === undefined && origin.absentInRow >= ABSENT_IN_ROW);
    const work = async (worker: number): Promise<void> => {
      for (let task = tasks[next++]; task !== undefined && !isOver(); task = tasks[next++]) {
        if (worker > 0 && this.#options.mode === 'all') await this.#idle();
        const asked = isOver() ? undefined : await this.#carryOutOne(origin, known, task);
        isAway ||= asked === 'away';
        isIncomplete ||= asked === 'again';
      }
    };
    const works = Array.from({ length: PREFETCH_REQUESTS }, (_, worker) =>
      work(worker).catch((error: unknown) => {
        // the others end as well
        this.#ending.abort(error);
        throw error;
      }),
    );
    const failed = (await Promise.allSettled(works)).find((result) => result.status === 'rejected');
    if (failed !== undefined) throw this.#ending.signal.reason;
    return isAway ? 'away' : isIncomplete ? 'again' : undefined;
  }

  /** Waits until no reader waits, or this ends. @throws the reason for which it ends */
  async #idle(): Promise<void> {
    await this.#orEnd(Promise.all(this.#origins.map(({ objects }) => objects.idle())));
  }

  /** Waits for something, or until this ends: it leaves nothing behind. @throws the reason for which it ends */
  async #orEnd(what: Promise<unknown>): Promise<void> {
    const { signal } = this.#ending;
    signal.throwIfAborted();
    const { promise: ended, resolve } = deferred();
    signal.addEventListener('abort', resolve, { once: true });
    try {
      await Promise.race([ended, what]);
    } finally {
      signal.removeEventListener('abort', resolve);
    }
    signal.throwIfAborted();
  }

  /** What is still missing of a task, in requests of as many bytes as came in a while before. */
  async #carryOutOne(origin: Origin, known: KnownObjects, { rows }: FetchTask): Promise<Asked> {
    const { sizes, isThere } = this.#options;
    // a reader may be fetching a large object
    const [row] = rows;
    if (row !== undefined && rows.length === 1) await this.#orEnd(origin.objects.settled(row));
    for (const row of rows) if (this.#marks[row] === WANTED && isThere(row)) this.stored(row);
    const left = rows.filter((row) => this.#isToBeAsked(origin, row));
    let asked: Asked;
    for (const task of planFetch(known.map, sizes, left, this.#bytesAtOnce)) {
      const failures = await this.#fetch(known, task);
      for (const { row, kind } of failures) {
        if (kind === 'away') return 'away';
        origin.refused[row] = kind === 'failed' ? (origin.refused[row] as number) + 1 : TRIES;
        if (this.#isToBeAsked(origin, row)) asked = 'again';
        origin.absentInRow = kind === 'absent' ? origin.absentInRow + 1 : 0;
      }
      if (failures.length === 0) origin.absentInRow = 0;
    }
    return asked;
  }

  async #fetch({ fetchAhead }: KnownObjects, task: FetchTask): Promise<readonly FetchFailure[]> {
    const { signal } = this.#ending;
    const bytes = task.rows.reduce((sum, row) => sum + this.#sizeOf(row), 0);
    // others may have filled the cache while this waited for its turn
    const fetch = async (): Promise<readonly FetchFailure[]> => {
      const full = await this.#options.whyFull(bytes);
      signal.throwIfAborted();
      if (full !== undefined) throw new Full(full);
      this.#options.onState('running');
      return await fetchAhead(task, signal);
    };
    if (bytes >= TAKES_MEMORY && task.kind !== 'part') return await this.#large.run(fetch);
    const started = performance.now();
    const failures = await fetch();
    if (task.kind !== 'part') return failures;
    const rate = failures.length > 0 ? 0 : task.length / Math.max(performance.now() - started, 1);
    this.#bytesAtOnce = Math.min(Math.max(rate * REQUEST_MS, LEAST_BYTES), MOST_BYTES);
    return failures;
  }
}

function deferred(): { readonly promise: Promise<void>; resolve(): void } {
  let resolve = (): void => undefined;
  const promise = new Promise<void>((done) => {
    resolve = done;
  });
  return { promise, resolve };
}
