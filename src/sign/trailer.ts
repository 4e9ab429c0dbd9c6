/**
 * A signature embedded in the image file: manifest, COSE_Sign1, and 12 bytes to find it by (docs/manifest.md). The
 * checksum of an image follows it (image-parts.ts). Pure.
 *
 * No manifest ends with the magic: its last byte is 0x80, an empty array, or the end of a text, and UTF-8 has no byte
 * 0xff.
 */
import { concatBytes, equalBytes } from '../base/bytes.ts';
import { malformed } from './cbor-reader.ts';
import { decodeSign1, MAX_SIGN1_BYTES, SIGN1_TAG } from './cose-sign1.ts';

/** "cfs-sig" and ff. */
const MAGIC = Uint8Array.of(0x63, 0x66, 0x73, 0x2d, 0x73, 0x69, 0x67, 0xff);
/** Major type 6. */
const TAG_BYTE: number = 0xc0 + SIGN1_TAG;
/** u32, little-endian: bytes of the signature. */
const LENGTH_SIZE = 4;

export const TRAILER_SIZE: number = LENGTH_SIZE + MAGIC.length;

/** A manifest and the signature embedded after it, as views. */
export interface SignedManifest {
  readonly manifest: Uint8Array;
  /** A well-formed COSE_Sign1; undefined if the file has none. */
  readonly signature: Uint8Array | undefined;
}

/**
 * Removes the signature from an image file whose checksum was removed before (image-parts.ts). The manifest is not
 * examined.
 * @throws CfsError (image) if there is a trailer and it, or the signature before it, is malformed
 */
export function splitSignature(file: Uint8Array): SignedManifest {
  const magicAt = file.length - MAGIC.length;
  if (magicAt < 0 || !equalBytes(file.subarray(magicAt), MAGIC)) return { manifest: file, signature: undefined };
  const end = file.length - TRAILER_SIZE;
  if (end < 0) throw malformed('its trailer is cut off');
  const length = new DataView(file.buffer, file.byteOffset + end, LENGTH_SIZE).getUint32(0, true);
  if (length === 0) throw malformed('by its trailer it has no bytes');
  if (length > MAX_SIGN1_BYTES) {
    throw malformed(`by its trailer it has ${length} bytes; at most ${MAX_SIGN1_BYTES} are accepted`);
  }
  if (length >= end) throw malformed(`by its trailer it has ${length} bytes, which leaves none for the manifest`);
  const signature = file.subarray(end - length, end);
  // an embedded signature has its tag, and so its first byte: a length that excludes it is wrong
  if (signature[0] !== TAG_BYTE) throw malformed(`the embedded bytes do not begin with the CBOR tag ${SIGN1_TAG}`);
  decodeSign1(signature);
  return { manifest: file.subarray(0, end - length), signature };
}

/** The bytes after the manifest in an image file with this signature embedded. */
export function asEmbedded(signature: Uint8Array): Uint8Array {
  const length = new Uint8Array(LENGTH_SIZE);
  new DataView(length.buffer).setUint32(0, signature.length, true);
  return concatBytes(signature, length, MAGIC);
}
