/**
 * The files of a mount in the order in which they were opened first, from all threads, in shared memory. None is lost,
 * as in the ring of ReadingEvents.
 *
 * A row is put into the list by the thread that has set its mark, at a place of its own. The place is counted before
 * the row is stored there: a reader stops at a place without a row, and continues from there the next time.
 */

/** @param inodes of the image */
export const allocateOpeningOrder = (inodes: number): SharedArrayBuffer => new SharedArrayBuffer(4 + inodes * 5);

/** One per thread. */
export class OpeningOrder {
  readonly #count: Int32Array;
  /** Rows, each plus 1. */
  readonly #rows: Int32Array;
  readonly #marks: Uint8Array;

  constructor(memory: SharedArrayBuffer) {
    const inodes = (memory.byteLength - 4) / 5;
    this.#count = new Int32Array(memory, 0, 1);
    this.#rows = new Int32Array(memory, 4, inodes);
    this.#marks = new Uint8Array(memory, 4 + inodes * 4, inodes);
  }

  /** Notes that an inode row is opened. */
  opened(row: number): void {
    if (Atomics.load(this.#marks, row) !== 0 || Atomics.exchange(this.#marks, row, 1) !== 0) return;
    Atomics.store(this.#rows, Atomics.add(this.#count, 0, 1), row + 1);
  }

  /** The rows after the first `from` ones. */
  after(from: number): number[] {
    const rows: number[] = [];
    const count = Atomics.load(this.#count, 0);
    for (let at = from; at < count; at++) {
      const row = Atomics.load(this.#rows, at);
      if (row === 0) break;
      rows.push(row - 1);
    }
    return rows;
  }
}
