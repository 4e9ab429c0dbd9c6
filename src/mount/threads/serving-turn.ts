/**
 * Whose turn it is to wait for requests: one thread of a mount at a time, so that a reader is always answered by the
 * same, running thread, and waking costs nothing where it answered just now. Whoever is about to wait for a disk
 * or to hash much passes the turn on first, and another thread goes on with the next request.
 *
 * Passing on wakes a thread, which costs as much as opening a small file that is in memory. So it is not done
 * for little work, as long as that turns out to be quick. Where it does not, the turn is taken away.
 */
import { SharedMutex } from '../../system/shared-mutex.ts';
import { MOST_THREADS } from './most-threads.ts';

const MUTEX = 0;
/** Whose turn it is: a number that a thread has made for it, 0 for nobody's. */
const OWNER = 1;

export const allocateServingTurn = (): SharedArrayBuffer => new SharedArrayBuffer(8);

/** Bytes to read and hash that are worth another thread's waking. */
const MUCH = 131_072;
/** Little work that took longer than this waited for a disk, and the next is expected to. */
const QUICK_MS = 0.3;

/** One a thread, over the memory that the threads of a mount share. */
export class ServingTurn {
  readonly #words: Int32Array;
  readonly #mutex: SharedMutex;
  readonly #thread: number;
  readonly #now: () => number;
  /** What OWNER is in this thread's turn; 0 where it has none. */
  #mine = 0;
  #turns = 0;
  /** When work began; undefined where none is under way. */
  #began: number | undefined;
  #wasQuick = false;

  /**
   * @param thread the number of this thread, below 64
   * @param now a clock, in milliseconds
   */
  constructor(state: SharedArrayBuffer, thread = 0, now: () => number = () => performance.now()) {
    this.#words = new Int32Array(state);
    this.#mutex = new SharedMutex(this.#words, MUTEX);
    this.#thread = thread;
    this.#now = now;
  }

  /** Waits until no other thread has the turn; returns at once where this one has it. Ends the work of `beforeWork`. */
  take(): void {
    if (this.#began !== undefined) {
      this.#wasQuick = this.#now() - this.#began < QUICK_MS;
      this.#began = undefined;
    }
    if (this.#mine !== 0 && Atomics.load(this.#words, OWNER) === this.#mine) return;
    this.#mutex.lock();
    this.#turns = (this.#turns + 1) % (0x7fff_ffff / MOST_THREADS - 1);
    this.#mine = this.#turns * MOST_THREADS + this.#thread + 1;
    Atomics.store(this.#words, OWNER, this.#mine);
  }

  /** Tells that this thread is going to open, read and hash about `bytes`, and passes the turn on where that may take long. */
  beforeWork(bytes: number): void {
    this.#began = this.#now();
    if (bytes >= MUCH || !this.#wasQuick) this.pass();
  }

  /** Lets another thread have the turn; does nothing where this one does not have it. */
  pass(): void {
    const mine = this.#mine;
    this.#mine = 0;
    if (mine !== 0) release(this.#words, this.#mutex, mine);
  }
}

/** Gives the turn `owner` back, unless that was done before. */
function release(words: Int32Array, mutex: SharedMutex, owner: number): boolean {
  if (Atomics.compareExchange(words, OWNER, owner, 0) !== owner) return false;
  mutex.unlock();
  return true;
}

/** What the main thread does with the turn of the others. */
export class TurnWatch {
  readonly #words: Int32Array;
  readonly #mutex: SharedMutex;

  constructor(state: SharedArrayBuffer) {
    this.#words = new Int32Array(state);
    this.#mutex = new SharedMutex(this.#words, MUTEX);
  }

  /** The number of the thread whose turn it is; -1 where nobody waits for requests. */
  get thread(): number {
    const owner = Atomics.load(this.#words, OWNER);
    return owner === 0 ? -1 : (owner - 1) % MOST_THREADS;
  }

  /** Takes the turn away from thread `thread`, which keeps it while it waits for something else. */
  takeFrom(thread: number): void {
    const owner = Atomics.load(this.#words, OWNER);
    if (owner !== 0 && (owner - 1) % MOST_THREADS === thread) release(this.#words, this.#mutex, owner);
  }
}
