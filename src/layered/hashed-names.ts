/** Names in the order of a hash: a directory of a million takes some 30 MB, and its names are no objects. */

const TWO_TO_32 = 0x1_0000_0000;
const FIRST_BYTES = 4096;

/** The hash of a name: an integer of 50 bits, made of two multiplicative hashes. */
export function hashOf(name: Uint8Array): number {
  let a = 0x811c9dc5;
  let b = 0x9e3779b9;
  for (const byte of name) {
    a = Math.imul(a ^ byte, 0x01000193);
    b = Math.imul(b + byte, 0x85ebca6b) ^ (b >>> 13);
  }
  return (((a ^ (a >>> 15)) >>> 0) & 0x3ffff) * TWO_TO_32 + ((b ^ (b >>> 16)) >>> 0);
}

export class HashedNames {
  /** Each name after its length. */
  readonly #bytes: Uint8Array;
  readonly #hashes: Float64Array;
  /** Where the names begin in `#bytes`, in the order of their hashes. */
  readonly #starts: Uint32Array;

  private constructor(bytes: Uint8Array, hashes: Float64Array, starts: Uint32Array) {
    this.#bytes = bytes;
    this.#hashes = hashes;
    this.#starts = starts;
  }

  /** @param visit calls `add` with each name, of 1 to 255 bytes */
  static of(visit: (add: (name: Uint8Array) => void) => void): HashedNames {
    let bytes = new Uint8Array(FIRST_BYTES);
    let used = 0;
    let count = 0;
    visit((name) => {
      if (used + 1 + name.length > bytes.length) bytes = longer(bytes);
      bytes[used] = name.length;
      bytes.set(name, used + 1);
      used += 1 + name.length;
      count++;
    });
    const given = new Float64Array(count);
    for (let i = 0, at = 0; i < count; i++, at += 1 + (bytes[at] as number)) given[i] = hashOf(nameAt(bytes, at));
    const hashes = given.slice().sort();
    const starts = new Uint32Array(count).fill(NONE);
    for (let i = 0, at = 0; i < count; i++, at += 1 + (bytes[at] as number)) {
      let place = firstIn(hashes, given[i] as number);
      // of names with one hash, the first comes first
      while (starts[place] !== NONE) place++;
      starts[place] = at;
    }
    return new HashedNames(bytes.slice(0, used), hashes, starts);
  }

  get length(): number {
    return this.#hashes.length;
  }

  hash(i: number): number {
    return this.#hashes[i] as number;
  }

  /** A view: it must not be changed. */
  name(i: number): Uint8Array {
    return nameAt(this.#bytes, this.#starts[i] as number);
  }

  /** The first place whose name has this hash or a higher one; the length if there is none. */
  firstFrom(hash: number): number {
    return firstIn(this.#hashes, hash);
  }
}

const NONE = 0xffff_ffff;

function longer(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  const twice = new Uint8Array(bytes.length * 2);
  twice.set(bytes);
  return twice;
}

const nameAt = (bytes: Uint8Array, at: number): Uint8Array => bytes.subarray(at + 1, at + 1 + (bytes[at] as number));

function firstIn(hashes: Float64Array, hash: number): number {
  let low = 0;
  let high = hashes.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((hashes[middle] as number) < hash) low = middle + 1;
    else high = middle;
  }
  return low;
}
