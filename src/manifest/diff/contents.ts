/**
 * Finds the contents of two images that are the same bytes, from the tables alone.
 *
 * Images of one `hash` name equal contents by equal digests. Images of different `hash` have the BLAKE3
 * hashes of each 64 KiB block in common: docs/manifest.md, "Digests and block hashes".
 */
import { equalBytes, toHex } from '../../base/bytes.ts';
import { BLOCK_SIZE, blake3, blockCount, DIGEST_SIZE, digestContent } from '../../base/digest.ts';
import { blockHashIndex, inlineOf, objectDigest, objectOf } from '../lookup.ts';
import { type ManifestTables, NONE, objectCount, u64 } from '../tables.ts';
import type { Fingerprint } from './fingerprint.ts';

/**
 * For each object of `old` the object of `now` with the same digest, or NONE; images of different `hash` share none.
 */
export function sameDigests(old: ManifestTables, now: ManifestTables): Uint32Array {
  const found = new Uint32Array(objectCount(old)).fill(NONE);
  if (old.header.hash !== now.header.hash) return found;
  const a = old.objects.digest;
  const b = now.objects.digest;
  // both ascend, so one walk along both finds all
  for (let i = 0, j = 0; i < a.length && j < b.length; ) {
    let order = 0;
    for (let k = 0; k < DIGEST_SIZE && order === 0; k++) order = (a[i + k] as number) - (b[j + k] as number);
    if (order === 0) found[i / DIGEST_SIZE] = j / DIGEST_SIZE;
    if (order <= 0) i += DIGEST_SIZE;
    if (order >= 0) j += DIGEST_SIZE;
  }
  return found;
}

/** The contents of one image by the BLAKE3 hashes of their blocks, which every image has, whatever its `hash`. */
class BlockHashes {
  readonly #tables: ManifestTables;
  #index: Float64Array | undefined;

  constructor(tables: ManifestTables) {
    this.#tables = tables;
  }

  get objects(): number {
    return objectCount(this.#tables);
  }

  /** A key that only objects of the same size and block hashes have. */
  keyOf(object: number): string {
    const from = this.offset(object);
    const size = u64(this.#tables.objects.size, object);
    const count = Math.max(1, blockCount(this.#tables.header.hash, size));
    const hashes = this.column(object).subarray(from, from + count * DIGEST_SIZE);
    return `${size} ${toHex(count === 1 ? hashes : blake3(hashes))}`;
  }

  /** The column with the hashes of the object's blocks: for a content of one block the BLAKE3 digest is its hash. */
  column(object: number): Uint8Array {
    return this.#isDigest(object) ? this.#tables.objects.digest : this.#tables.objects.blockHashes;
  }

  /** The index of the first of them. */
  offset(object: number): number {
    if (this.#isDigest(object)) return object * DIGEST_SIZE;
    this.#index ??= blockHashIndex(this.#tables);
    return (this.#index[object] as number) * DIGEST_SIZE;
  }

  #isDigest(object: number): boolean {
    return blockCount(this.#tables.header.hash, u64(this.#tables.objects.size, object)) === 0;
  }
}

/** For each object of `old` the object of `now` with the same size and block hashes, or NONE. */
function sameBlocks(old: BlockHashes, now: BlockHashes): Uint32Array {
  const objects = new Map<string, number>();
  for (let object = 0; object < now.objects; object++) objects.set(now.keyOf(object), object);
  return Uint32Array.from({ length: old.objects }, (_, object) => objects.get(old.keyOf(object)) ?? NONE);
}

/** Compares the contents of regular files of two images. */
export class ContentComparison {
  readonly #old: ManifestTables;
  readonly #new: ManifestTables;
  readonly #oldHashes: BlockHashes;
  readonly #newHashes: BlockHashes;
  /** For each object of the old image the one of the new image with the same content, or NONE. */
  readonly #newObjectOf: Uint32Array;
  #objectSizes: Uint8Array | undefined;

  constructor(old: ManifestTables, now: ManifestTables) {
    this.#old = old;
    this.#new = now;
    this.#oldHashes = new BlockHashes(old);
    this.#newHashes = new BlockHashes(now);
    this.#newObjectOf =
      old.header.hash === now.header.hash ? sameDigests(old, now) : sameBlocks(this.#oldHashes, this.#newHashes);
  }

  /** True if two regular files have the same content, wherever it is stored. */
  same(oldRow: number, newRow: number): boolean {
    const [a, b] = [objectOf(this.#old, oldRow), objectOf(this.#new, newRow)];
    if (a >= 0 && b >= 0) return this.#newObjectOf[a] === b;
    const { size } = this.#old.inodes;
    const other = this.#new.inodes.size;
    if (size[oldRow * 2] !== other[newRow * 2] || size[oldRow * 2 + 1] !== other[newRow * 2 + 1]) return false;
    const [before, after] = [inlineOf(this.#old, oldRow), inlineOf(this.#new, newRow)];
    if (before === undefined) return after !== undefined && isObject(this.#old, a, after);
    return after === undefined ? isObject(this.#new, b, before) : equalBytes(before, after);
  }

  /** Adds to a fingerprint a value that is equal for equal contents, wherever they are stored in either image. */
  addTo(fingerprint: Fingerprint, tables: ManifestTables, row: number): void {
    const isOld = tables === this.#old;
    const size = u64(tables.inodes.size, row);
    const bytes = inlineOf(tables, row);
    if (bytes?.length === 0) return;
    const payload = objectOf(tables, row);
    if (bytes !== undefined) {
      this.#objectSizes ??= smallSizes(this.#old, this.#new);
      // a hash costs 3 µs
      if (this.#objectSizes[size] === 1) fingerprint.addBytes(blake3(bytes), 0, PREFIX);
      else fingerprint.addBytes(bytes, 0, size);
    } else if (size <= BLOCK_SIZE) {
      const hashes = isOld ? this.#oldHashes : this.#newHashes;
      const from = hashes.offset(payload);
      fingerprint.addBytes(hashes.column(payload), from, from + PREFIX);
    } else {
      const object = isOld ? (this.#newObjectOf[payload] as number) : payload;
      const digests = object === NONE ? tables : this.#new;
      const from = (object === NONE ? payload : object) * DIGEST_SIZE;
      fingerprint.addBytes(digests.objects.digest, from, from + PREFIX);
    }
  }
}

/** Bytes of a hash that are enough for a fingerprint. */
const PREFIX = 8;

/**
 * 1 for each size of up to 64 KiB that an object of either image has: contents of another size are inline or do not
 * exist.
 */
function smallSizes(...images: readonly ManifestTables[]): Uint8Array {
  const found = new Uint8Array(BLOCK_SIZE + 1);
  for (const tables of images) {
    for (let object = 0; object < objectCount(tables); object++) {
      const size = u64(tables.objects.size, object);
      if (size <= BLOCK_SIZE) found[size] = 1;
    }
  }
  return found;
}

/** True if `bytes` are the content of an object of `tables`. */
function isObject(tables: ManifestTables, object: number, bytes: Uint8Array): boolean {
  return equalBytes(digestContent(tables.header.hash, bytes).digest, objectDigest(tables, object));
}
