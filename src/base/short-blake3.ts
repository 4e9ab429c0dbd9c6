/**
 * BLAKE3 of short inputs, such as paths: calling the native function and making a Buffer of its result takes longer
 * than the hash itself. Only inputs of one chunk, which has no tree.
 */

/** The longest input, one chunk. */
export const SHORT_BLAKE3_MAX = 1024;

const BLOCK_BYTES = 64;
const BLOCK_WORDS = 16;
const ROUNDS = 7;
const CHUNK_START = 1;
const CHUNK_END = 2;
const ROOT = 8;
const IV = Int32Array.of(
  ...[0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19],
);
/** How each round arranges the words of the one before it. */
const PERMUTATION = [2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8];

/** The order of the words of the block in each round. */
const SCHEDULE = new Uint8Array(ROUNDS * BLOCK_WORDS);
for (let at = 0; at < SCHEDULE.length; at++) {
  const before = at - BLOCK_WORDS;
  SCHEDULE[at] =
    before < 0 ? at : (SCHEDULE[before - (at % BLOCK_WORDS) + (PERMUTATION[at % BLOCK_WORDS] as number)] as number);
}

const state = new Int32Array(BLOCK_WORDS);
const block = new Int32Array(BLOCK_WORDS);
const blockBytes = new Uint8Array(block.buffer);
const IV_HEAD = IV.subarray(0, 4);
const chain = new Int32Array(IV.length);

/**
 * @param bytes at most SHORT_BLAKE3_MAX
 * @returns the 8 words of the hash, the first byte of each being its lowest; valid until the next call
 */
export function shortBlake3(bytes: Uint8Array): Int32Array {
  if (bytes.length > SHORT_BLAKE3_MAX) throw new Error(`an input of ${bytes.length} bytes is not short`);
  chain.set(IV);
  let flags = CHUNK_START;
  let at = 0;
  for (; bytes.length - at > BLOCK_BYTES; at += BLOCK_BYTES) {
    takeBlock(bytes, at, BLOCK_BYTES);
    compress(BLOCK_BYTES, flags);
    flags = 0;
  }
  takeBlock(bytes, at, bytes.length - at);
  compress(bytes.length - at, flags | CHUNK_END | ROOT);
  return chain;
}

function takeBlock(bytes: Uint8Array, from: number, length: number): void {
  if (length < BLOCK_BYTES) block.fill(0);
  for (let i = 0; i < length; i++) blockBytes[i] = bytes[from + i] as number;
}

function compress(length: number, flags: number): void {
  state.set(chain);
  state.set(IV_HEAD, 8);
  state[12] = state[13] = 0;
  state[14] = length;
  state[15] = flags;
  for (let round = 0; round < SCHEDULE.length; round += BLOCK_WORDS) {
    mix(0, 4, 8, 12, round);
    mix(1, 5, 9, 13, round + 2);
    mix(2, 6, 10, 14, round + 4);
    mix(3, 7, 11, 15, round + 6);
    mix(0, 5, 10, 15, round + 8);
    mix(1, 6, 11, 12, round + 10);
    mix(2, 7, 8, 13, round + 12);
    mix(3, 4, 9, 14, round + 14);
  }
  for (let i = 0; i < chain.length; i++) chain[i] = (state[i] as number) ^ (state[i + 8] as number);
}

/** Mixes four words of the state with two of the block. @param at place of the first one in the schedule */
function mix(a: number, b: number, c: number, d: number, at: number): void {
  const x = block[SCHEDULE[at] as number] as number;
  const y = block[SCHEDULE[at + 1] as number] as number;
  let va = state[a] as number;
  let vb = state[b] as number;
  let vc = state[c] as number;
  let vd = state[d] as number;
  va = (va + vb + x) | 0;
  vd ^= va;
  vd = (vd >>> 16) | (vd << 16);
  vc = (vc + vd) | 0;
  vb ^= vc;
  vb = (vb >>> 12) | (vb << 20);
  va = (va + vb + y) | 0;
  vd ^= va;
  vd = (vd >>> 8) | (vd << 24);
  vc = (vc + vd) | 0;
  vb ^= vc;
  vb = (vb >>> 7) | (vb << 25);
  state[a] = va;
  state[b] = vb;
  state[c] = vc;
  state[d] = vd;
}
