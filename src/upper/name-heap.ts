/**
 * The names of the rows: lists of records, newest first. A record is a chain of cells of one size, so that any free
 * cells can hold any name: names may come and go in any number and any length, and the heap needs no more room than
 * the most cells that were used at one time.
 *
 * A cell is a link to the next cell and 28 bytes. The first one of a record begins with the cell of the next record,
 * the lower word of the parent's id, and a word of the length times 2^20 plus the upper 20 bits of that id; 16 bytes
 * of the name follow. The link of a record's last cell means nothing: the length tells which is the last one. So the
 * first cells of the list of free ones become a record as they are, with one store that takes them from the list.
 *
 * What is stored without the journal: the words of free cells, but for their links, and the links of cells that were
 * never used. Nothing reads either until a change that the journal makes whole.
 */

import { isReserved, type Reserve } from './reserve.ts';
import {
  CELL_HEAD,
  CELL_LINK,
  CELL_WORDS,
  CELLS_RESERVED,
  CELLS_USED,
  cellsFor,
  FREE_CELL,
  FREE_CELLS,
  type Layout,
  LENGTH,
  LENGTH_SHIFT,
  LONGEST_NAME,
  NEXT_RECORD,
  PARENT_HIGH,
  PARENT_LOW,
} from './table-layout.ts';
import type { WordJournal } from './word-journal.ts';

/** Cells that `add` leaves, so that a name can be replaced by any other one in a heap that is full. */
const SPARE_CELLS = cellsFor(LONGEST_NAME);
/** Cells that are taken into use at a time. */
const BATCH = 64;

/** A name in a directory. */
export interface Name {
  /** The id of the directory. */
  readonly parent: number;
  /** A copy. */
  readonly name: Uint8Array;
}

export class NameHeap {
  readonly #words: Int32Array;
  readonly #bytes: Uint8Array;
  readonly #journal: WordJournal;
  readonly #cellsAt: number;
  readonly #cells: number;
  readonly #reserve: Reserve | undefined;

  constructor(words: Int32Array, journal: WordJournal, { cellsAt, cells }: Layout, reserve: Reserve | undefined) {
    this.#words = words;
    this.#bytes = new Uint8Array(words.buffer, words.byteOffset, words.byteLength);
    this.#journal = journal;
    this.#cellsAt = cellsAt;
    this.#cells = cells;
    this.#reserve = reserve;
  }

  /**
   * Before a change: whether there is room for a name of `length` bytes. Takes unused cells into use for it.
   * @param isReplacement whether it may use what other names leave
   */
  hasRoom(length: number, isReplacement: boolean): boolean {
    const words = this.#words;
    const needed = cellsFor(length) + (isReplacement ? 0 : SPARE_CELLS);
    while ((words[FREE_CELLS] as number) < needed) if (!this.#takeBatch()) return false;
    let cell = words[FREE_CELL] as number;
    for (let left = cellsFor(length); left > 0; left--) {
      if (!this.#isUsed(cell)) throw new Error('the table of identities is damaged: its free cells');
      cell = words[this.#at(cell)] as number;
    }
    return true;
  }

  /** Within a change, after `hasRoom`: adds a name to the list that begins in word `listAt`. */
  add(listAt: number, parent: number, name: Uint8Array): void {
    const record = this.#take(parent, name);
    this.#words[this.#at(record) + NEXT_RECORD] = this.#journal.get(listAt);
    this.#journal.put(listAt, record);
  }

  /** Within a change, after `hasRoom`: puts another name in the place of the one that word `linkAt` refers to. */
  replace(linkAt: number, parent: number, name: Uint8Array): void {
    const old = this.#journal.get(linkAt);
    const record = this.#take(parent, name);
    this.#words[this.#at(record) + NEXT_RECORD] = this.#journal.get(this.#at(old) + NEXT_RECORD);
    this.#journal.put(linkAt, record);
    this.#free(old);
  }

  /** Within a change: removes the name that word `linkAt` refers to. */
  remove(linkAt: number): void {
    const old = this.#journal.get(linkAt);
    this.#journal.put(linkAt, this.#isUsed(old) ? this.#journal.get(this.#at(old) + NEXT_RECORD) : 0);
    this.#free(old);
  }

  /** The word that refers to the record of this name, in the list that begins in word `listAt`; -1 for none. */
  find(listAt: number, parent: number, name: Uint8Array): number {
    const words = this.#words;
    const low = parent | 0;
    const lengthWord = this.#lengthWord(parent, name.length);
    let linkAt = listAt;
    for (let left = words[CELLS_USED] as number; left > 0; left--) {
      const record = words[linkAt] as number;
      if (!this.#isUsed(record)) return -1;
      const at = this.#at(record);
      if (words[at + PARENT_LOW] === low && words[at + LENGTH] === lengthWord && this.#isName(record, name)) {
        return linkAt;
      }
      linkAt = at + NEXT_RECORD;
    }
    return -1;
  }

  /** The name that word `linkAt` refers to; undefined if there is none. */
  read(linkAt: number): Name | undefined {
    const words = this.#words;
    const record = words[linkAt] as number;
    if (!this.#isUsed(record)) return undefined;
    const at = this.#at(record);
    const low = (words[at + PARENT_LOW] as number) >>> 0;
    const high = (words[at + LENGTH] as number) & PARENT_HIGH;
    const name = new Uint8Array(Math.min((words[at + LENGTH] as number) >>> LENGTH_SHIFT, LONGEST_NAME));
    if (!this.#copyName(record, name)) return undefined;
    return { parent: high * 0x1_0000_0000 + low, name };
  }

  /** At most `most` names of the list that begins in word `listAt`, newest first. */
  readAll(listAt: number, most: number): Name[] {
    const names: Name[] = [];
    let linkAt = listAt;
    // in any memory: not more than its cells can hold
    let cells = this.#words[CELLS_USED] as number;
    while (names.length < most && cells > 0) {
      const name = this.read(linkAt);
      if (name === undefined) break;
      names.push(name);
      cells -= cellsFor(name.name.length);
      linkAt = this.#at(this.#words[linkAt] as number) + NEXT_RECORD;
    }
    return names;
  }

  /** Makes a record of free cells; the caller links it. */
  #take(parent: number, name: Uint8Array): number {
    const words = this.#words;
    const journal = this.#journal;
    const record = words[FREE_CELL] as number;
    const at = this.#at(record);
    words[at + PARENT_LOW] = parent | 0;
    words[at + LENGTH] = this.#lengthWord(parent, name.length);
    let cell = record;
    let to = at * 4 + CELL_HEAD;
    let end = (at + CELL_WORDS) * 4;
    for (let i = 0; i < name.length; i++) {
      if (to === end) {
        cell = words[this.#at(cell)] as number;
        to = this.#at(cell) * 4 + CELL_LINK;
        end = (this.#at(cell) + CELL_WORDS) * 4;
      }
      this.#bytes[to++] = name[i] as number;
    }
    journal.put(FREE_CELL, words[this.#at(cell)] as number);
    journal.put(FREE_CELLS, (words[FREE_CELLS] as number) - cellsFor(name.length));
    return record;
  }

  /** Puts the cells of a record into the list of free ones. */
  #free(record: number): void {
    const words = this.#words;
    const journal = this.#journal;
    if (!this.#isUsed(record)) return;
    const cells = cellsFor((words[this.#at(record) + LENGTH] as number) >>> LENGTH_SHIFT);
    let last = record;
    for (let left = cells - 1; left > 0; left--) {
      last = words[this.#at(last)] as number;
      if (!this.#isUsed(last)) return;
    }
    journal.put(this.#at(last), journal.get(FREE_CELL));
    journal.put(FREE_CELL, record);
    journal.put(FREE_CELLS, journal.get(FREE_CELLS) + cells);
  }

  /** Puts cells that were never used into the list of free ones; false if there are none, or the disk is full. */
  #takeBatch(): boolean {
    const words = this.#words;
    const journal = this.#journal;
    const used = words[CELLS_USED] as number;
    const count = Math.min(BATCH, this.#cells - used);
    if (count <= 0 || !this.#isReserved(used + count)) return false;
    const first = used + 1;
    const last = used + count;
    for (let cell = first; cell < last; cell++) words[this.#at(cell)] = cell + 1;
    words[this.#at(last)] = words[FREE_CELL] as number;
    journal.begin();
    // the limit first: other threads may read it before numbers that it limits
    journal.put(CELLS_USED, last);
    journal.put(FREE_CELL, first);
    journal.put(FREE_CELLS, (words[FREE_CELLS] as number) + count);
    journal.commit();
    return true;
  }

  #isReserved(cells: number): boolean {
    return isReserved(
      this.#words,
      CELLS_RESERVED,
      this.#cellsAt,
      cells * CELL_WORDS,
      this.#cells * CELL_WORDS,
      this.#reserve,
    );
  }

  #lengthWord(parent: number, length: number): number {
    return (length << LENGTH_SHIFT) | Math.floor(parent / 0x1_0000_0000);
  }

  #isName(record: number, name: Uint8Array): boolean {
    let cell = record;
    let from = this.#at(record) * 4 + CELL_HEAD;
    let end = (this.#at(record) + CELL_WORDS) * 4;
    for (let i = 0; i < name.length; i++) {
      if (from === end) {
        cell = this.#words[this.#at(cell)] as number;
        if (!this.#isUsed(cell)) return false;
        from = this.#at(cell) * 4 + CELL_LINK;
        end = (this.#at(cell) + CELL_WORDS) * 4;
      }
      if (this.#bytes[from++] !== name[i]) return false;
    }
    return true;
  }

  #copyName(record: number, into: Uint8Array): boolean {
    let cell = record;
    let from = this.#at(record) * 4 + CELL_HEAD;
    let end = (this.#at(record) + CELL_WORDS) * 4;
    for (let i = 0; i < into.length; i++) {
      if (from === end) {
        cell = this.#words[this.#at(cell)] as number;
        if (!this.#isUsed(cell)) return false;
        from = this.#at(cell) * 4 + CELL_LINK;
        end = (this.#at(cell) + CELL_WORDS) * 4;
      }
      into[i] = this.#bytes[from++] as number;
    }
    return true;
  }

  /** Whether this is a cell, and not 0 or anything that damaged memory may hold. */
  #isUsed(cell: number): boolean {
    return cell > 0 && cell <= (this.#words[CELLS_USED] as number);
  }

  #at(cell: number): number {
    return this.#cellsAt + (cell - 1) * CELL_WORDS;
  }
}
