/**
 * Digests of file contents: BLAKE3 and the fs-verity SHA-256 file digest, and the BLAKE3 hashes of each
 * 64 KiB block that let a reader check a part of a file without the rest.
 */
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { FsVerityHasher } from './fsverity-digest.ts';
import { loadPackage } from './native-package.ts';

/** How an image and a repository name their objects. Each digest is 32 bytes. */
export type HashAlgorithm = 'blake3' | 'fsverity-sha256';

export const HASH_ALGORITHMS: readonly HashAlgorithm[] = ['blake3', 'fsverity-sha256'];

/** Bytes in every digest here. */
export const DIGEST_SIZE = 32;

/** Bytes in a block of `ContentDigest.blockHashes`; the last block of a file may be shorter. */
export const BLOCK_SIZE = 65536;

/** Incremental hash over one byte string. `digest` ends it. */
export interface Hasher {
  update(bytes: Uint8Array): void;
  /**
   * As `update` with so many zeros, if that can be faster. BLAKE3 has no such method: its tree hashes the position of
   * each KiB.
   */
  updateZeros?(length: number): void;
  digest(): Uint8Array;
}

/** One BLAKE3 implementation. */
export interface Blake3 {
  /** The package it comes from. */
  readonly name: string;
  hash(bytes: Uint8Array): Uint8Array;
  create(): Hasher;
}

const require = createRequire(import.meta.url);

/**
 * The native implementation: 10 GB/s at 1 MiB on the machine of docs/architecture.md. Throws if no build for this
 * platform exists.
 */
export function loadNativeBlake3(): Blake3 {
  const native = loadPackage<{
    blake3(bytes: Uint8Array): Buffer;
    Blake3Hasher: new () => { update(bytes: Uint8Array): unknown; digestBuffer(): Buffer };
  }>('@napi-rs/blake-hash');
  return {
    name: '@napi-rs/blake-hash',
    hash: native.blake3,
    create: () => {
      const hasher = new native.Blake3Hasher();
      return {
        update: (bytes) => void hasher.update(bytes),
        digest: () => hasher.digestBuffer(),
      };
    },
  };
}

/** The portable implementation (WebAssembly, 1 GB/s). */
export function loadPortableBlake3(): Blake3 {
  const portable = require('blake3') as {
    hash(bytes: Uint8Array): Buffer;
    createHash(): { update(bytes: Uint8Array): unknown; digest(): Buffer };
  };
  return {
    name: 'blake3',
    hash: (bytes) => portable.hash(bytes),
    create: () => {
      const hasher = portable.createHash();
      return {
        update: (bytes) => void hasher.update(bytes),
        digest: () => hasher.digest(),
      };
    },
  };
}

function chooseBlake3(): Blake3 {
  if (process.env['CFS_BLAKE3'] === 'portable') return loadPortableBlake3();
  try {
    return loadNativeBlake3();
  } catch {
    // no build for this platform, or its files are gone
  }
  try {
    return loadPortableBlake3();
  } catch {
    throw new Error(
      `BLAKE3 cannot be loaded: neither @napi-rs/blake-hash nor blake3 can be found by ${fileURLToPath(import.meta.url)}`,
    );
  }
}

let chosen: Blake3 | undefined;

/** The implementation in use: native, else portable. `CFS_BLAKE3=portable` forces the second. */
export function blake3Implementation(): Blake3 {
  chosen ??= chooseBlake3();
  return chosen;
}

/** BLAKE3 of `bytes`, 32 bytes. */
export function blake3(bytes: Uint8Array): Uint8Array {
  return blake3Implementation().hash(bytes);
}

export function createBlake3(): Hasher {
  return blake3Implementation().create();
}

/** Incremental digest of a whole file with `algorithm`. */
export function createDigest(algorithm: HashAlgorithm): Hasher {
  return algorithm === 'blake3' ? createBlake3() : new FsVerityHasher();
}

/** The facts about a file's content after reading it to the end. */
export interface ContentDigest {
  /** 32 bytes, by the chosen algorithm. */
  readonly digest: Uint8Array;
  /** Bytes of content. */
  readonly size: number;
  /** `blockCount(algorithm, size)` BLAKE3 hashes of 32 bytes, concatenated. */
  readonly blockHashes: Uint8Array;
}

/**
 * The number of block hashes of a file of `size` bytes: none if its digest already is the BLAKE3 of its only block,
 * else one for each full or partial 64 KiB.
 */
export function blockCount(algorithm: HashAlgorithm, size: number): number {
  if (algorithm === 'blake3' && size <= BLOCK_SIZE) return 0;
  return Math.ceil(size / BLOCK_SIZE);
}

/** Digest and block hashes of a content that is in memory. */
export function digestContent(algorithm: HashAlgorithm, bytes: Uint8Array): ContentDigest {
  if (algorithm === 'blake3' && bytes.length <= BLOCK_SIZE) {
    return { digest: blake3(bytes), size: bytes.length, blockHashes: new Uint8Array(0) };
  }
  const hasher = new ContentHasher(algorithm);
  hasher.update(bytes);
  return hasher.finish();
}

let zeroBlock: { readonly bytes: Uint8Array; readonly hash: Uint8Array } | undefined;

function zeros(): { readonly bytes: Uint8Array; readonly hash: Uint8Array } {
  if (zeroBlock === undefined) {
    const bytes = new Uint8Array(BLOCK_SIZE * 16);
    zeroBlock = { bytes, hash: blake3(bytes.subarray(0, BLOCK_SIZE)) };
  }
  return zeroBlock;
}

/** Digest and block hashes of a content that arrives in pieces of any length. */
export class ContentHasher {
  readonly #algorithm: HashAlgorithm;
  readonly #whole: Hasher;
  #size = 0;
  /** Hashes so far; grows by doubling. */
  #hashes: Uint8Array = new Uint8Array(DIGEST_SIZE * 16);
  #blocks = 0;
  /** The incomplete block, if a piece did not end on a block boundary. */
  #partial: Uint8Array | undefined;
  #partialLength = 0;

  constructor(algorithm: HashAlgorithm) {
    this.#algorithm = algorithm;
    this.#whole = createDigest(algorithm);
  }

  update(bytes: Uint8Array): void {
    this.#whole.update(bytes);
    this.#size += bytes.length;
    let at = 0;
    if (this.#partialLength > 0) at = this.#fillPartial(bytes);
    for (; at + BLOCK_SIZE <= bytes.length; at += BLOCK_SIZE) {
      this.#push(blake3(bytes.subarray(at, at + BLOCK_SIZE)));
    }
    if (at < bytes.length) this.#fillPartial(bytes.subarray(at));
  }

  /** The same as `update` with `length` zero bytes: holes of sparse files cost no read and no block hash. */
  updateZeros(length: number): void {
    const zero = zeros();
    let left = length;
    if (this.#partialLength > 0) {
      const n = Math.min(left, BLOCK_SIZE - this.#partialLength);
      this.update(zero.bytes.subarray(0, n));
      left -= n;
    }
    while (left >= BLOCK_SIZE) {
      const n = Math.min(left - (left % BLOCK_SIZE), zero.bytes.length);
      if (this.#whole.updateZeros === undefined) this.#whole.update(zero.bytes.subarray(0, n));
      else this.#whole.updateZeros(n);
      this.#size += n;
      for (let i = 0; i < n; i += BLOCK_SIZE) this.#push(zero.hash);
      left -= n;
    }
    if (left > 0) this.update(zero.bytes.subarray(0, left));
  }

  finish(): ContentDigest {
    if (this.#partialLength > 0) {
      this.#push(blake3((this.#partial as Uint8Array).subarray(0, this.#partialLength)));
    }
    const count = blockCount(this.#algorithm, this.#size);
    return {
      digest: this.#whole.digest(),
      size: this.#size,
      blockHashes: this.#hashes.slice(0, count * DIGEST_SIZE),
    };
  }

  /** Takes bytes into the incomplete block, hashes it when full, and returns how many were taken. */
  #fillPartial(bytes: Uint8Array): number {
    this.#partial ??= new Uint8Array(BLOCK_SIZE);
    const n = Math.min(bytes.length, BLOCK_SIZE - this.#partialLength);
    this.#partial.set(bytes.subarray(0, n), this.#partialLength);
    this.#partialLength += n;
    if (this.#partialLength === BLOCK_SIZE) {
      this.#push(blake3(this.#partial));
      this.#partialLength = 0;
    }
    return n;
  }

  #push(hash: Uint8Array): void {
    const at = this.#blocks * DIGEST_SIZE;
    if (at === this.#hashes.length) {
      const grown = new Uint8Array(this.#hashes.length * 2);
      grown.set(this.#hashes);
      this.#hashes = grown;
    }
    this.#hashes.set(hash, at);
    this.#blocks++;
  }
}
