/**
 * What each thread that serves requests is at: shared memory that the threads write and the main thread looks at. A
 * request that waits for a disk, or for a repository that does not answer, holds only its thread: others are started, and
 * who gives up waiting for it is answered by somebody else.
 */

/** Threads that a mount can have. */
export const MOST_THREADS = 64;

const WORDS = 8;
/** Of an entry. */
const STATE = 0;
const BEGAN = 1;
const UNIQUE_LOW = 2;
const UNIQUE_HIGH = 3;
const PID = 4;
const INTERRUPTED = 5;

const IDLE = 0;
const WORKING = 1;
/** The main thread has answered in the thread's place. */
const ANSWERED = 2;

/** Before the entries: whether the main thread looks. */
const WATCHED = 0;
const HEADER = WORDS;

export const allocateWorkTable = (): SharedArrayBuffer => new SharedArrayBuffer((HEADER + MOST_THREADS * WORDS) * 4);

/** Milliseconds on a clock that all threads share, in 31 bits. */
const now = (): number => Date.now() % 0x8000_0000;

/** One request that is being worked on. */
export interface Work {
  readonly thread: number;
  /** Milliseconds since it began. */
  readonly age: number;
  readonly uniqueLow: number;
  readonly uniqueHigh: number;
  /** Who asked; 0 where that is not known. */
  readonly pid: number;
  /** The kernel has said that a signal came to who asked. */
  readonly isInterrupted: boolean;
}

export class WorkTable {
  readonly #words: Int32Array;

  constructor(memory: SharedArrayBuffer) {
    this.#words = new Int32Array(memory);
  }

  /** Of a thread: it begins something that may have to wait. Returns true where the main thread must be told to look. */
  begin(thread: number, uniqueLow: number, uniqueHigh: number, pid: number): boolean {
    const words = this.#words;
    const at = HEADER + thread * WORDS;
    words[at + BEGAN] = now();
    words[at + UNIQUE_LOW] = uniqueLow;
    words[at + UNIQUE_HIGH] = uniqueHigh;
    words[at + PID] = pid;
    words[at + INTERRUPTED] = 0;
    Atomics.store(words, at + STATE, WORKING);
    return Atomics.load(words, WATCHED) === 0 && Atomics.compareExchange(words, WATCHED, 0, 1) === 0;
  }

  /** Of a thread: it is done. Returns false where the request was answered meanwhile: its own answer is not wanted. */
  end(thread: number): boolean {
    const at = HEADER + thread * WORDS + STATE;
    return Atomics.exchange(this.#words, at, IDLE) !== ANSWERED;
  }

  /** The kernel's INTERRUPT of the request with this `unique`. */
  interrupt(uniqueLow: number, uniqueHigh: number): void {
    const words = this.#words;
    for (let at = HEADER; at < words.length; at += WORDS) {
      if (words[at + UNIQUE_LOW] !== (uniqueLow | 0) || words[at + UNIQUE_HIGH] !== (uniqueHigh | 0)) continue;
      if (Atomics.load(words, at + STATE) === WORKING) words[at + INTERRUPTED] = 1;
    }
  }

  /** Of the main thread: all that is being worked on. */
  working(): Work[] {
    const words = this.#words;
    const found: Work[] = [];
    for (let thread = 0; thread < MOST_THREADS; thread++) {
      const at = HEADER + thread * WORDS;
      if (Atomics.load(words, at + STATE) !== WORKING) continue;
      found.push({
        thread,
        age: Math.max(0, now() - (words[at + BEGAN] as number)),
        uniqueLow: (words[at + UNIQUE_LOW] as number) >>> 0,
        uniqueHigh: (words[at + UNIQUE_HIGH] as number) >>> 0,
        pid: words[at + PID] as number,
        isInterrupted: words[at + INTERRUPTED] === 1,
      });
    }
    return found;
  }

  /**
   * Of the main thread: takes the answering of this request away from its thread.
   * @returns false where that has ended meanwhile
   */
  takeOver({ thread }: Work): boolean {
    const at = HEADER + thread * WORDS + STATE;
    return Atomics.compareExchange(this.#words, at, WORKING, ANSWERED) === WORKING;
  }

  /** Of the main thread: it looks no more, and wants to be told again. */
  unwatch(): void {
    Atomics.store(this.#words, WATCHED, 0);
  }
}
