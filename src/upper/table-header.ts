/** The header of a table of identities: making it, and finding out whether memory has one. */
import { randomFillSync } from 'node:crypto';
import {
  CAPACITY,
  CELLS_USED,
  CHANGE_ERA,
  CHANGE_NUMBER,
  COUNT,
  DYING,
  FORMAT_VERSION,
  FREE_CELL,
  FREE_CELLS,
  FREE_ROW,
  JOURNAL,
  type Layout,
  layoutOf,
  MAGIC,
  MAGIC_WORDS,
  MOST_INODES,
  ROWS_USED,
  UPPER_KEY,
  UPPER_KEY_BYTES,
  VERSION,
} from './table-layout.ts';

/** Makes the header in memory that is 0, and returns the words of the table. */
export function makeHeader(memory: ArrayBufferLike, inodes: number, upperKey: Uint8Array): Int32Array {
  const layout = layoutOf(inodes);
  if (memory.byteLength < layout.words * 4) throw new RangeError('the memory for the table of identities is too short');
  if (upperKey.length !== UPPER_KEY_BYTES) throw new RangeError(`an upper key of ${upperKey.length} bytes`);
  const words = new Int32Array(memory, 0, layout.words);
  if (words.subarray(0, JOURNAL).some((word) => word !== 0)) {
    throw new RangeError('the memory for the table of identities is in use');
  }
  words[VERSION] = FORMAT_VERSION;
  words[CAPACITY] = inodes;
  words.set(randomFillSync(new Int32Array(2)), CHANGE_ERA);
  words[CHANGE_NUMBER] = 1;
  new Uint8Array(memory, UPPER_KEY * 4, UPPER_KEY_BYTES).set(upperKey);
  words[MAGIC + 1] = MAGIC_WORDS[1];
  // stored last: without it, the memory is not a table
  Atomics.store(words, MAGIC, MAGIC_WORDS[0]);
  return words;
}

/** The words of the table in this memory; undefined if there is none of this version, or its counts are impossible. */
export function tableWords(memory: ArrayBufferLike): Int32Array | undefined {
  const head = new Int32Array(memory, 0, Math.min(Math.floor(memory.byteLength / 4), JOURNAL));
  if (head.length < JOURNAL || head[VERSION] !== FORMAT_VERSION) return undefined;
  if (head[MAGIC] !== MAGIC_WORDS[0] || head[MAGIC + 1] !== MAGIC_WORDS[1]) return undefined;
  const capacity = head[CAPACITY] as number;
  if (capacity < 1 || capacity > MOST_INODES) return undefined;
  const layout = layoutOf(capacity);
  if (memory.byteLength < layout.words * 4) return undefined;
  const words = new Int32Array(memory, 0, layout.words);
  return hasPossibleCounts(words, layout) ? words : undefined;
}

/** The words that mix the keys of both indexes. */
export function seedOf(words: Int32Array): readonly [number, number] {
  const seed: [number, number] = [0, 0];
  for (let i = 0; i < UPPER_KEY_BYTES / 4; i++) seed[i % 2 === 0 ? 0 : 1] ^= words[UPPER_KEY + i] as number;
  return seed;
}

/** Whether the counts of the header are within their limits. */
export function hasPossibleCounts(words: Int32Array, { capacity, cells }: Layout): boolean {
  const isBelow = (word: number, most: number): boolean => {
    const value = words[word] as number;
    return value >= 0 && value <= most;
  };
  return (
    isBelow(ROWS_USED, capacity) &&
    isBelow(CELLS_USED, cells) &&
    isBelow(COUNT, words[ROWS_USED] as number) &&
    isBelow(FREE_ROW, words[ROWS_USED] as number) &&
    isBelow(DYING, words[ROWS_USED] as number) &&
    isBelow(FREE_CELL, words[CELLS_USED] as number) &&
    isBelow(FREE_CELLS, words[CELLS_USED] as number)
  );
}
