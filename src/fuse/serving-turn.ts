/**
 * Whose turn it is to wait for requests: one thread of a mount at a time, so that a reader is always answered by the
 * same, running thread, and waking costs nothing where it answered just now. Whoever is about to wait for a disk
 * or to hash passes the turn on first, and another thread goes on with the next request.
 */
import { SharedMutex } from './shared-mutex.ts';

export const allocateServingTurn = (): SharedArrayBuffer => new SharedArrayBuffer(4);

/** One a thread, over the memory that the threads of a mount share. */
export class ServingTurn {
  readonly #mutex: SharedMutex;
  #mine = false;

  constructor(state: SharedArrayBuffer) {
    this.#mutex = new SharedMutex(new Int32Array(state), 0);
  }

  /** Waits until no other thread has the turn; returns at once where this one has it. */
  take(): void {
    if (this.#mine) return;
    this.#mutex.lock();
    this.#mine = true;
  }

  /** Lets another thread have the turn; does nothing where this one does not have it. */
  pass(): void {
    if (!this.#mine) return;
    this.#mine = false;
    this.#mutex.unlock();
  }
}
