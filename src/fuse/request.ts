/** Decodes requests. Pure: the buffer is read in place, nothing is kept. */
import { IN_HEADER_SIZE } from './abi.ts';

const DOT = 0x2e;
const SLASH = 0x2f;

/**
 * A buffer that requests are read into, with the views for decoding. One per thread: its results are valid until the
 * next request is read into it.
 */
export class RequestBuffer {
  readonly bytes: Buffer;
  readonly #words: Uint32Array;
  #length = 0;

  constructor(size: number) {
    const memory = new ArrayBuffer(size);
    this.bytes = Buffer.from(memory);
    this.#words = new Uint32Array(memory);
  }

  /**
   * Takes the first `length` bytes as one request.
   * @returns why they are not a request, or undefined
   */
  accept(length: number): string | undefined {
    this.#length = length;
    if (length < IN_HEADER_SIZE) return `a request of ${length} bytes has no header`;
    const claimed = this.#words[0] as number;
    return claimed === length ? undefined : `a request of ${length} bytes claims ${claimed}`;
  }

  get opcode(): number {
    return this.#words[1] as number;
  }

  /** `unique` as two words; a resent request has bit 63 set, and is answered with it. */
  get uniqueLow(): number {
    return this.#words[2] as number;
  }

  get uniqueHigh(): number {
    return this.#words[3] as number;
  }

  /** FUSE_UNIQUE_RESEND: an earlier process may have seen the request, and even have done it. */
  get isResent(): boolean {
    return this.uniqueHigh >>> 31 === 1;
  }

  /** An id that no inode has (2^53 and more) becomes another number that no inode has. */
  get nodeid(): number {
    return (this.#words[4] as number) + (this.#words[5] as number) * 0x1_0000_0000;
  }

  /** The caller's uid, in the mount's user namespace; 2^32 - 1 if it is not known there. */
  get uid(): number {
    return this.#words[6] as number;
  }

  /** The caller's gid, like uid. */
  get gid(): number {
    return this.#words[7] as number;
  }

  /** The calling thread, in the server's pid namespace; 0 if it is not in that. */
  get pid(): number {
    return this.#words[8] as number;
  }

  /** Bytes after the header. */
  get bodyLength(): number {
    return this.#length - IN_HEADER_SIZE;
  }

  /**
   * Word `index` of the body; 0 beyond its end, so that a short request is not completed by bytes of the previous one.
   */
  word(index: number): number {
    return (index + 1) * 4 <= this.bodyLength ? (this.#words[IN_HEADER_SIZE / 4 + index] as number) : 0;
  }

  /** Words `index` and `index + 1` as one number, low word first. */
  long(index: number): number {
    return this.word(index) + this.word(index + 1) * 0x1_0000_0000;
  }

  /** `length` bytes from byte `offset` of the body; undefined if the body ends before. A view, not a copy. */
  bytesAt(offset: number, length: number): Uint8Array | undefined {
    if (offset + length > this.bodyLength) return undefined;
    return this.bytes.subarray(IN_HEADER_SIZE + offset, IN_HEADER_SIZE + offset + length);
  }

  /** The NUL-terminated name that begins at byte `offset` of the body; undefined if there is no NUL. */
  name(offset: number): Uint8Array | undefined {
    const from = IN_HEADER_SIZE + offset;
    const to = this.bytes.indexOf(0, from);
    return to < 0 || to >= this.#length ? undefined : this.bytes.subarray(from, to);
  }

  /** As `name`, of an entry that is made, removed or renamed: undefined if no entry can be called that. */
  entryName(offset: number): Uint8Array | undefined {
    const name = this.name(offset);
    if (name === undefined || name.length === 0 || name.includes(SLASH)) return undefined;
    return name[0] === DOT && (name.length === 1 || (name.length === 2 && name[1] === DOT)) ? undefined : name;
  }
}
