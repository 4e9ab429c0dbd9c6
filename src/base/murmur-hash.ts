/**
 * MurmurHash3, x86, 32 bits, with seed 0, over words: fast, and the same everywhere. It does not resist forgery.
 * `finishHash(hashWord(hashWord(0, a), b), 8)` is the hash of the 8 bytes of two little-endian words.
 */

/** Mixes one word into a hash that started with 0. */
export function hashWord(hash: number, word: number): number {
  let k = Math.imul(word, 0xcc9e2d51);
  k = (k << 15) | (k >>> 17);
  const mixed = hash ^ Math.imul(k, 0x1b873593);
  return (Math.imul((mixed << 13) | (mixed >>> 19), 5) + 0xe6546b64) | 0;
}

/** Mixes bytes in as little-endian words; the last one is padded with zeros. */
export function hashBytes(hash: number, bytes: Uint8Array): number {
  let mixed = hash;
  const { length } = bytes;
  let i = 0;
  for (; i + 4 <= length; i += 4) {
    mixed = hashWord(
      mixed,
      (bytes[i] as number) |
        ((bytes[i + 1] as number) << 8) |
        ((bytes[i + 2] as number) << 16) |
        ((bytes[i + 3] as number) << 24),
    );
  }
  if (i === length) return mixed;
  let last = 0;
  for (let shift = 0; i < length; i++, shift += 8) last |= (bytes[i] as number) << shift;
  return hashWord(mixed, last);
}

/** The final hash, 32 bits unsigned. `length` is mixed in last. */
export function finishHash(hash: number, length: number): number {
  let mixed = hash ^ length;
  mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85ebca6b);
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
  return (mixed ^ (mixed >>> 16)) >>> 0;
}
