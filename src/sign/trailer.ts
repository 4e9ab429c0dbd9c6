/**
 * A signature in the image file itself: manifest, COSE_Sign1, and 12 bytes by which it is found (docs/manifest.md). The
 * checksum of an image comes after it (image-parts.ts). Pure.
 *
 * No manifest ends with the magic: its last byte is 0x80, an empty array, or the end of a text, and UTF-8 has no byte 0xff.
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

/** A manifest, and what signs it in the same file, as views. */
export interface SignedManifest {
  readonly manifest: Uint8Array;
  /** A well-formed COSE_Sign1; undefined where the file has none. */
  readonly signature: Uint8Array | undefined;
}

/**
 * Takes the signature off an image file, of which the checksum was taken before (image-parts.ts). The manifest is not looked at.
 * @throws CfsError (image) where there is a trailer and it, or what it leads to, is malformed
 */
export function splitSignature(file: Uint8Array): SignedManifest {
  const magicAt = file.length - MAGIC.length;
  if (magicAt < 0 || !equalBytes(file.subarray(magicAt), MAGIC)) return { manifest: file, signature: undefined };
  const end = file.length - TRAILER_SIZE;
  if (end < 0) throw malformed('its trailer is cut off');
  const length = new DataView(file.buffer, file.byteOffset + end, LENGTH_SIZE).getUint32(0, true);
  if (length === 0) throw malformed('its trailer says that it has no bytes');
  if (length > MAX_SIGN1_BYTES) {
    throw malformed(`its trailer says that it has ${length} bytes; the largest that is read has ${MAX_SIGN1_BYTES}`);
  }
  if (length >= end) throw malformed(`its trailer says that it has ${length} bytes, which leaves none to the manifest`);
  const signature = file.subarray(end - length, end);
  // with its tag, and so with its first byte: a length that is short of that is none
  if (signature[0] !== TAG_BYTE) throw malformed(`what is embedded does not begin with the CBOR tag ${SIGN1_TAG}`);
  decodeSign1(signature);
  return { manifest: file.subarray(0, end - length), signature };
}

/** What follows the manifest in an image file with this signature in it. */
export function asEmbedded(signature: Uint8Array): Uint8Array {
  const length = new Uint8Array(LENGTH_SIZE);
  new DataView(length.buffer).setUint32(0, signature.length, true);
  return concatBytes(signature, length, MAGIC);
}
