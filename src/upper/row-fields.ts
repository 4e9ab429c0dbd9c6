/** The words of a row of a table of identities that change one at a time, and finding them. */
import {
  BACKING,
  CHANGE_ERA,
  CHANGE_NUMBER,
  CHANGED,
  EXTRA,
  EXTRAS,
  FLAGS,
  GENERATION,
  ID_HIGH,
  ID_LOW,
  IS_MARKED,
  LIVE,
  MOVED,
  OPENS,
  REFERENCES,
  ROW_WORDS,
  ROWS_USED,
  UPPER_HIGH,
  UPPER_LOW,
} from './table-layout.ts';

/** Flags of a row. Bits from 7 to 30 are free. */
/** It has a file in the upper layer. */
export const UPPER = 1;
export const DIRECTORY = 2;
/** Without a name; its file is among the orphans. */
export const ORPHAN = 4;
/** Its upper file has no content. */
export const METACOPY = 8;
/** Its upper file has a link in the index directory. */
export const INDEXED = 16;
/** The image's directory is not seen through it. */
export const OPAQUE = 32;
/** Made in this upper layer: the image has no such inode. */
export const NEW = 64;

/** The highest count: one that gets here stays, so that it is never too low. */
export const MOST_COUNTED = 0x7fff_ffff;

const TWO_TO_32 = 0x1_0000_0000;

export class RowFields {
  readonly #words: Int32Array;
  readonly #rowsAt: number;

  protected constructor(words: Int32Array, rowsAt: number) {
    this.#words = words;
    this.#rowsAt = rowsAt;
  }

  id(row: number): number {
    const at = this.at(row);
    return (this.#words[at + ID_HIGH] as number) * TWO_TO_32 + ((this.#words[at + ID_LOW] as number) >>> 0);
  }

  generation(row: number): number {
    return (this.#words[this.at(row) + GENERATION] as number) >>> 0;
  }

  flags(row: number): number {
    return (this.#words[this.at(row) + FLAGS] as number) & ~LIVE;
  }

  /** Any thread may call it. */
  setFlags(row: number, set: number, clear: number): void {
    const at = this.at(row) + FLAGS;
    const words = this.#words;
    for (;;) {
      const before = Atomics.load(words, at);
      const after = (before & (~clear | LIVE)) | (set & ~LIVE);
      if (Atomics.compareExchange(words, at, before, after) === before) return;
    }
  }

  upperLow(row: number): number {
    return (this.#words[this.at(row) + UPPER_LOW] as number) >>> 0;
  }

  upperHigh(row: number): number {
    return (this.#words[this.at(row) + UPPER_HIGH] as number) >>> 0;
  }

  /** The kernel's references to the inode. */
  references(row: number): number {
    return this.#words[this.at(row) + REFERENCES] as number;
  }

  /** Returns the new count, never below 0. Any thread may call it. */
  addReferences(row: number, n: number): number {
    return this.#count(this.at(row) + REFERENCES, n);
  }

  /** How often the kernel has the file open. */
  opens(row: number): number {
    return this.#words[this.at(row) + OPENS] as number;
  }

  /** As `addReferences`. */
  addOpens(row: number, n: number): number {
    return this.#count(this.at(row) + OPENS, n);
  }

  /** The kernel's number of the file that it reads and writes itself; the caller defines other values. */
  backing(row: number): number {
    return this.#words[this.at(row) + BACKING] as number;
  }

  setBacking(row: number, value: number): void {
    Atomics.store(this.#words, this.at(row) + BACKING, value);
  }

  /** A word for the caller's use; `i` is 0 to 3. */
  extra(row: number, i: number): number {
    return this.#words[this.#extraAt(row, i)] as number;
  }

  setExtra(row: number, i: number, value: number): void {
    Atomics.store(this.#words, this.#extraAt(row, i), value);
  }

  /**
   * Notes that the inode changes: to be called before the change, and once more after one during which others may have
   * called `nextChangeNumber`. One too many costs little, one too few loses a change.
   * @param isMoved it is a directory that gets another name
   */
  markChanged(row: number, isMoved: boolean = false): void {
    const at = this.at(row);
    const words = this.#words;
    const number = words[CHANGE_NUMBER] as number;
    if (words[at + CHANGED] !== number) Atomics.store(words, at + CHANGED, number);
    if (isMoved && words[at + MOVED] !== number) Atomics.store(words, at + MOVED, number);
    if (words[IS_MARKED] === 0) Atomics.store(words, IS_MARKED, 1);
  }

  /** The number that `nextChangeNumber` had returned last before the inode was marked. */
  changed(row: number): number {
    return (this.#words[this.at(row) + CHANGED] as number) >>> 0;
  }

  /** The same for the last move of a directory; 0 if it was not moved. */
  moved(row: number): number {
    return (this.#words[this.at(row) + MOVED] as number) >>> 0;
  }

  /** The number of all marks from now on: higher than those of before. 0 if there are no more; they are used up. */
  nextChangeNumber(): number {
    const words = this.#words;
    const number = words[CHANGE_NUMBER] as number;
    if (words[IS_MARKED] === 0) return number;
    if (number >= MOST_COUNTED) return 0;
    Atomics.store(words, CHANGE_NUMBER, number + 1);
    // in this order: a server that dies between the two leaves a number that was not needed
    Atomics.store(words, IS_MARKED, 0);
    return number + 1;
  }

  /** 16 digits that no other table has: numbers of changes are comparable only within one. */
  get changeEra(): string {
    const digits = (word: number): string => ((this.#words[word] as number) >>> 0).toString(16).padStart(8, '0');
    return digits(CHANGE_ERA) + digits(CHANGE_ERA + 1);
  }

  /** The first row from number `from` on; -1 for none. */
  nextRow(from: number): number {
    const used = this.#words[ROWS_USED] as number;
    for (let row = from; row < used; row++) if (this.isLive(row)) return row;
    return -1;
  }

  /** All rows. Rows may be removed in the meantime, and added ones may be missing. */
  *rows(): Generator<number> {
    for (let row = 0; row < (this.#words[ROWS_USED] as number); row++) if (this.isLive(row)) yield row;
  }

  protected isLive(row: number): boolean {
    return (this.#words[this.#rowsAt + row * ROW_WORDS + FLAGS] as number) < 0;
  }

  /** The words of a row. Throws for a number that is not a row: its words may be another one's. */
  protected at(row: number): number {
    if (!(row >= 0 && row < (this.#words[ROWS_USED] as number) && this.isLive(row))) {
      throw new RangeError(`the table of identities has no row ${row}`);
    }
    return this.#rowsAt + row * ROW_WORDS;
  }

  #extraAt(row: number, i: number): number {
    if (!(i >= 0 && i < EXTRAS)) throw new RangeError(`a row has no word ${i}`);
    return this.at(row) + EXTRA + i;
  }

  #count(at: number, n: number): number {
    const words = this.#words;
    for (;;) {
      const before = Atomics.load(words, at);
      if (before === MOST_COUNTED) return before;
      const after = Math.min(Math.max(before + n, 0), MOST_COUNTED);
      if (Atomics.compareExchange(words, at, before, after) === before) return after;
    }
  }
}
