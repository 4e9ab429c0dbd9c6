/**
 * Stable ids and generations, which identify an inode in every mount of every version of an image.
 * docs/manifest.md, "Stable ids".
 */
import { blake3 } from '../base/digest.ts';
import { SHORT_BLAKE3_MAX, shortBlake3 } from '../base/short-blake3.ts';

/** The root's id, FUSE_ROOT_ID of the kernel. */
export const ROOT_ID = 1;

/** Bits of an id: both a JavaScript number and an ino_t represent them exactly. */
export const ID_BITS = 52;

/**
 * First `bits` bits (big-endian) of BLAKE3 of the path, moved past 0 and 1, which are not ids of files.
 * `path`: absolute, without a trailing slash: "/usr/bin/env".
 */
export function idOfPath(path: Uint8Array, bits: number = ID_BITS): number {
  const isShort = path.length <= SHORT_BLAKE3_MAX;
  const words = isShort ? shortBlake3(path) : new Int32Array(Uint8Array.from(blake3(path)).buffer);
  const whole = bigEndian(words[0] as number) * 2 ** 20 + (bigEndian(words[1] as number) >>> 12);
  const id = Math.floor(whole / 2 ** (ID_BITS - bits));
  return id < 2 ? id + 2 : id;
}

/** The value of four bytes, the lowest of the word being the first. */
const bigEndian = (word: number): number =>
  ((word << 24) | ((word & 0xff00) << 8) | ((word >>> 8) & 0xff00) | (word >>> 24)) >>> 0;

/** The id to try after `id` was taken: the next one, from 2 again after the last. */
export function nextId(id: number, bits: number = ID_BITS): number {
  return id + 1 >= 2 ** bits ? 2 : id + 1;
}

/**
 * First 32 bits (big-endian) of BLAKE3 of the file type (4 bytes, little-endian st_mode & S_IFMT) and the body of the
 * file: a regular file's content digest, a symbolic link's target, a device's number (4 bytes, little-endian), nothing
 * for other types. Directories have 0: they keep their identity whatever their entries.
 */
export function generationOf(type: number, identity: Uint8Array): number {
  const input = new Uint8Array(4 + identity.length);
  new DataView(input.buffer).setUint32(0, type, true);
  input.set(identity, 4);
  const hash = blake3(input);
  return new DataView(hash.buffer, hash.byteOffset).getUint32(0);
}
