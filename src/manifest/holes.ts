/**
 * Holes of contents, computed from the image alone: a block of 64 KiB whose hash is that of zeros reads as zeros. So a
 * sparse file is shown as sparse, identically in every mount, without accessing its object and whether or not the
 * object itself has holes. The shorter last block of a content counts as data, and so does a content without block
 * hashes.
 */
import { BLOCK_SIZE, blake3, blockCount, DIGEST_SIZE } from '../base/digest.ts';
import { type ManifestTables, objectCount, u64 } from './tables.ts';

/** An object with holes: its first block hash, and how many of its blocks are zeros. */
interface Sparse {
  readonly first: number;
  readonly zeroBlocks: number;
}

/**
 * The holes of an image's objects. One per thread: finds them at the first query, in one pass over the block hashes.
 */
export class Holes {
  readonly #tables: ManifestTables;
  readonly #zeros: Uint8Array;
  #found: ReadonlyMap<number, Sparse> | undefined;

  constructor(tables: ManifestTables) {
    this.#tables = tables;
    this.#zeros = tables.objects.blockHashes.length === 0 ? new Uint8Array(0) : blake3(new Uint8Array(BLOCK_SIZE));
  }

  /** False if no content has a hole. */
  get any(): boolean {
    return this.#sparse.size > 0;
  }

  /** Bytes of holes in object `object`. */
  bytesOf(object: number): number {
    return (this.#sparse.get(object)?.zeroBlocks ?? 0) * BLOCK_SIZE;
  }

  /**
   * The position of the next data (or, with `hole`, hole) in object `object`, from `offset` on, which is below its
   * size. The end is a hole, as for lseek(2); -1 if there is no more data.
   */
  seek(object: number, offset: number, hole: boolean): number {
    const size = u64(this.#tables.objects.size, object);
    const sparse = this.#sparse.get(object);
    if (sparse === undefined) return hole ? size : offset;
    const blocks = Math.ceil(size / BLOCK_SIZE);
    for (let block = Math.floor(offset / BLOCK_SIZE); block < blocks; block++) {
      const isHole = (block + 1) * BLOCK_SIZE <= size && this.#isZeros(sparse.first + block);
      if (isHole === hole) return Math.max(offset, block * BLOCK_SIZE);
    }
    return hole ? size : -1;
  }

  get #sparse(): ReadonlyMap<number, Sparse> {
    this.#found ??= this.#find();
    return this.#found;
  }

  #find(): ReadonlyMap<number, Sparse> {
    const found = new Map<number, Sparse>();
    const { objects, header } = this.#tables;
    if (objects.blockHashes.length === 0) return found;
    const count = objectCount(this.#tables);
    for (let object = 0, first = 0; object < count; object++) {
      const size = u64(objects.size, object);
      let zeroBlocks = 0;
      for (let block = Math.floor(size / BLOCK_SIZE) - 1; block >= 0 && size > BLOCK_SIZE; block--) {
        if (this.#isZeros(first + block)) zeroBlocks++;
      }
      if (zeroBlocks > 0) found.set(object, { first, zeroBlocks });
      first += blockCount(header.hash, size);
    }
    return found;
  }

  #isZeros(index: number): boolean {
    const { blockHashes } = this.#tables.objects;
    const at = index * DIGEST_SIZE;
    for (let i = 0; i < DIGEST_SIZE; i++) if (blockHashes[at + i] !== this.#zeros[i]) return false;
    return true;
  }
}
