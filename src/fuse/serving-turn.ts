/**
 * Whose turn it is to wait for requests: one thread of a mount at a time, so that a reader is always answered by the
 * same, running thread, and waking costs nothing where it answered just now. Whoever is about to wait for a disk
 * or to hash much passes the turn on first, and another thread goes on with the next request.
 *
 * Passing on wakes a thread, which costs as much as opening a small file that is in memory. So it is not done
 * for little work, as long as that turns out to be quick.
 */
import { SharedMutex } from './shared-mutex.ts';

export const allocateServingTurn = (): SharedArrayBuffer => new SharedArrayBuffer(4);

/** Bytes to read and hash that are worth another thread's waking. */
const MUCH = 131_072;
/** Little work that took longer than this waited for a disk, and the next is expected to. */
const QUICK_MS = 0.3;

/** One a thread, over the memory that the threads of a mount share. */
export class ServingTurn {
  readonly #mutex: SharedMutex;
  readonly #now: () => number;
  #mine = false;
  /** When work began; undefined where none is under way. */
  #began: number | undefined;
  #wasQuick = false;

  /** @param now a clock, in milliseconds */
  constructor(state: SharedArrayBuffer, now: () => number = () => performance.now()) {
    this.#mutex = new SharedMutex(new Int32Array(state), 0);
    this.#now = now;
  }

  /** Waits until no other thread has the turn; returns at once where this one has it. Ends the work of `beforeWork`. */
  take(): void {
    if (this.#began !== undefined) {
      this.#wasQuick = this.#now() - this.#began < QUICK_MS;
      this.#began = undefined;
    }
    if (this.#mine) return;
    this.#mutex.lock();
    this.#mine = true;
  }

  /** Tells that this thread is going to open, read and hash about `bytes`, and passes the turn on where that may take long. */
  beforeWork(bytes: number): void {
    this.#began = this.#now();
    if (bytes >= MUCH || !this.#wasQuick) this.pass();
  }

  /** Lets another thread have the turn; does nothing where this one does not have it. */
  pass(): void {
    if (!this.#mine) return;
    this.#mine = false;
    this.#mutex.unlock();
  }
}
