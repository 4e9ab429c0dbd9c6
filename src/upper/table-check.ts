/** Whether all of a table of identities fits together: for tables that come from a disk, and for tests. */
import { indexesOf, type RowIndex } from './row-index.ts';
import { tableWords } from './table-header.ts';
import {
  CAPACITY,
  CELL_WORDS,
  CELLS_USED,
  COUNT,
  cellsFor,
  DYING,
  FLAGS,
  FREE_CELL,
  FREE_CELLS,
  FREE_ROW,
  ID_HIGH,
  ID_LOW,
  ID_NEXT,
  JOURNAL,
  type Layout,
  LENGTH,
  LENGTH_SHIFT,
  LONGEST_NAME,
  layoutOf,
  NAME_COUNT,
  NAMES,
  NEXT_RECORD,
  PARENT_HIGH,
  PARENT_LOW,
  ROW_WORDS,
  ROWS_USED,
  UPPER_LOW,
  UPPER_NEXT,
} from './table-layout.ts';
import { WordJournal } from './word-journal.ts';

/** Rows in one chain: more do not come about by chance. */
const LONGEST_CHAIN = 1000;

/**
 * Whether the memory has a table without a contradiction, in which no change is unfinished: `IdentityTable.open`
 * finishes one. It takes a second for a million rows. Ends in any memory.
 */
export function isSound(memory: ArrayBufferLike): boolean {
  const words = tableWords(memory);
  if (words === undefined || words[JOURNAL] !== 0 || words[DYING] !== 0) return false;
  return new Check(words, layoutOf(words[CAPACITY] as number)).isSound();
}

class Check {
  readonly #words: Int32Array;
  readonly #layout: Layout;
  readonly #used: number;
  /** 1 for each cell that was met, by its number. */
  readonly #isMet: Uint8Array;
  #met = 0;

  constructor(words: Int32Array, layout: Layout) {
    this.#words = words;
    this.#layout = layout;
    this.#used = words[ROWS_USED] as number;
    this.#isMet = new Uint8Array((words[CELLS_USED] as number) + 1);
  }

  isSound(): boolean {
    const words = this.#words;
    let live = 0;
    let uppers = 0;
    for (let row = 0; row < this.#used; row++) {
      const at = this.#row(row);
      if (!this.#isLive(row)) {
        if (words[at + FLAGS] !== 0) return false;
        continue;
      }
      live++;
      if (hasKey(words, at + UPPER_LOW)) uppers++;
      if (!hasKey(words, at + ID_LOW) || !isHigh(words[at + ID_HIGH] as number) || !this.#areNamesSound(at))
        return false;
    }
    const { idBucketsAt, upperBucketsAt } = this.#layout;
    const indexes = indexesOf(words, this.#layout, new WordJournal(words, JOURNAL));
    return (
      live === words[COUNT] &&
      this.#rowsIn(indexes.ids, idBucketsAt, ID_LOW, ID_NEXT) === live &&
      this.#rowsIn(indexes.uppers, upperBucketsAt, UPPER_LOW, UPPER_NEXT) === uppers &&
      this.#freeRows() === this.#used - live &&
      this.#areFreeCellsSound() &&
      this.#met === words[CELLS_USED]
    );
  }

  /** How many rows an index has; -1 if one of them is wrong. */
  #rowsIn(index: RowIndex, bucketsAt: number, key: number, next: number): number {
    const words = this.#words;
    let found = 0;
    const chain: number[] = [];
    for (let bucket = bucketsAt; bucket < bucketsAt + this.#layout.buckets; bucket++) {
      chain.length = 0;
      for (let link = words[bucket] as number; link !== 0; ) {
        if (link < 0 || link > this.#used || !this.#isLive(link - 1) || chain.length === LONGEST_CHAIN) return -1;
        const at = this.#row(link - 1);
        const [low, high] = [words[at + key] as number, words[at + key + 1] as number];
        if (index.bucketOf(low, high) !== bucket) return -1;
        if (chain.some((other) => words[other + key] === low && words[other + key + 1] === high)) return -1;
        chain.push(at);
        link = words[at + next] as number;
      }
      found += chain.length;
    }
    return found;
  }

  /** How many rows are in the list of free ones; -1 if it has another one. */
  #freeRows(): number {
    const words = this.#words;
    let found = 0;
    for (let link = words[FREE_ROW] as number; link !== 0; found++) {
      if (link < 0 || link > this.#used || this.#isLive(link - 1) || found === this.#used) return -1;
      if (words[this.#row(link - 1) + NAMES] !== 0) return -1;
      link = words[this.#row(link - 1) + ID_NEXT] as number;
    }
    return found;
  }

  #areNamesSound(rowAt: number): boolean {
    const words = this.#words;
    let count = 0;
    for (let record = words[rowAt + NAMES] as number; record !== 0; count++) {
      let cell = record;
      if (!this.#meet(cell)) return false;
      const at = this.#cell(record);
      const lengthWord = words[at + LENGTH] as number;
      const length = lengthWord >>> LENGTH_SHIFT;
      if (length < 1 || length > LONGEST_NAME) return false;
      if (words[at + PARENT_LOW] === 0 && (lengthWord & PARENT_HIGH) === 0) return false;
      for (let left = cellsFor(length) - 1; left > 0; left--) {
        cell = words[this.#cell(cell)] as number;
        if (!this.#meet(cell)) return false;
      }
      record = words[at + NEXT_RECORD] as number;
    }
    return count === words[rowAt + NAME_COUNT];
  }

  #areFreeCellsSound(): boolean {
    const words = this.#words;
    let cell = words[FREE_CELL] as number;
    for (let left = words[FREE_CELLS] as number; left > 0; left--) {
      if (!this.#meet(cell)) return false;
      cell = words[this.#cell(cell)] as number;
    }
    return cell === 0;
  }

  /** Returns false if this is not a cell, or was visited before. */
  #meet(cell: number): boolean {
    if (this.#isMet[cell] !== 0 || cell === 0) return false;
    this.#isMet[cell] = 1;
    this.#met++;
    return true;
  }

  #isLive(row: number): boolean {
    return (this.#words[this.#row(row) + FLAGS] as number) < 0;
  }

  #row(row: number): number {
    return this.#layout.rowsAt + row * ROW_WORDS;
  }

  #cell(cell: number): number {
    return this.#layout.cellsAt + (cell - 1) * CELL_WORDS;
  }
}

const hasKey = (words: Int32Array, at: number): boolean => words[at] !== 0 || words[at + 1] !== 0;
/** Of an id: 20 bits. */
const isHigh = (word: number): boolean => word >= 0 && word <= PARENT_HIGH;
