/** Contents of an image as packing has them: digest, size, hashes of blocks. */
import { blockCount, type ContentDigest, DIGEST_SIZE } from '../../base/digest.ts';
import { blockHashIndex, objectDigest } from '../../manifest/lookup.ts';
import { type ManifestTables, u64 } from '../../manifest/tables.ts';

const NONE = new Uint8Array();

export class ImageContents {
  readonly #tables: ManifestTables;
  #index: Float64Array | undefined;

  constructor(tables: ManifestTables) {
    this.#tables = tables;
  }

  /** Of an object: views, not copies. */
  ofObject(object: number): ContentDigest {
    const { objects, header } = this.#tables;
    this.#index ??= blockHashIndex(this.#tables);
    const size = u64(objects.size, object);
    const from = (this.#index[object] as number) * DIGEST_SIZE;
    const length = blockCount(header.hash, size) * DIGEST_SIZE;
    return {
      digest: objectDigest(this.#tables, object),
      size,
      blockHashes: objects.blockHashes.subarray(from, from + length),
    };
  }

  /** Of a content that is in the image itself: it has no object, so no digest. */
  ofInline(bytes: Uint8Array): ContentDigest {
    return { digest: NONE, size: bytes.length, blockHashes: NONE };
  }
}
