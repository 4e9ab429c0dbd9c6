/** A mutex in shared memory, for short sections in worker threads. */

const FREE = 0;
const HELD = 1;
/** Held, with possible waiters. */
const CONTENDED = 2;

export class SharedMutex {
  readonly #words: Int32Array;
  readonly #index: number;

  /** @param words over a SharedArrayBuffer; word `index` is 0 while the mutex is free */
  constructor(words: Int32Array, index: number) {
    this.#words = words;
    this.#index = index;
  }

  /** Runs `section` while holding the mutex; not reentrant. */
  hold<T>(section: () => T): T {
    this.lock();
    try {
      return section();
    } finally {
      this.unlock();
    }
  }

  unlock(): void {
    if (Atomics.exchange(this.#words, this.#index, FREE) === CONTENDED) Atomics.notify(this.#words, this.#index, 1);
  }

  lock(): void {
    if (Atomics.compareExchange(this.#words, this.#index, FREE, HELD) === FREE) return;
    while (Atomics.exchange(this.#words, this.#index, CONTENDED) !== FREE) {
      Atomics.wait(this.#words, this.#index, CONTENDED);
    }
  }
}
