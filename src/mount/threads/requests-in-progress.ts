/**
 * The state of each thread that serves requests: shared memory that the threads write and the main thread reads. A
 * request that waits for a disk, or for a repository that does not answer, blocks only its thread: others are started,
 * and the main thread answers for a reader that is killed while it waits.
 *
 * Why no request is answered twice, or never. Each entry belongs to one thread. Its state is one word: the number of
 * the request among those of the thread, and one of three kinds. Only the thread makes new numbers, in `begin`. The
 * main thread only changes the kind, from WORKING to ANSWERED, and only by a compare-and-exchange of the whole word
 * that it saw: if the thread has begun another request, the number differs and nothing changes. `end` exchanges the
 * word, so exactly one of both has the answer: the thread, if it finds WORKING, or the main thread, if it stored
 * ANSWERED.
 *
 * The other words of an entry are written while it is IDLE. A reader loads the state before and after it reads them,
 * and discards them if the state differs. All accesses are atomic, hence in one total order. An INTERRUPT is recorded
 * as the state word of the request that it is for, so it cannot mark a later one. It is written by compare-and-exchange
 * with the word seen before the state was checked, and checked again if that fails: of two at the same time, the one
 * for the finished request gives up, and the one for the next request stays. Numbers have 30 bits: a number recurs
 * after 10^9 requests of a thread, and a number is held for comparison only for milliseconds.
 * test/unit/mount/threads/requests-in-progress.test.ts explores the interleavings.
 */
import { monotonicMs } from '../../base/clock.ts';
import { MOST_THREADS } from './most-threads.ts';

const WORDS = 8;
/** Of an entry: number << 2 | kind. */
const STATE = 0;
const BEGAN = 1;
const UNIQUE_LOW = 2;
const UNIQUE_HIGH = 3;
const PID = 4;
/** The state word of the request that the kernel's last INTERRUPT was for. */
const INTERRUPTED = 5;

const KIND = 3;
const IDLE = 0;
const WORKING = 1;
/** The main thread has answered in the thread's place. */
const ANSWERED = 2;
const ONE_NUMBER = 4;

/** Before the entries: whether the main thread is watching. */
const WATCHED = 0;
const HEADER = WORDS;

export const allocateWorkTable = (): SharedArrayBuffer => new SharedArrayBuffer((HEADER + MOST_THREADS * WORDS) * 4);

/** One request in progress. */
export interface Work {
  readonly thread: number;
  /** The number of the request within its thread. */
  readonly state: number;
  /** Milliseconds since it began. */
  readonly age: number;
  readonly uniqueLow: number;
  readonly uniqueHigh: number;
  /** The calling process; 0 if unknown. */
  readonly pid: number;
  /** The kernel has reported a signal for the calling process. */
  readonly isInterrupted: boolean;
}

export class WorkTable {
  readonly #words: Int32Array;
  readonly #now: () => number;

  /** @param now a clock that all threads share, in milliseconds, as an integer that may wrap at 32 bits */
  constructor(memory: SharedArrayBuffer, now: () => number = monotonicMs) {
    this.#words = new Int32Array(memory);
    this.#now = now;
  }

  /** For a thread: it begins something that may block. Returns true if the main thread must be notified. */
  begin(thread: number, uniqueLow: number, uniqueHigh: number, pid: number): boolean {
    const words = this.#words;
    const at = HEADER + thread * WORDS;
    Atomics.store(words, at + BEGAN, this.#now());
    Atomics.store(words, at + UNIQUE_LOW, uniqueLow);
    Atomics.store(words, at + UNIQUE_HIGH, uniqueHigh);
    Atomics.store(words, at + PID, pid);
    Atomics.store(words, at + STATE, (Atomics.load(words, at + STATE) & ~KIND) + (ONE_NUMBER | WORKING));
    return Atomics.load(words, WATCHED) === 0 && Atomics.compareExchange(words, WATCHED, 0, 1) === 0;
  }

  /**
   * For a thread: it is done. Returns false if the request was answered in the meantime: then its own answer is
   * dropped.
   */
  end(thread: number): boolean {
    const words = this.#words;
    const at = HEADER + thread * WORDS + STATE;
    // the main thread changes no number
    const idle = Atomics.load(words, at) & ~KIND;
    return (Atomics.exchange(words, at, idle) & KIND) !== ANSWERED;
  }

  /** The kernel's INTERRUPT of the request with this `unique`. */
  interrupt(uniqueLow: number, uniqueHigh: number): void {
    for (let at = HEADER; at < this.#words.length; at += WORDS) {
      while (!this.#mark(at, uniqueLow, uniqueHigh));
    }
  }

  /** Returns false if another INTERRUPT was recorded at the same time: then try again. */
  #mark(at: number, uniqueLow: number, uniqueHigh: number): boolean {
    const words = this.#words;
    const before = Atomics.load(words, at + INTERRUPTED);
    const state = Atomics.load(words, at + STATE);
    if ((state & KIND) !== WORKING) return true;
    if (Atomics.load(words, at + UNIQUE_LOW) !== (uniqueLow | 0)) return true;
    if (Atomics.load(words, at + UNIQUE_HIGH) !== (uniqueHigh | 0)) return true;
    if (Atomics.load(words, at + STATE) !== state) return true;
    return Atomics.compareExchange(words, at + INTERRUPTED, before, state) === before;
  }

  /** For the main thread: all requests in progress. */
  working(): Work[] {
    const words = this.#words;
    const found: Work[] = [];
    for (let thread = 0; thread < MOST_THREADS; thread++) {
      const at = HEADER + thread * WORDS;
      const state = Atomics.load(words, at + STATE);
      if ((state & KIND) !== WORKING) continue;
      const began = Atomics.load(words, at + BEGAN);
      const uniqueLow = Atomics.load(words, at + UNIQUE_LOW) >>> 0;
      const uniqueHigh = Atomics.load(words, at + UNIQUE_HIGH) >>> 0;
      const pid = Atomics.load(words, at + PID);
      const isInterrupted = Atomics.load(words, at + INTERRUPTED) === state;
      if (Atomics.load(words, at + STATE) !== state) continue;
      found.push({ thread, state, age: (this.#now() - began) >>> 0, uniqueLow, uniqueHigh, pid, isInterrupted });
    }
    return found;
  }

  /**
   * For the main thread: takes over the answer of this request from its thread.
   * @returns false if the request has ended in the meantime
   */
  takeOver({ thread, state }: Work): boolean {
    const at = HEADER + thread * WORDS + STATE;
    return Atomics.compareExchange(this.#words, at, state, state ^ (WORKING | ANSWERED)) === state;
  }

  /**
   * For the main thread: it stops watching, and is to be notified again. `begin` writes its state and then reads
   * WATCHED; this writes WATCHED and then reads the states. So one of both sees the other.
   * @returns false if a request began in the meantime without a notification: the main thread must continue watching
   */
  unwatch(): boolean {
    const words = this.#words;
    Atomics.store(words, WATCHED, 0);
    for (let at = HEADER + STATE; at < words.length; at += WORDS) {
      if ((Atomics.load(words, at) & KIND) !== IDLE) return Atomics.compareExchange(words, WATCHED, 0, 1) !== 0;
    }
    return true;
  }
}
