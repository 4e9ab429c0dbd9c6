/**
 * The format of `cfs-repo export`: images and objects as one stream. docs/repository.md specifies it. Pure.
 */
import { createBlake3, DIGEST_SIZE, HASH_ALGORITHMS, type HashAlgorithm } from '../base/digest.ts';
import { CfsError } from '../base/error.ts';

/** As in PNG: bytes that a transfer as text would change. */
const MAGIC: Uint8Array = Buffer.from('\x89CFS\r\n\x1a\n', 'latin1');
export const STREAM_VERSION = 1;
export const HEADER_BYTES = 16;

/** Types of records. */
export const IMAGE = 0x49;
export const OBJECT = 0x4f;
export const END = 0x45;
export const NAME_MAX = 255;

/** Magic, version, and the algorithm that names objects. */
export function encodeHeader(hash: HashAlgorithm): Uint8Array {
  const bytes = Buffer.alloc(HEADER_BYTES);
  bytes.set(MAGIC);
  bytes.writeUInt32LE(STREAM_VERSION, 8);
  bytes.writeUInt32LE(HASH_ALGORITHMS.indexOf(hash), 12);
  return bytes;
}

/** @throws CfsError (source) */
export function decodeHeader(bytes: Buffer): HashAlgorithm {
  if (!bytes.subarray(0, MAGIC.length).equals(MAGIC)) throw malformed('it is not an export of images');
  const version = bytes.readUInt32LE(8);
  if (version !== STREAM_VERSION) {
    throw malformed(`it has format version ${version}; this program knows version ${STREAM_VERSION}`);
  }
  const hash = HASH_ALGORITHMS[bytes.readUInt32LE(12)];
  if (hash === undefined) throw malformed('it names objects by an unknown algorithm');
  return hash;
}

/** The error for a stream that cannot be imported. */
export const malformed = (reason: string): CfsError => new CfsError('source', `Cannot import the stream: ${reason}`);

/** Before the bytes of an image. @param name at most NAME_MAX bytes */
export function encodeImage(name: Uint8Array, size: number): Uint8Array {
  const bytes = Buffer.alloc(11);
  bytes[0] = IMAGE;
  bytes.writeUInt16LE(name.length, 1);
  bytes.writeBigUInt64LE(BigInt(size), 3);
  return Buffer.concat([bytes, name]);
}

/** Before the bytes of an object. */
export function encodeObject(digest: Uint8Array, size: number): Uint8Array {
  const bytes = Buffer.alloc(1 + DIGEST_SIZE + 8);
  bytes[0] = OBJECT;
  bytes.set(digest, 1);
  bytes.writeBigUInt64LE(BigInt(size), 1 + DIGEST_SIZE);
  return bytes;
}

/** The last record, before the checksum of all bytes up to here. */
export function encodeEnd(images: number, objects: number): Uint8Array {
  const bytes = Buffer.alloc(17);
  bytes[0] = END;
  bytes.writeBigUInt64LE(BigInt(images), 1);
  bytes.writeBigUInt64LE(BigInt(objects), 9);
  return bytes;
}

/** Reads a stream in pieces of the wanted sizes, and hashes all that it returns. */
export class StreamReader {
  readonly #chunks: AsyncIterator<Uint8Array>;
  readonly #hasher = createBlake3();
  #left: Uint8Array = new Uint8Array();

  constructor(chunks: AsyncIterable<Uint8Array>) {
    this.#chunks = chunks[Symbol.asyncIterator]();
  }

  /** The next `length` bytes, as a copy. @throws CfsError (source) if the stream ends before */
  async read(length: number): Promise<Buffer> {
    const bytes = Buffer.allocUnsafe(length);
    let at = 0;
    for await (const piece of this.pieces(length)) {
      bytes.set(piece, at);
      at += piece.length;
    }
    return bytes;
  }

  /** The next `length` bytes in pieces, each valid until the next. */
  async *pieces(length: number): AsyncGenerator<Uint8Array, void, undefined> {
    for (let left = length; left > 0; ) {
      if (this.#left.length === 0) this.#left = await this.#next();
      const piece = this.#left.subarray(0, left);
      this.#left = this.#left.subarray(piece.length);
      this.#hasher.update(piece);
      left -= piece.length;
      yield piece;
    }
  }

  /** A length, which must be one that this program can use. */
  async readLength(): Promise<number> {
    const length = (await this.read(8)).readBigUInt64LE(0);
    if (length > BigInt(Number.MAX_SAFE_INTEGER)) throw malformed('it is damaged: a length is too large');
    return Number(length);
  }

  /** The BLAKE3 of all bytes so far. Nothing may be read after that but the checksum itself. */
  digest(): Uint8Array {
    return this.#hasher.digest();
  }

  /** The next `length` bytes, which are not hashed: the checksum. */
  async readChecksum(length: number): Promise<Buffer> {
    const parts: Uint8Array[] = [];
    for (let left = length; left > 0; ) {
      if (this.#left.length === 0) this.#left = await this.#next();
      const piece = this.#left.subarray(0, left);
      this.#left = this.#left.subarray(piece.length);
      parts.push(piece.slice());
      left -= piece.length;
    }
    return Buffer.concat(parts);
  }

  /** Whether nothing follows. */
  async isAtEnd(): Promise<boolean> {
    while (this.#left.length === 0) {
      const { done, value } = await this.#chunks.next();
      if (done === true) return true;
      this.#left = value;
    }
    return false;
  }

  async #next(): Promise<Uint8Array> {
    if (await this.isAtEnd()) throw malformed('it is cut off');
    return this.#left;
  }
}
