/**
 * The fs-verity file digest computed in user space: SHA-256, 4096-byte blocks, no salt, as
 * `fsverity digest FILE` prints it and FS_IOC_MEASURE_VERITY returns it.
 * Format: Documentation/filesystems/fsverity.rst, "Merkle tree" and "File digest computation".
 */
import { hash } from 'node:crypto';

const BLOCK = 4096;
const SHA256_SIZE = 32;

const sha256 = (bytes: Uint8Array): Buffer => hash('sha256', bytes, 'buffer');

const ZERO_BLOCK = new Uint8Array(BLOCK);
let zeroHash: Uint8Array | undefined;

/**
 * The incomplete block of one level of the Merkle tree. Level 0 has file data, the others hashes of the level below.
 */
interface Level {
  readonly block: Uint8Array;
  length: number;
  /** Blocks of this level whose hashes are in the level above. */
  hashed: number;
}

/** Incremental; has the shape of `Hasher` in digest.ts. */
export class FsVerityHasher {
  readonly #levels: Level[] = [];
  #size = 0;

  update(bytes: Uint8Array): void {
    this.#size += bytes.length;
    const data = this.#level(0);
    let at = 0;
    if (data.length > 0) at = this.#append(0, bytes, 0);
    for (; at + BLOCK <= bytes.length; at += BLOCK) {
      data.hashed++;
      this.#appendHash(1, sha256(bytes.subarray(at, at + BLOCK)));
    }
    if (at < bytes.length) this.#append(0, bytes, at);
  }

  /** The same as `update` with `length` zero bytes, without hashing each block of them. */
  updateZeros(length: number): void {
    zeroHash ??= sha256(ZERO_BLOCK);
    let left = length;
    const begun = this.#level(0).length;
    if (begun > 0) {
      const n = Math.min(left, BLOCK - begun);
      this.update(ZERO_BLOCK.subarray(0, n));
      left -= n;
    }
    this.#size += left - (left % BLOCK);
    for (; left >= BLOCK; left -= BLOCK) {
      this.#level(0).hashed++;
      this.#appendHash(1, zeroHash);
    }
    if (left > 0) this.update(ZERO_BLOCK.subarray(0, left));
  }

  /** The 32-byte file digest. */
  digest(): Uint8Array {
    const descriptor = new Uint8Array(256);
    const view = new DataView(descriptor.buffer);
    descriptor[0] = 1; // version
    descriptor[1] = 1; // FS_VERITY_HASH_ALG_SHA256
    descriptor[2] = 12; // log2 of the block size
    view.setBigUint64(8, BigInt(this.#size), true);
    if (this.#size > 0) descriptor.set(this.#rootHash(), 16);
    return sha256(descriptor);
  }

  /** Pads and hashes each level's incomplete block until a level consists of one hash. */
  #rootHash(): Uint8Array {
    for (let i = 0; ; i++) {
      const level = this.#level(i);
      if (i > 0 && level.hashed === 0 && level.length === SHA256_SIZE) return level.block.subarray(0, SHA256_SIZE);
      if (level.length > 0) this.#flush(i);
    }
  }

  #level(i: number): Level {
    let level = this.#levels[i];
    if (level === undefined) {
      level = { block: new Uint8Array(BLOCK), length: 0, hashed: 0 };
      this.#levels[i] = level;
    }
    return level;
  }

  #append(i: number, bytes: Uint8Array, from: number): number {
    const level = this.#level(i);
    const n = Math.min(bytes.length - from, BLOCK - level.length);
    level.block.set(bytes.subarray(from, from + n), level.length);
    level.length += n;
    if (level.length === BLOCK) this.#flush(i);
    return from + n;
  }

  /**
   * A hash block is flushed only when the next hash arrives, so that a level of exactly 128 hashes
   * keeps its block until it is known whether it is the root's.
   */
  #appendHash(i: number, digest: Uint8Array): void {
    const level = this.#level(i);
    if (level.length === BLOCK) this.#flush(i);
    level.block.set(digest, level.length);
    level.length += SHA256_SIZE;
  }

  #flush(i: number): void {
    const level = this.#level(i);
    level.block.fill(0, level.length);
    level.hashed++;
    level.length = 0;
    this.#appendHash(i + 1, sha256(level.block));
  }
}
