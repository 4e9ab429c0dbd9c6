/**
 * The parts of an image file: manifest, an optional signature, and a checksum of both (docs/manifest.md). Pure.
 *
 * No manifest ends with the magic of the checksum: its last byte is 0x80, an empty array, or the end of a text, and
 * UTF-8 has no byte 0xff.
 */
import { concatBytes, equalBytes } from '../base/bytes.ts';
import { blake3, createBlake3, DIGEST_SIZE } from '../base/digest.ts';
import { CfsError, type ErrorDetails } from '../base/error.ts';
import { asEmbedded, splitSignature } from '../sign/trailer.ts';

/** "cfs-sum" and ff. */
const MAGIC = Uint8Array.of(0x63, 0x66, 0x73, 0x2d, 0x73, 0x75, 0x6d, 0xff);

/** Bytes of the checksum at the end of an image file. */
export const CHECKSUM_SIZE: number = DIGEST_SIZE + MAGIC.length;

/** Bytes of the file have changed since it was written. Of kind `image`, like every file that is not an image. */
export class DamagedImageError extends CfsError {
  constructor(message: string, options?: ErrorDetails) {
    super('image', message, options);
    this.name = 'DamagedImageError';
  }
}

export interface ImageParts {
  readonly manifest: Uint8Array;
  /** BLAKE3 of the manifest: the image id. */
  readonly digest: Uint8Array;
  /** A well-formed COSE_Sign1; undefined if the file has none. */
  readonly signature: Uint8Array | undefined;
  /** False for images of versions that wrote no checksum: it is unknown whether their bytes have changed. */
  readonly hasChecksum: boolean;
}

/**
 * Splits an image file into its parts, and verifies its checksum first. The manifest is not parsed; the parts are
 * views.
 * @throws DamagedImageError if there is a checksum and it does not match the bytes before it; CfsError (image) if the
 *   trailer of a signature, or the signature before it, is malformed
 */
export function splitImage(file: Uint8Array): ImageParts {
  const at = file.length - CHECKSUM_SIZE;
  const hasChecksum = at >= 0 && equalBytes(file.subarray(at + DIGEST_SIZE), MAGIC);
  const body = hasChecksum ? file.subarray(0, at) : file;
  const sum = hasChecksum ? blake3(body) : undefined;
  if (sum !== undefined && !equalBytes(sum, file.subarray(at, at + DIGEST_SIZE))) {
    throw new DamagedImageError(
      'the file is damaged: bytes of it have changed since it was written, as its checksum shows',
      { hint: 'Take another copy of it, or pack the tree again.' },
    );
  }
  const { manifest, signature } = splitSignature(body);
  // a large manifest is hashed once: without a signature the checksum is its digest
  return {
    manifest,
    digest: signature === undefined && sum !== undefined ? sum : blake3(manifest),
    signature,
    hasChecksum,
  };
}

/**
 * The bytes of an image file, in parts.
 * @param digest BLAKE3 of `manifest`
 * @param signature a COSE_Sign1 to embed
 */
export function imageParts(manifest: Uint8Array, digest: Uint8Array, signature?: Uint8Array): Uint8Array[] {
  if (signature === undefined) return [manifest, concatBytes(digest, MAGIC)];
  const embedded = asEmbedded(signature);
  const sum = createBlake3();
  sum.update(manifest);
  sum.update(embedded);
  return [manifest, embedded, concatBytes(sum.digest(), MAGIC)];
}
