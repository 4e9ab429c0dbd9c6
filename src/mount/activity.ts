/**
 * What the requests of a mount are, while someone watches: how long they take, and which files are opened most. A mount
 * that nobody watches pays one look at a shared word for each request. Each thread counts for itself, as in
 * counters.ts, and begins anew when watching does.
 */

/** Bucket 0 is for answers in less than 1 µs, bucket `i` for those in less than 2^i µs, and the last for all others. */
export const BUCKETS = 25;
/** Files whose opens each thread counts. */
const FILES = 64;
/** How many of them are reported. */
const MOST_REPORTED = 10;
/** How long a mount is watched after it was asked. */
const PATIENCE_S = 60;

/** Words of the header: the number of the watch, or 0; and when it ends, in seconds since 1970. */
const WATCH = 0;
const UNTIL = 1;
const LAST = 2;
const HEADER_BYTES = 16;

/** A row: the number of the watch that it is of, the buckets, inode numbers, their opens. */
const LATENCY = 1;
const INODES = LATENCY + BUCKETS;
const OPENS = INODES + FILES;
const ROW = OPENS + FILES;

export const allocateActivity = (threads: number): SharedArrayBuffer =>
  new SharedArrayBuffer(HEADER_BYTES + threads * ROW * 8);

const seconds = (): number => Math.floor(Date.now() / 1_000) | 0;

/** The counts of one thread. */
export class ActivityCounts {
  readonly #header: Int32Array;
  readonly #row: Float64Array;

  constructor(memory: SharedArrayBuffer, thread: number) {
    this.#header = new Int32Array(memory, 0, HEADER_BYTES / 4);
    this.#row = new Float64Array(memory, HEADER_BYTES + thread * ROW * 8, ROW);
  }

  get isWatched(): boolean {
    return this.#header[WATCH] !== 0;
  }

  /** Counts a request that took so long; ends a watch of which nothing was heard. */
  request(ms: number): void {
    this.#begin();
    const microseconds = Math.min(Math.max(Math.floor(ms * 1_000), 0), 2 ** 30);
    this.#add(LATENCY + Math.min(32 - Math.clz32(microseconds), BUCKETS - 1));
    if (((seconds() - (this.#header[UNTIL] as number)) | 0) > 0) this.#header[WATCH] = 0;
  }

  /** Counts an open. A file that is not among those that are counted takes the place of the one with the fewest. */
  opened(ino: number): void {
    this.#begin();
    const row = this.#row;
    let least = 0;
    for (let i = 0; i < FILES; i++) {
      if (row[INODES + i] === ino) {
        this.#add(OPENS + i);
        return;
      }
      if ((row[OPENS + i] as number) < (row[OPENS + least] as number)) least = i;
    }
    row[INODES + least] = ino;
    this.#add(OPENS + least);
  }

  #begin(): void {
    const watch = this.#header[WATCH] as number;
    if (watch === 0 || this.#row[0] === watch) return;
    this.#row.fill(0);
    this.#row[0] = watch;
  }

  #add(index: number): void {
    this.#row[index] = (this.#row[index] as number) + 1;
  }
}

/** The counts of all threads since watching began. */
export interface ActivityTotals {
  /** Changes when counting begins anew. */
  readonly watch: number;
  /** Requests by the time that they took: see `BUCKETS`. */
  readonly latency: readonly number[];
  /** The files that were opened most, and how often: at most that, for files that were not always counted. */
  readonly opened: readonly (readonly [ino: number, opens: number])[];
}

/** Watches the mount for a minute. @returns the counts so far */
export function watchActivity(memory: SharedArrayBuffer): ActivityTotals {
  const header = new Int32Array(memory, 0, HEADER_BYTES / 4);
  Atomics.store(header, UNTIL, (seconds() + PATIENCE_S) | 0);
  if (Atomics.load(header, WATCH) === 0) {
    const next = (Atomics.add(header, LAST, 1) & 0x3fffffff) + 1;
    Atomics.compareExchange(header, WATCH, 0, next);
  }
  const watch = Atomics.load(header, WATCH);
  const rows = new Float64Array(memory, HEADER_BYTES);
  const latency = new Array<number>(BUCKETS).fill(0);
  const opens = new Map<number, number>();
  for (let at = 0; at < rows.length; at += ROW) {
    const row = rows.subarray(at, at + ROW);
    if (row[0] !== watch) continue;
    for (let i = 0; i < BUCKETS; i++) latency[i] = (latency[i] as number) + (row[LATENCY + i] as number);
    for (let i = 0; i < FILES; i++) {
      const ino = row[INODES + i] as number;
      if (ino !== 0) opens.set(ino, (opens.get(ino) ?? 0) + (row[OPENS + i] as number));
    }
  }
  const opened = [...opens].sort(([a, n], [b, m]) => m - n || a - b).slice(0, MOST_REPORTED);
  return { watch, latency, opened };
}
