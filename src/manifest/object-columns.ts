/** The objects of a manifest that is built. */
import { compareBytes, latin1 } from '../base/bytes.ts';
import { blockCount, type ContentDigest, DIGEST_SIZE, type HashAlgorithm } from '../base/digest.ts';
import { CfsError } from '../base/error.ts';
import { type ColumnWriter, words } from './column-writer.ts';
import { GrowableBytes, GrowableF64 } from './growable.ts';
import { BLOCK_HASHES_LIMIT } from './tables.ts';

/** Distinct objects as columns: a JavaScript object for each would cost ten times as much. */
export class ObjectColumns {
  readonly #hash: HashAlgorithm;
  readonly #index = new Map<string, number>();
  readonly #digests = new GrowableBytes();
  readonly #sizes = new GrowableF64();
  readonly #hashes = new GrowableBytes();
  /** The index of each object's first block hash. */
  readonly #hashStart = new GrowableF64();

  constructor(hash: HashAlgorithm) {
    this.#hash = hash;
  }

  /** @returns the number of the object, in the order of the first calls */
  add(content: ContentDigest): number {
    const key = latin1(content.digest);
    let index = this.#index.get(key);
    if (index === undefined) {
      if (this.#hashes.length + content.blockHashes.length > BLOCK_HASHES_LIMIT) {
        throw new CfsError(
          'image',
          'Cannot make the image: the contents of its large files have more than 8 TiB together, and their hashes do not fit. Pack the tree as several images.',
        );
      }
      index = this.#sizes.length;
      this.#digests.append(content.digest);
      this.#sizes.push(content.size);
      this.#hashStart.push(this.#hashes.length);
      this.#hashes.append(content.blockHashes);
      this.#index.set(key, index);
    }
    return index;
  }

  /** Writes the objects sorted by digest. @returns the row of each object */
  write(columns: ColumnWriter): Uint32Array {
    const order = this.#sorted();
    const rowOf = new Uint32Array(order.length);
    const digests = new Uint8Array(order.length * DIGEST_SIZE);
    const hashes = new GrowableBytes();
    const from = this.#hashes.view();
    order.forEach((object, row) => {
      rowOf[object] = row;
      digests.set(this.#digest(object), row * DIGEST_SIZE);
      const start = this.#hashStart.get(object);
      const length = blockCount(this.#hash, this.#sizes.get(object)) * DIGEST_SIZE;
      hashes.append(from.subarray(start, start + length));
    });
    columns.put('objects.digest', digests);
    columns.put(
      'objects.size',
      words(order.length, (row) => this.#sizes.get(order[row] as number)),
    );
    columns.put('objects.blockHashes', hashes.view());
    return rowOf;
  }

  #sorted(): Uint32Array {
    const digests = Buffer.from(this.#digests.view());
    const prefix = Float64Array.from({ length: this.#sizes.length }, (_, i) => digests.readUIntBE(i * DIGEST_SIZE, 6));
    return Uint32Array.from(prefix.keys()).sort(
      (a, b) => (prefix[a] as number) - (prefix[b] as number) || compareBytes(this.#digest(a), this.#digest(b)),
    );
  }

  #digest(object: number): Uint8Array {
    return this.#digests.view().subarray(object * DIGEST_SIZE, (object + 1) * DIGEST_SIZE);
  }
}
