/**
 * A reader of the CBOR of a signature (RFC 8949), for untrusted bytes. It never allocates by a count that is only
 * claimed. Nesting is bounded, every length must be definite and in its shortest form, and no key may occur twice (RFC
 * 9052 section 9 forbids that). A signature is small: the decoder of images is built for columns of millions, and knows
 * tags that create objects of any kind.
 */
import { isUtf8 } from 'node:buffer';
import { printable } from '../base/bytes.ts';
import { CfsError } from '../base/error.ts';

const MAX_DEPTH = 8;

/** `map` has the keys that a header may have: numbers and texts. */
export type CborItem =
  | number
  | string
  | boolean
  | null
  | Uint8Array
  | readonly CborItem[]
  | ReadonlyMap<number | string, CborItem>
  | CborTag;

export class CborTag {
  readonly tag: number;
  readonly item: CborItem;

  constructor(tag: number, item: CborItem) {
    this.tag = tag;
    this.item = item;
  }
}

/** A label or value for a message: untrusted text must not move the cursor. */
export function shown(item: CborItem | undefined): string {
  if (typeof item === 'number') return String(item);
  return typeof item === 'string' ? `"${printable(Buffer.from(item)).slice(0, 100)}"` : 'no number or text';
}

/** The error for bytes that are not a signature. */
export const malformed = (reason: string): CfsError => new CfsError('image', `malformed signature: ${reason}`);

/**
 * Decodes `bytes` as one data item. Byte strings in it are views.
 * @throws CfsError (image) that names the position of the error
 */
export function readCbor(bytes: Uint8Array): CborItem {
  const reader = new Reader(bytes);
  const item = reader.item(0);
  if (reader.left > 0) throw malformed(`${reader.left} bytes follow its end`);
  return item;
}

class Reader {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get left(): number {
    return this.#bytes.length - this.#at;
  }

  item(depth: number): CborItem {
    const start = this.#at;
    if (depth > MAX_DEPTH) throw malformed(`nested deeper than ${MAX_DEPTH} levels, at byte ${start}`);
    const initial = this.#bytes[this.#at++];
    if (initial === undefined) throw malformed(`cut off at byte ${start}`);
    const major = initial >> 5;
    if (major === 7) return simple(initial & 31, start);
    const argument = this.#argument(initial & 31, start);
    switch (major) {
      case 0:
        return argument;
      case 1:
        return -1 - argument;
      case 2:
        return this.#string(argument, start);
      case 3:
        return this.#text(argument, start);
      case 4:
        return this.#array(argument, depth, start);
      case 5:
        return this.#map(argument, depth, start);
      default:
        return new CborTag(argument, this.item(depth + 1));
    }
  }

  #string(length: number, start: number): Uint8Array {
    this.#require(length, start);
    this.#at += length;
    return this.#bytes.subarray(this.#at - length, this.#at);
  }

  #text(length: number, start: number): string {
    const bytes = this.#string(length, start);
    if (!isUtf8(bytes)) throw malformed(`a text at byte ${start} is not UTF-8`);
    return Buffer.from(bytes).toString('utf8');
  }

  #array(count: number, depth: number, start: number): CborItem[] {
    this.#require(count, start); // each item has a byte
    const items: CborItem[] = [];
    for (let i = 0; i < count; i++) items.push(this.item(depth + 1));
    return items;
  }

  #map(count: number, depth: number, start: number): Map<number | string, CborItem> {
    this.#require(count * 2, start);
    const entries = new Map<number | string, CborItem>();
    for (let i = 0; i < count; i++) {
      const at = this.#at;
      const key = this.item(depth + 1);
      if (typeof key !== 'number' && typeof key !== 'string') {
        throw malformed(`a key at byte ${at} is neither a number nor a text`);
      }
      if (entries.has(key)) throw malformed(`a key at byte ${at} occurs twice`);
      entries.set(key, this.item(depth + 1));
    }
    return entries;
  }

  #require(bytes: number, start: number): void {
    if (bytes > this.left)
      throw malformed(`cut off: ${bytes} bytes are needed from byte ${start} on, ${this.left} are left`);
  }

  /** The argument of an initial byte with additional information `info`, in its shortest form. */
  #argument(info: number, start: number): number {
    if (info < 24) return info;
    if (info > 27) throw malformed(`an indefinite or reserved length, at byte ${start}`);
    const size = 1 << (info - 24);
    this.#require(size, start);
    let value = 0;
    for (let i = 0; i < size; i++) value = value * 256 + (this.#bytes[this.#at++] as number);
    const shortest = [24, 0x100, 0x1_0000, 0x1_0000_0000][info - 24] as number;
    if (value < shortest) throw malformed(`a length or number that is not in its shortest form, at byte ${start}`);
    if (value > Number.MAX_SAFE_INTEGER) throw malformed(`the number ${value} is out of range, at byte ${start}`);
    return value;
  }
}

function simple(info: number, start: number): boolean | null {
  if (info === 20 || info === 21) return info === 21;
  if (info === 22) return null;
  throw malformed(`a simple value or floating-point number that has no place there, at byte ${start}`);
}
