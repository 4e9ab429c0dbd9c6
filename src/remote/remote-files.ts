/** Files of a remote repository as they are stored. */
import { HASH_ALGORITHMS, type HashAlgorithm } from '../base/digest.ts';
import { decompressFrame, frameContentSize } from '../system/zstd.ts';

/** Bytes of meta.json. */
export const META_LIMIT = 4096;
/** Bytes of an image file, compressed: more than one of 10^7 files has. */
export const IMAGE_LIMIT: number = 2 ** 31;
/** A content is larger than its frame by this factor, and a MiB, at most: images are mostly digests. */
const EXPANSION = 64;

/** The hash algorithm that a meta.json names; undefined if it is none. */
export function hashOfMeta(bytes: Uint8Array): HashAlgorithm | undefined {
  try {
    const { hash } = JSON.parse(Buffer.from(bytes).toString('utf8')) as { hash?: unknown };
    return HASH_ALGORITHMS.find((known) => known === hash);
  } catch {
    return undefined;
  }
}

/** The content of a frame; undefined if it is damaged, or would be larger than `most` or than any image or map is. */
export function expand(frame: Uint8Array, most: number = Number.MAX_SAFE_INTEGER): Uint8Array | undefined {
  const size = frame.length === 0 ? -1 : frameContentSize(frame);
  if (size < 0 || size > Math.min(most, frame.length * EXPANSION + (1 << 20))) return undefined;
  const bytes = new Uint8Array(size);
  return decompressFrame(frame, bytes) === size ? bytes : undefined;
}
