/**
 * A check of the bytes before a CBOR decoder sees them. The decoder knows tags that create objects of any kind and
 * allocates the claimed length of an array; a manifest needs six data types. Accepted bytes are well-formed,
 * shortest-form CBOR of maps, short arrays, text, byte strings, unsigned integers and the tags of little-endian typed
 * arrays (RFC 8949 section 4.2.1, RFC 8746 section 2.1), with every length inside the file.
 */

import { isUtf8 } from 'node:buffer';

const ALLOWED_TAGS: ReadonlySet<number> = new Set([
  70, // uint32, little-endian
  71, // uint64, little-endian
  79, // sint64, little-endian
]);

const SELF_DESCRIBED = [0xd9, 0xd9, 0xf7] as const;
const MAX_DEPTH = 4;
/** A manifest has 106 items besides its repositories, and five for each of those, of which encode.ts allows 10,000. */
const MAX_ITEMS = 100_000;

/** The first violation of the profile, or undefined if there is none. */
export function checkCborProfile(bytes: Uint8Array): string | undefined {
  if (bytes.length === 0) return 'the file is empty';
  if (SELF_DESCRIBED.some((byte, i) => bytes[i] !== byte)) {
    return 'it does not begin with the CBOR tag 55799 (d9 d9 f7)';
  }
  const scan = new Scan(bytes, SELF_DESCRIBED.length);
  const problem = scan.item(0);
  if (problem !== undefined) return problem;
  return scan.at === bytes.length ? undefined : `${bytes.length - scan.at} bytes follow the end of the manifest`;
}

class Scan {
  readonly #bytes: Uint8Array;
  at: number;
  #items = 0;

  constructor(bytes: Uint8Array, at: number) {
    this.#bytes = bytes;
    this.at = at;
  }

  /** Skips one data item with everything in it. */
  item(depth: number): string | undefined {
    const start = this.at;
    if (++this.#items > MAX_ITEMS) return `more than ${MAX_ITEMS} items, at byte ${start}`;
    if (depth > MAX_DEPTH) return `nested deeper than ${MAX_DEPTH} levels, at byte ${start}`;
    const initial = this.#bytes[this.at];
    if (initial === undefined) return `cut off at byte ${start}`;
    this.at++;
    const major = initial >> 5;
    if (major === 1 || major === 7)
      return `a data item of major type ${major} at byte ${start} has no place in a manifest`;
    const argument = this.#argument(initial & 31);
    if (typeof argument === 'string') return `${argument}, at byte ${start}`;
    switch (major) {
      case 2: // byte string
      case 3: // text
        if (argument > this.#bytes.length - this.at) {
          return `cut off: a string at byte ${start} claims ${argument} bytes, ${this.#bytes.length - this.at} are left`;
        }
        this.at += argument;
        if (major === 3 && !isUtf8(this.#bytes.subarray(this.at - argument, this.at)))
          return `a text at byte ${start} is not UTF-8`;
        return undefined;
      case 4: // array
        return this.#sequence(argument, depth, start);
      case 5: // map
        return this.#map(argument, depth, start);
      case 6:
        if (!ALLOWED_TAGS.has(argument)) return `tag ${argument} at byte ${start} has no place in a manifest`;
        if ((this.#bytes[this.at] ?? 0) >> 5 !== 2) return `tag ${argument} at byte ${start} is not on a byte string`;
        return this.item(depth + 1);
      default:
        return undefined; // unsigned integer
    }
  }

  /** The decoder would silently drop a key that occurs twice: two files would be one image. */
  #map(count: number, depth: number, start: number): string | undefined {
    if (count * 2 > this.#bytes.length - this.at) return `cut off: ${count} entries are claimed at byte ${start}`;
    const keys = new Set<string>();
    for (let i = 0; i < count; i++) {
      const at = this.at;
      let problem = this.item(depth + 1);
      if (problem !== undefined) return problem;
      const key = Buffer.from(this.#bytes.subarray(at, this.at)).toString('latin1');
      if (keys.has(key)) return `a key at byte ${at} occurs twice`;
      keys.add(key);
      problem = this.item(depth + 1);
      if (problem !== undefined) return problem;
    }
    return undefined;
  }

  #sequence(count: number, depth: number, start: number): string | undefined {
    // each item needs a byte, so a count that exceeds the file is refused before any work
    if (count > this.#bytes.length - this.at) return `cut off: ${count} items are claimed at byte ${start}`;
    for (let i = 0; i < count; i++) {
      const problem = this.item(depth + 1);
      if (problem !== undefined) return problem;
    }
    return undefined;
  }

  /** The argument of an initial byte with additional information `info`, in its shortest form. */
  #argument(info: number): number | string {
    if (info < 24) return info;
    if (info > 27) return 'an indefinite or reserved length';
    const size = 1 << (info - 24);
    if (this.at + size > this.#bytes.length) return 'cut off in a length';
    let value = 0;
    for (let i = 0; i < size; i++) value = value * 256 + (this.#bytes[this.at + i] as number);
    this.at += size;
    const shortest = [24, 0x100, 0x1_0000, 0x1_0000_0000][info - 24] as number;
    if (value < shortest) return 'a length or number that is not in its shortest form';
    if (value > Number.MAX_SAFE_INTEGER) return `the number ${value} is out of range`;
    return value;
  }
}
