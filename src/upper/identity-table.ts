/**
 * The inodes of a writable mount, by their ids: shared memory in which the threads that serve the mount, and
 * the server after them, find an inode's file in the upper layer, its names, and what the kernel knows of it. The
 * format is in docs/writable.md, "The table of identities".
 *
 * Only one thread at a time may call methods, except those whose comment permits any thread. If this rule is broken, a
 * change throws rather than mix with another one, and every search still ends.
 *
 * Why it survives a SIGKILL. A change is one of three kinds.
 * - One word of a row: flags, references, opens, backing, extra. A store of a word is whole.
 * - Anything that other words depend on: rows, indexes, names, counts, the two words of an upper inode. These are
 *   stored by WordJournal, which makes all words of one change whole.
 * - Words that nothing refers to yet: those of a free row or of free cells. They are stored directly, before the change
 *   that makes them a row or a name. A server that dies in between leaves them free.
 * The removal of a row with many names would be too long for one change. The first change takes the row out of the
 * indexes and notes it in DYING: from then on it is gone. Its names are freed one by one after that, then the row
 * itself; `open` goes on where this ended. test/unit/upper/identity-table-crash.test.ts stops after every store.
 */
import { type Name, NameHeap } from './name-heap.ts';
import { isReserved, type Reserve } from './reserve.ts';
import { DIRECTORY, RowFields } from './row-fields.ts';
import { indexesOf, type RowIndex } from './row-index.ts';
import { hasPossibleCounts, makeHeader, tableWords } from './table-header.ts';
import {
  CAPACITY,
  CELLS_USED,
  CLEAN,
  COUNT,
  DYING,
  FLAGS,
  FREE_ROW,
  GENERATION,
  ID_HIGH,
  ID_LOW,
  ID_NEXT,
  isJournaled,
  JOURNAL,
  type Layout,
  LIVE,
  LONGEST_NAME,
  layoutOf,
  NAME_COUNT,
  NAMES,
  ROW_WORDS,
  ROWS_RESERVED,
  ROWS_USED,
  UPPER_HIGH,
  UPPER_KEY,
  UPPER_KEY_BYTES,
  UPPER_LOW,
} from './table-layout.ts';
import { WordJournal } from './word-journal.ts';

export type { Name } from './name-heap.ts';
export type { Reserve } from './reserve.ts';
export { DIRECTORY, INDEXED, METACOPY, MOST_COUNTED, NEW, OPAQUE, ORPHAN, UPPER } from './row-fields.ts';
export { scatteredBytes, tableBytes } from './table-layout.ts';

const TWO_TO_32 = 0x1_0000_0000;
/** Ids are below: 52 bits. */
const END_OF_IDS = 2 ** 52;

export class IdentityTable extends RowFields {
  readonly capacity: number;
  readonly #words: Int32Array;
  readonly #layout: Layout;
  readonly #rowsAt: number;
  readonly #journal: WordJournal;
  readonly #ids: RowIndex;
  readonly #uppers: RowIndex;
  readonly #names: NameHeap;
  readonly #reserve: Reserve | undefined;

  private constructor(words: Int32Array, layout: Layout, reserve: Reserve | undefined) {
    const { rowsAt } = layout;
    super(words, rowsAt);
    this.capacity = layout.capacity;
    this.#words = words;
    this.#layout = layout;
    this.#rowsAt = rowsAt;
    this.#reserve = reserve;
    this.#journal = new WordJournal(words, JOURNAL);
    ({ ids: this.#ids, uppers: this.#uppers } = indexesOf(words, layout, this.#journal));
    this.#names = new NameHeap(words, this.#journal, layout, reserve);
  }

  /**
   * Makes a table.
   * @param memory at least `tableBytes(inodes)` bytes, all 0
   * @param upperKey 32 bytes: the upper directory that it is for
   * @param reserve called before a part is first used, from `scatteredBytes(inodes)` on
   */
  static create(memory: ArrayBufferLike, inodes: number, upperKey: Uint8Array, reserve?: Reserve): IdentityTable {
    const words = makeHeader(memory, inodes, upperKey);
    return new IdentityTable(words, layoutOf(inodes), reserve);
  }

  /**
   * The table in this memory, made whole: for the first thread that opens it, while no other one uses it.
   * @returns undefined if there is no table, one of another version, or its header cannot be right. Rows are not
   *   looked at: see `isSound` in table-check.ts.
   */
  static open(memory: ArrayBufferLike, reserve?: Reserve): IdentityTable | undefined {
    const table = IdentityTable.attach(memory, reserve);
    if (table === undefined) return undefined;
    if (!table.#journal.recover((index) => isJournaled(index, table.#layout))) return undefined;
    // once more: the journal has changed counts
    if (!hasPossibleCounts(table.#words, table.#layout)) return undefined;
    table.#finishRemoval();
    return table;
  }

  /** As `open`, for more threads of a process in which the table has been opened or made; repairs nothing. */
  static attach(memory: ArrayBufferLike, reserve?: Reserve): IdentityTable | undefined {
    const words = tableWords(memory);
    return words === undefined ? undefined : new IdentityTable(words, layoutOf(words[CAPACITY] as number), reserve);
  }

  /** How many rows there are. */
  get count(): number {
    return this.#words[COUNT] as number;
  }

  /** The upper directory that the table was made for: a copy. */
  get upperKey(): Uint8Array {
    return new Uint8Array(this.#words.buffer, UPPER_KEY * 4, UPPER_KEY_BYTES).slice();
  }

  /**
   * Whether the last server ended in good order. It is for the disk: without it, after a power failure, any page of the
   * file may be older than others. So: false, and on the disk, before the first change; all pages, then true, then
   * the first page on the disk at the end.
   */
  get isClean(): boolean {
    return this.#words[CLEAN] === 1;
  }

  setClean(isClean: boolean): void {
    Atomics.store(this.#words, CLEAN, isClean ? 1 : 0);
  }

  /** The row with this id, -1 for none. */
  find(id: number): number {
    return this.#ids.find(id | 0, Math.floor(id / TWO_TO_32));
  }

  /** The row with this inode of the upper layer, -1 for none. */
  findUpper(inoLow: number, inoHigh: number): number {
    if ((inoLow | inoHigh) === 0) return -1;
    return this.#uppers.find(inoLow | 0, inoHigh | 0);
  }

  /** A new row; -1 if the table or the disk is full. Throws if the id is none, or there already. */
  add(id: number, generation: number): number {
    const words = this.#words;
    const journal = this.#journal;
    if (!Number.isInteger(id) || id <= 0 || id >= END_OF_IDS) throw new RangeError(`${id} is no id of an inode`);
    if (this.find(id) !== -1) throw new Error(`the table of identities has ${id} already`);
    const row = this.#freeRow();
    if (row === -1) return -1;
    const at = this.#rowsAt + row * ROW_WORDS;
    const isUnused = row === words[ROWS_USED];
    for (let i = FLAGS; i < ROW_WORDS; i++) words[at + i] = 0;
    words[at + ID_LOW] = id | 0;
    words[at + ID_HIGH] = Math.floor(id / TWO_TO_32);
    words[at + GENERATION] = generation | 0;
    journal.begin();
    if (isUnused) journal.put(ROWS_USED, row + 1);
    else journal.put(FREE_ROW, words[at + ID_NEXT] as number);
    journal.put(COUNT, this.count + 1);
    journal.put(at + FLAGS, LIVE);
    this.#ids.insert(row, id | 0, Math.floor(id / TWO_TO_32));
    journal.commit();
    // nothing is known of its past
    this.markChanged(row);
    return row;
  }

  /** Removes a row and its names; its number may become that of another row. */
  remove(row: number): void {
    const words = this.#words;
    const journal = this.#journal;
    const at = this.at(row);
    journal.begin();
    this.#ids.remove(row, words[at + ID_LOW] as number, words[at + ID_HIGH] as number);
    this.#takeUpper(row);
    journal.put(at + FLAGS, 0);
    journal.put(COUNT, this.count - 1);
    journal.put(DYING, row + 1);
    journal.commit();
    this.#finishRemoval();
  }

  /** The inode in the upper layer; 0, 0 for none. A row that had it before loses it: it is a new file's now. */
  setUpper(row: number, inoLow: number, inoHigh: number): void {
    const at = this.at(row);
    const [low, high] = [inoLow | 0, inoHigh | 0];
    const before = this.findUpper(low, high);
    if (before === row) return;
    const journal = this.#journal;
    journal.begin();
    if (before !== -1) this.#takeUpper(before);
    this.#takeUpper(row);
    journal.put(at + UPPER_LOW, low);
    journal.put(at + UPPER_HIGH, high);
    if ((low | high) !== 0) this.#uppers.insert(row, low, high);
    journal.commit();
  }

  /**
   * Adds a name, unless the row has it; an inode with several names has hard links.
   * @param name 1 to 1024 bytes
   * @returns false if the table or the disk is full
   */
  addName(row: number, parent: number, name: Uint8Array): boolean {
    const at = this.at(row);
    checkName(parent, name);
    if (this.#names.find(at + NAMES, parent, name) !== -1) return true;
    if (!this.#names.hasRoom(name.length, false)) return false;
    this.#markNamed(row);
    this.#journal.begin();
    this.#names.add(at + NAMES, parent, name);
    this.#journal.put(at + NAME_COUNT, (this.#words[at + NAME_COUNT] as number) + 1);
    this.#journal.commit();
    return true;
  }

  /** Returns false if the row does not have this name. */
  removeName(row: number, parent: number, name: Uint8Array): boolean {
    const at = this.at(row);
    const linkAt = this.#names.find(at + NAMES, parent, name);
    if (linkAt === -1) return false;
    this.markChanged(row);
    this.#removeNameAt(at, linkAt);
    return true;
  }

  /**
   * Replaces a name by another one. A row without the old name gets the new one; one with both loses the old one.
   * @returns false if the disk is full, or if the table is full and the row does not have the old name
   */
  moveName(row: number, parent: number, name: Uint8Array, newParent: number, newName: Uint8Array): boolean {
    const at = this.at(row);
    checkName(newParent, newName);
    const linkAt = this.#names.find(at + NAMES, parent, name);
    if (linkAt === -1) return this.addName(row, newParent, newName);
    const newLinkAt = this.#names.find(at + NAMES, newParent, newName);
    if (newLinkAt === linkAt) return true;
    this.#markNamed(row);
    if (newLinkAt !== -1) {
      this.#removeNameAt(at, linkAt);
      return true;
    }
    if (!this.#names.hasRoom(newName.length, true)) return false;
    this.#journal.begin();
    this.#names.replace(linkAt, newParent, newName);
    this.#journal.commit();
    return true;
  }

  /** One of the names; undefined if there is none. */
  nameOf(row: number): Name | undefined {
    return this.#names.read(this.at(row) + NAMES);
  }

  /** All names. */
  names(row: number): Name[] {
    const at = this.at(row);
    return this.#names.readAll(at + NAMES, this.#words[at + NAME_COUNT] as number);
  }

  nameCount(row: number): number {
    return this.#words[this.at(row) + NAME_COUNT] as number;
  }

  /** Before the row gets a name: a directory that has one is moved. */
  #markNamed(row: number): void {
    this.markChanged(row, (this.flags(row) & DIRECTORY) !== 0 && this.nameCount(row) > 0);
  }

  /** The next row for `add`: one that was removed, or one that was never used; -1 for none. */
  #freeRow(): number {
    const words = this.#words;
    const free = words[FREE_ROW] as number;
    const used = words[ROWS_USED] as number;
    if (free !== 0) {
      if (free < 0 || free > used || this.isLive(free - 1)) throw damaged('its free rows');
      return free - 1;
    }
    const { capacity } = this;
    const isRoom =
      used < capacity &&
      isReserved(words, ROWS_RESERVED, this.#rowsAt, (used + 1) * ROW_WORDS, capacity * ROW_WORDS, this.#reserve);
    return isRoom ? used : -1;
  }

  /** Frees the remaining parts of the removed row in DYING. */
  #finishRemoval(): void {
    const words = this.#words;
    const journal = this.#journal;
    const row = (words[DYING] as number) - 1;
    if (row === -1) return;
    const at = this.#rowsAt + row * ROW_WORDS;
    // in any memory: not more records than there are cells
    for (let left = words[CELLS_USED] as number; left > 0 && words[at + NAMES] !== 0; left--) {
      this.#removeNameAt(at, at + NAMES);
    }
    journal.begin();
    journal.put(at + ID_NEXT, words[FREE_ROW] as number);
    journal.put(FREE_ROW, row + 1);
    journal.put(DYING, 0);
    journal.commit();
  }

  #removeNameAt(at: number, linkAt: number): void {
    this.#journal.begin();
    this.#names.remove(linkAt);
    this.#journal.put(at + NAME_COUNT, (this.#words[at + NAME_COUNT] as number) - 1);
    this.#journal.commit();
  }

  /** Within a change: the row has no upper inode afterwards. */
  #takeUpper(row: number): void {
    const at = this.#rowsAt + row * ROW_WORDS;
    const low = this.#words[at + UPPER_LOW] as number;
    const high = this.#words[at + UPPER_HIGH] as number;
    if ((low | high) === 0) return;
    this.#uppers.remove(row, low, high);
    this.#journal.put(at + UPPER_LOW, 0);
    this.#journal.put(at + UPPER_HIGH, 0);
  }
}

const damaged = (what: string): Error => new Error(`the table of identities is damaged: ${what}`);

function checkName(parent: number, name: Uint8Array): void {
  if (name.length < 1 || name.length > LONGEST_NAME) throw new RangeError(`a name of ${name.length} bytes`);
  if (!Number.isInteger(parent) || parent <= 0 || parent >= END_OF_IDS) throw new RangeError(`${parent} is no id`);
}
