/** Lets a number of works go on at the same time; the others wait for their turn, in order. */
export class Gate {
  #free: number;
  readonly #waiting: (() => void)[] = [];

  /** @param most works at the same time, at least 1 */
  constructor(most: number) {
    this.#free = most;
  }

  /** Waits for a turn, and works. @throws the errors of `work` */
  async run<T>(work: () => Promise<T>): Promise<T> {
    if (this.#free > 0) this.#free--;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
    try {
      return await work();
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#free++;
      else next();
    }
  }
}
