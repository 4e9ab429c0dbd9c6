/** Random numbers that are the same in every run. */

export interface Random {
  /** 32 random bits. */
  next(): number;
  /** A whole number from 0 to `limit` - 1; limit up to 2^32. */
  below(limit: number): number;
}

/** mulberry32 (Tommy Ettinger, public domain): 32 bits of state, good enough to choose blocks and sizes. */
export function seeded(seed: number): Random {
  let state = seed | 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return (t ^ (t >>> 14)) >>> 0;
  };
  return { next, below: (limit) => Math.floor((next() / 0x1_0000_0000) * limit) };
}

/** Shuffles `values` (Fisher and Yates). Returns the same array. */
export function shuffle<T>(values: T[], random: Random): T[] {
  for (let last = values.length - 1; last > 0; last--) {
    const other = random.below(last + 1);
    [values[last], values[other]] = [values[other] as T, values[last] as T];
  }
  return values;
}
