/**
 * The objects of an image in one remote repository, each fetched when it is asked for. The map of the image is fetched
 * once, and kept. A repository of which no server answers, or all are busy,
 * is left alone for a while, so that not every file of a directory waits for it.
 */
import { type FetchTask, planFetch } from './fetch-plan.ts';
import { Gate } from './gate.ts';
import type { HttpClient } from './http-client.ts';
import { fetchMap } from './image-map.ts';
import { ALONE, framesOf, type ObjectMap } from './map-format.ts';
import { type MirrorObserver, Mirrors, UnavailableError } from './mirrors.ts';
import {
  type FetchFailure,
  type ImageObjects,
  ObjectFetch,
  type ObjectFetchOptions,
  type ObjectTarget,
} from './object-fetch.ts';

/** Milliseconds for which a repository is not asked after a failure; doubled with each, in a row. */
const BACK_OFF = 1000;
const BACK_OFF_MAX = 60_000;
/** Milliseconds for which it is believed that there is no map. */
const NO_MAP = 5000;
/** Requests at the same time, and of these for objects of several MiB, which take memory. */
const REQUESTS = 32;
const LARGE_REQUESTS = 4;
export const TAKES_MEMORY: number = 4 << 20;
/**
 * A reader whose object is in a request ahead of readers waits for it if it is for so many bytes at most. Otherwise it
 * asks by itself.
 */
export const JOINED_BYTES: number = 1 << 20;
/** Objects of one frame that are stored together, at most. */
const NEIGHBOURS = 32;

/** The image whose objects are fetched. */
export interface LazyImage extends Omit<ImageObjects, 'map'> {
  /** 64 hexadecimal digits. */
  readonly id: string;
}

export interface LazyOptions {
  readonly observer?: MirrorObserver | undefined;
  readonly onStored?: ObjectFetchOptions['onStored'];
  /** Called when it is known where the objects are: by the map, or that there is none. */
  readonly onMap?: ((map: ObjectMap | undefined) => void) | undefined;
  /** Milliseconds, for tests. */
  readonly now?: () => number;
}

export class LazyObjects {
  readonly #client: HttpClient;
  readonly #urls: readonly URL[];
  readonly #image: LazyImage;
  readonly #target: ObjectTarget;
  readonly #options: LazyOptions;
  readonly #now: () => number;
  readonly #requests = new Gate(REQUESTS);
  readonly #largeRequests = new Gate(LARGE_REQUESTS);
  /** By the first of the rows. */
  readonly #running = new Map<number, Running>();
  /** Objects of requests ahead of readers, which readers may wait for. */
  readonly #ahead = new Map<number, Ahead>();
  /** Readers that wait, and who waits until there are none. */
  #readers = 0;
  readonly #whenIdle: (() => void)[] = [];
  #fetch: Promise<Known> | undefined;
  /** The result of `#fetch`. */
  #latest: Known | undefined;
  #failures = 0;
  #askAgain = Number.NEGATIVE_INFINITY;
  #lastProblem = '';

  /** @param urls of servers with the same content, each with a slash at its end */
  constructor(
    client: HttpClient,
    urls: readonly URL[],
    image: LazyImage,
    target: ObjectTarget,
    options: LazyOptions = {},
  ) {
    this.#client = client;
    this.#urls = urls;
    this.#image = image;
    this.#target = target;
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
  }

  /**
   * Fetches, verifies and stores an object. Small ones that lie beside it are stored, too.
   * @param row of the object in the image
   * @returns undefined if it is stored now
   * @throws errors of the target
   */
  async fetch(row: number): Promise<Failure | undefined> {
    this.#readers++;
    try {
      return this.#leftAlone() ?? (await this.#fetchNow(row));
    } finally {
      if (--this.#readers === 0) for (const tell of this.#whenIdle.splice(0)) tell();
    }
  }

  /** Resolves when no reader waits for an object. */
  async idle(): Promise<void> {
    while (this.#readers > 0) await new Promise<void>((resolve) => this.#whenIdle.push(resolve));
  }

  /** Resolves when no request of a reader for this object alone is under way. Rejects never. */
  async settled(row: number): Promise<void> {
    await this.#running.get(row)?.failures.catch(() => undefined);
  }

  /** What is known of the objects. @throws UnavailableError */
  async known(): Promise<KnownObjects> {
    const known = await this.#known();
    return { map: known.map, fetchAhead: (task, signal) => this.#fetchAhead(known, task, signal) };
  }

  async #fetchAhead({ fetch }: Known, task: FetchTask, signal: AbortSignal): Promise<readonly FetchFailure[]> {
    const mayWait = task.kind !== 'part' || task.length <= JOINED_BYTES;
    const mine = new Map<number, Ahead>(task.rows.map((row) => [row, { isStored: false, told: [] }]));
    if (mayWait) for (const [row, ahead] of mine) this.#ahead.set(row, ahead);
    try {
      return await fetch.run(task, signal);
    } finally {
      for (const [row, ahead] of mine) this.#endAhead(row, ahead);
    }
  }

  #endAhead(row: number, ahead: Ahead): void {
    if (this.#ahead.get(row) === ahead) this.#ahead.delete(row);
    for (const tell of ahead.told) tell();
  }

  #stored(row: number, server: number): void {
    const ahead = this.#ahead.get(row);
    if (ahead !== undefined) {
      ahead.isStored = true;
      this.#endAhead(row, ahead);
    }
    this.#options.onStored?.(row, server);
  }

  /** The failure of a request that is not made for now. */
  #leftAlone(): Failure | undefined {
    if (this.#now() >= this.#askAgain) return undefined;
    return { problem: `${this.#lastProblem} (it is asked again later)`, kind: 'away' };
  }

  /** Notes the result of a request. Of many that no server answers at the same time, one counts. */
  #note({ kind, problem }: Partial<Failure> = {}): void {
    if (kind !== 'away') {
      this.#failures = 0;
      this.#askAgain = Number.NEGATIVE_INFINITY;
      return;
    }
    if (this.#now() < this.#askAgain) return;
    this.#askAgain = this.#now() + Math.min(BACK_OFF * 2 ** Math.min(this.#failures, 10), BACK_OFF_MAX);
    this.#failures++;
    this.#lastProblem = problem as string;
  }

  async #fetchNow(row: number): Promise<Failure | undefined> {
    let known: Known;
    try {
      known = await this.#known();
    } catch (error) {
      if (!(error instanceof UnavailableError)) throw error;
      const failure = { problem: error.message, kind: error.kind };
      this.#note(failure);
      return failure;
    }
    const ahead = this.#ahead.get(row);
    if (ahead !== undefined) {
      await new Promise<void>((resolve) => ahead.told.push(resolve));
      if (ahead.isStored) return undefined;
    }
    const failure = await this.#fetchKnown(known, row);
    return failure?.kind === 'absent' && this.#forget(known) ? await this.#fetchNow(row) : failure;
  }

  /**
   * An object that is not there may be in a pack, if the image was pushed after it was asked for; or in another one, if
   * it was pushed again with other hot objects.
   * @returns whether another look for the map is worthwhile
   */
  #forget(known: Known): boolean {
    // another reader has forgotten it already
    if (this.#latest !== known) return true;
    if (this.#now() < known.since + NO_MAP) return false;
    this.#latest = undefined;
    this.#fetch = undefined;
    return true;
  }

  async #fetchKnown(known: Known, row: number): Promise<FetchFailure | undefined> {
    const rows = known.neighbours?.withThose(row) ?? [row];
    const [first] = rows as [number];
    // of readers that want objects of one frame, one asks
    const running = this.#running.get(first);
    if (running?.rows.includes(row)) return (await running.failures).find((failure) => failure.row === row);
    const failures = this.#begin(known, row, rows);
    const mine = { rows, failures };
    this.#running.set(first, mine);
    try {
      return (await failures).find((failure) => failure.row === row);
    } finally {
      if (this.#running.get(first) === mine) this.#running.delete(first);
    }
  }

  async #begin({ map, fetch }: Known, row: number, rows: readonly number[]): Promise<readonly FetchFailure[]> {
    const { sizes } = this.#image;
    const task = planFetch(map, sizes, rows).find((task) => task.rows.includes(row)) as FetchTask;
    const ask = async (): Promise<readonly FetchFailure[]> => {
      // while it waited for its turn, others may have got no answer
      const away = this.#leftAlone();
      if (away !== undefined) return task.rows.map((row) => ({ row, ...away }));
      const failures = await fetch.run(task);
      this.#note(failures[0]);
      return failures;
    };
    const run = (): Promise<readonly FetchFailure[]> => this.#requests.run(ask);
    return await ((sizes[row] as number) >= TAKES_MEMORY ? this.#largeRequests.run(run) : run());
  }

  /** One request for all that come first. */
  #known(): Promise<Known> {
    if (this.#fetch !== undefined) return this.#fetch;
    const known = this.#prepare();
    this.#fetch = known;
    known.catch(() => {
      this.#fetch = undefined;
    });
    return known;
  }

  async #prepare(): Promise<Known> {
    const { observer, onMap } = this.#options;
    const map = await fetchMap(new Mirrors(this.#client, this.#urls, observer), this.#image.id, this.#image);
    const objects: ImageObjects = { ...this.#image, map };
    const options = { observer, onStored: (row: number, server: number) => this.#stored(row, server) };
    onMap?.(map);
    this.#latest = {
      since: this.#now(),
      map,
      neighbours: map && new Neighbours(map, this.#image.sizes),
      fetch: new ObjectFetch(this.#client, this.#urls, objects, this.#target, options),
    };
    return this.#latest;
  }
}

/** Where the objects of an image are, for requests for which no reader waits. */
export interface KnownObjects {
  /** Undefined if there is none. */
  readonly map: ObjectMap | undefined;
  /**
   * Carries out a task of a plan by this map. It takes no reader's place among the requests at the same time, and if it
   * fails, readers still ask.
   * @returns the objects that did not come
   * @throws errors of the target; the reason of the signal
   */
  fetchAhead(task: FetchTask, signal: AbortSignal): Promise<readonly FetchFailure[]>;
}

type Failure = Omit<FetchFailure, 'row'>;

interface Known {
  /** The time at which the map came, or its absence. */
  readonly since: number;
  readonly map: ObjectMap | undefined;
  readonly neighbours: Neighbours | undefined;
  readonly fetch: ObjectFetch;
}

/** Objects that are under way. */
interface Running {
  readonly rows: readonly number[];
  readonly failures: Promise<readonly FetchFailure[]>;
}

/** An object of a request for which no reader waited when it was made. */
interface Ahead {
  isStored: boolean;
  /** Called when it is stored, or when the request has ended. */
  readonly told: (() => void)[];
}

/** Objects that share a frame: who gets one has got the others. */
class Neighbours {
  readonly #map: ObjectMap;
  readonly #sizes: Float64Array;
  /** Rows of the objects that lie in one frame, by frame and place in it. */
  readonly #order: Uint32Array;
  /** The place of each row in `#order`; rows that lie alone have none. */
  readonly #placeOf: Int32Array;

  constructor(map: ObjectMap, sizes: Float64Array) {
    this.#map = map;
    this.#sizes = sizes;
    const { frameOf, offsetOf } = map;
    const rows = frameOf.map((_, row) => row).filter((row) => this.#isShared(row));
    this.#order = rows.sort(
      (a, b) => (frameOf[a] as number) - (frameOf[b] as number) || (offsetOf[a] as number) - (offsetOf[b] as number),
    );
    this.#placeOf = new Int32Array(frameOf.length).fill(-1);
    for (const [place, row] of this.#order.entries()) this.#placeOf[row] = place;
  }

  #isShared(row: number): boolean {
    return this.#map.frameOf[row] !== ALONE && framesOf(this.#sizes[row] as number) === 1;
  }

  /** The row, and others of its frame: the same ones for each of them. */
  withThose(row: number): readonly number[] {
    const place = this.#placeOf[row] as number;
    if (place < 0) return [row];
    const frame = this.#map.frameOf[row];
    let first = place;
    while (first > 0 && this.#map.frameOf[this.#order[first - 1] as number] === frame) first--;
    first = place - ((place - first) % NEIGHBOURS);
    const group = this.#order.subarray(first, first + NEIGHBOURS);
    return [...group.filter((other) => this.#map.frameOf[other] === frame)];
  }
}
