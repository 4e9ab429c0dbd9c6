/**
 * Finds rows by a key of 64 bits: a hash table whose buckets are chains through the rows. One load and one row, as a
 * rule. Chains, and not open addressing: a change is two or three words for the journal, however full the table is,
 * and a removal leaves nothing behind.
 */
import { seedOf } from './table-header.ts';
import { ID_LOW, ID_NEXT, type Layout, ROW_WORDS, ROWS_USED, UPPER_LOW, UPPER_NEXT } from './table-layout.ts';
import type { WordJournal } from './word-journal.ts';

interface RowIndexPlace {
  readonly bucketsAt: number;
  /** A power of two. */
  readonly buckets: number;
  readonly rowsAt: number;
  /** Of a row: the lower word of the key; the upper one follows. */
  readonly key: number;
  /** Of a row: the next row of the chain, plus 1. */
  readonly next: number;
  /** Two words that are mixed into keys: without them, keys could be chosen that make one long chain. */
  readonly seed: readonly [number, number];
}

export class RowIndex {
  readonly #words: Int32Array;
  readonly #journal: WordJournal;
  readonly #bucketsAt: number;
  readonly #mask: number;
  readonly #rowsAt: number;
  readonly #key: number;
  readonly #next: number;
  readonly #seedLow: number;
  readonly #seedHigh: number;

  constructor(words: Int32Array, journal: WordJournal, place: RowIndexPlace) {
    this.#words = words;
    this.#journal = journal;
    this.#bucketsAt = place.bucketsAt;
    this.#mask = place.buckets - 1;
    this.#rowsAt = place.rowsAt;
    this.#key = place.key;
    this.#next = place.next;
    [this.#seedLow, this.#seedHigh] = place.seed;
  }

  /** The row with this key, -1 for none. Ends in any memory: no chain has more rows than there are. */
  find(low: number, high: number): number {
    const words = this.#words;
    const rows = words[ROWS_USED] as number;
    let link = words[this.bucketOf(low, high)] as number;
    for (let left = rows; left > 0 && link > 0 && link <= rows; left--) {
      const at = this.#rowsAt + (link - 1) * ROW_WORDS;
      if (words[at + this.#key] === low && words[at + this.#key + 1] === high) return link - 1;
      link = words[at + this.#next] as number;
    }
    return -1;
  }

  /** Within a change: adds a row, whose key is this one at the end of the change. */
  insert(row: number, low: number, high: number): void {
    const bucket = this.bucketOf(low, high);
    this.#journal.put(this.#nextOf(row), this.#journal.get(bucket));
    this.#journal.put(bucket, row + 1);
  }

  /** Within a change: takes a row out; nothing if it is not there. */
  remove(row: number, low: number, high: number): void {
    const journal = this.#journal;
    const rows = this.#words[ROWS_USED] as number;
    let place = this.bucketOf(low, high);
    for (let left = rows; left > 0; left--) {
      const link = journal.get(place);
      if (link <= 0 || link > rows) return;
      if (link === row + 1) {
        journal.put(place, journal.get(this.#nextOf(row)));
        return;
      }
      place = this.#nextOf(link - 1);
    }
  }

  /** The word with the first row of the chain that this key belongs to. */
  bucketOf(low: number, high: number): number {
    let hash = Math.imul(low ^ this.#seedLow, 0x9e37_79b1);
    hash = Math.imul(hash ^ (hash >>> 15), 0x85eb_ca6b);
    hash ^= Math.imul(high ^ this.#seedHigh, 0xc2b2_ae35);
    hash = Math.imul(hash ^ (hash >>> 16), 0x2c1b_3c6d);
    hash = Math.imul(hash ^ (hash >>> 13), 0x297a_2d39);
    return this.#bucketsAt + ((hash ^ (hash >>> 16)) & this.#mask);
  }

  #nextOf(row: number): number {
    return this.#rowsAt + row * ROW_WORDS + this.#next;
  }
}

/** Both indexes of a table: by id, and by inode of the upper layer. */
export function indexesOf(
  words: Int32Array,
  layout: Layout,
  journal: WordJournal,
): { ids: RowIndex; uppers: RowIndex } {
  const { buckets, idBucketsAt, upperBucketsAt, rowsAt } = layout;
  const both = { buckets, rowsAt, seed: seedOf(words) };
  const ids = { ...both, bucketsAt: idBucketsAt, key: ID_LOW, next: ID_NEXT };
  const uppers = { ...both, bucketsAt: upperBucketsAt, key: UPPER_LOW, next: UPPER_NEXT };
  return { ids: new RowIndex(words, journal, ids), uppers: new RowIndex(words, journal, uppers) };
}
