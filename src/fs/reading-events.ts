/**
 * Events of a mount's readers, from all threads: a ring in shared memory. Writing an event costs next to nothing. A
 * follower that does not keep up loses the oldest events, and one that reads an event while it is written gets an old
 * one. Both only make a guess worse.
 *
 * Why the follower sleeps through no opening except the few that `WAKE_EVERY` allows, and not through the end. It reads
 * OPENED before it looks for events, and sleeps only while OPENED has the value that it read. An opening is written
 * before it is counted: one that the look has missed is counted after the reading, so there is no sleep, or a
 * notification follows. The end is written to OVER before it is counted, in the same way. The value and the kind of an
 * event are plain stores: this costs only an old event, because neither is an address.
 * test/unit/fs/reading-events.test.ts explores the interleavings.
 */

/**
 * A directory begins to be listed (its row), a name was looked up (its dirent), a file is opened for the first time
 * (its row).
 */
export type ReadingEvent = 'listed' | 'looked' | 'opened';
const KINDS: readonly ReadingEvent[] = ['listed', 'looked', 'opened'];

const RING = 4096;
/** After this many openings the follower is woken if it sleeps: waking costs as much as an opening. */
const WAKE_EVERY = 8;
const HEADER_WORDS = 3;
/** Events so far; openings so far, for the waiting follower; whether it is over. */
const WRITTEN = 0;
const OPENED = 1;
const OVER = 2;

export const allocateReadingEvents = (): SharedArrayBuffer => new SharedArrayBuffer((HEADER_WORDS + 2 * RING) * 4);

/** One per thread, over the memory that the threads of a mount share. */
export class ReadingEvents {
  readonly #header: Int32Array;
  readonly #kinds: Int32Array;
  readonly #values: Uint32Array;
  #read = 0;

  constructor(state: SharedArrayBuffer) {
    this.#header = new Int32Array(state, 0, HEADER_WORDS);
    this.#kinds = new Int32Array(state, HEADER_WORDS * 4, RING);
    this.#values = new Uint32Array(state, (HEADER_WORDS + RING) * 4, RING);
  }

  tell(event: ReadingEvent, value: number): void {
    const at = Atomics.add(this.#header, WRITTEN, 1) & (RING - 1);
    this.#values[at] = value;
    this.#kinds[at] = KINDS.indexOf(event);
    if (event !== 'opened') return;
    const openings = Atomics.add(this.#header, OPENED, 1) + 1;
    if (openings % WAKE_EVERY === 0) Atomics.notify(this.#header, OPENED);
  }

  /** No more events will come: ends `follow`. */
  end(): void {
    Atomics.store(this.#header, OVER, 1);
    Atomics.add(this.#header, OPENED, 1);
    Atomics.notify(this.#header, OPENED);
  }

  /** The number of files that were opened for the first time. */
  get openings(): number {
    return Atomics.load(this.#header, OPENED);
  }

  /** Hands every event to `sink`, and waits for more, until `end`. Blocks the thread. */
  follow(sink: (event: ReadingEvent, value: number) => void): void {
    for (;;) {
      const openings = Atomics.load(this.#header, OPENED);
      this.#drain(sink);
      if (Atomics.load(this.#header, OVER) === 1) return;
      Atomics.wait(this.#header, OPENED, openings);
    }
  }

  #drain(sink: (event: ReadingEvent, value: number) => void): void {
    for (;;) {
      // counters wrap around at 2^31: only their difference is used
      const behind = (Atomics.load(this.#header, WRITTEN) - this.#read) | 0;
      if (behind === 0 || Atomics.load(this.#header, OVER) === 1) return;
      if (behind > RING) this.#read = (this.#read + behind - RING) | 0;
      const at = this.#read & (RING - 1);
      this.#read = (this.#read + 1) | 0;
      sink(KINDS[this.#kinds[at] as number] ?? 'looked', this.#values[at] as number);
    }
  }
}
