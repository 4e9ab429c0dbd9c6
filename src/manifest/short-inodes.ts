/**
 * 32-bit inode numbers for programs without room for the stable ids of 52 bits (`-o inode32`). A number is the low word
 * of the id, so most files have the same one in every version of an image; if two are equal, the one with the larger id
 * gets the next unused number. So they are unique in an image, and the same in every mount of it.
 */
import { inodeCount, type ManifestTables } from './tables.ts';

const ROOT_NUMBER = 1;

/** The number of each inode row, in memory that threads can share. */
export function shortInodeNumbers(tables: ManifestTables): Uint32Array {
  const { id } = tables.inodes;
  const count = inodeCount(tables);
  const numbers = new Uint32Array(new SharedArrayBuffer(count * Uint32Array.BYTES_PER_ELEMENT));
  for (let row = 0; row < count; row++) numbers[row] = id[row * 2] as number;
  const wanted = new Uint32Array(numbers).sort();
  const doubled = new Set<number>();
  for (let i = 1; i < count; i++) if (wanted[i] === wanted[i - 1]) doubled.add(wanted[i] as number);

  const owned = new Set<number>();
  const given = new Set<number>();
  for (let row = 1; row < count; row++) {
    let number = numbers[row] as number;
    if (number > ROOT_NUMBER && !doubled.has(number)) continue;
    if (number > ROOT_NUMBER && !owned.has(number)) {
      owned.add(number);
      continue;
    }
    while (number <= ROOT_NUMBER || given.has(number) || includes(wanted, number)) number = (number + 1) >>> 0;
    given.add(number);
    numbers[row] = number;
  }
  return numbers;
}

function includes(sorted: Uint32Array, number: number): boolean {
  let low = 0;
  let high = sorted.length - 1;
  while (low <= high) {
    const middle = (low + high) >>> 1;
    const at = sorted[middle] as number;
    if (at === number) return true;
    if (at < number) low = middle + 1;
    else high = middle - 1;
  }
  return false;
}
