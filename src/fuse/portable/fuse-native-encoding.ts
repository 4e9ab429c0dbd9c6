/**
 * The data of an inode that fuse-native supports: pure functions from our attributes to the words that `populate_stat`
 * and `populate_statvfs` (fuse-native.c) read.
 */

import { exactUtf8 } from '../../base/bytes.ts';
import type { Errno } from '../../base/errno.ts';
import { type Attributes, type FilesystemStatistics, ROOT_INO } from '../../fs/filesystem.ts';

/** "Invalid or incomplete multibyte character": this driver's answer for text that is not UTF-8. */
export const EILSEQ: Errno = -84 as Errno;

/** Words of a stat in fuse-native.c. */
export const STAT_WORDS = 18;
const STATVFS_WORDS = 11;
const WORD = 0x1_0000_0000;
const MAX_WORD = 0xffff_ffff;
const BLOCK_SIZE = 4096;

/** U+FFFD: N-API's replacement for bytes that are not UTF-8. */
const REPLACEMENT = '\ufffd';
/** `NAPI_UTF8(name, 1024, …)` in fuse-native.c truncates longer names. */
const MAX_NAME_BYTES = 1023;

/**
 * The text for a directory entry that reaches the kernel, and comes back in a path, as exactly these bytes; undefined
 * if there is none. There is none for a name with U+FFFD: in a path it is the same text as a name that is not UTF-8.
 */
export function carriedName(name: Uint8Array): string | undefined {
  if (name.length > MAX_NAME_BYTES) return undefined;
  const text = exactUtf8(name);
  return text === undefined || isAmbiguous(text) ? undefined : text;
}

/** True for text from N-API that may represent bytes that were not UTF-8. */
export function isAmbiguous(text: string): boolean {
  return text.includes(REPLACEMENT);
}

/**
 * Writes `attributes` as a stat, under the number `ino`. Nanoseconds are cut to milliseconds; atime is mtime. Returns
 * false if the time cannot be represented: milliseconds since 1970 are an unsigned 64-bit number
 * (`uint32s_to_timespec`), so an earlier time becomes 1970-01-01T00:00:00Z.
 */
export function encodeStat(attributes: Attributes, ino: number, out: Uint32Array): boolean {
  const { size, blocks } = attributes;
  out[0] = attributes.mode;
  out[1] = attributes.uid;
  out[2] = attributes.gid;
  out[3] = size;
  out[4] = Math.floor(size / WORD);
  out[5] = 0; // st_dev is the kernel's
  out[6] = attributes.nlink;
  out[7] = ino;
  out[8] = attributes.rdev; // the low word of glibc's dev_t is the kernel's encoding, and libfuse sends just that
  out[9] = BLOCK_SIZE;
  out[10] = blocks;
  out[11] = Math.floor(blocks / WORD);
  return encodeTimes(attributes, out);
}

/** Words 12 to 17: atime, mtime and ctime in milliseconds, low word first. */
function encodeTimes(attributes: Attributes, out: Uint32Array): boolean {
  const { mtimeLow, mtimeHigh, mtimeNsec, ctimeLow, ctimeHigh, ctimeNsec } = attributes;
  const carried = encodeTime(mtimeLow, mtimeHigh, mtimeNsec, out, 12);
  out.copyWithin(14, 12, 14);
  return encodeTime(ctimeLow, ctimeHigh, ctimeNsec, out, 16) && carried;
}

/** @returns false if the nearest possible time is written */
function encodeTime(lowWord: number, highWord: number, nsec: number, out: Uint32Array, at: number): boolean {
  const high = highWord | 0;
  const low = lowWord >>> 0;
  if (high === 0) {
    const small = low * 1000 + Math.floor(nsec / 1e6); // below 2^53
    out[at] = small;
    out[at + 1] = Math.floor(small / WORD);
    return true;
  }
  let milliseconds = high < 0 ? 0n : ((BigInt(high) << 32n) + BigInt(low)) * 1000n + BigInt(Math.floor(nsec / 1e6));
  const carried = high > 0 && milliseconds < 1n << 64n;
  if (!carried && high > 0) milliseconds = (1n << 64n) - 1n;
  out[at] = Number(milliseconds & 0xffff_ffffn);
  out[at + 1] = Number(milliseconds >> 32n);
  return carried;
}

/** `statistics` as a statvfs. Its counts have 32 bits: if there are more, blocks get larger, and `files` is capped. */
export function encodeStatistics(statistics: FilesystemStatistics): Uint32Array {
  let { blockSize, blocks } = statistics;
  while (blocks > MAX_WORD) {
    blocks = Math.ceil(blocks / 2);
    blockSize *= 2;
  }
  const out = new Uint32Array(STATVFS_WORDS);
  out[0] = blockSize;
  out[1] = blockSize;
  out[2] = blocks;
  out[5] = Math.min(statistics.files, MAX_WORD);
  out[10] = statistics.nameMax;
  return out;
}

/** A Map can have 2^24 entries at most; this many are enough for all numbers. */
const SHARDS = 256;

/**
 * 32-bit inode numbers for stable ids of 52 bits: the id's low word, or the next free number if another inode of this
 * mount has that one already. So two files never share a number (cmp, cp, tar and find would take them for one), and a
 * file has the same number in every mount unless its low word collides.
 */
export class ShownInodes {
  readonly #owners: readonly Map<number, number>[] = Array.from({ length: SHARDS }, () => new Map());

  /** The number under which `ino` is shown. */
  shown(ino: number): number {
    if (ino === ROOT_INO) return ROOT_INO;
    for (let candidate = ino >>> 0; ; candidate = (candidate + 1) >>> 0) {
      if (candidate <= ROOT_INO) continue;
      const owners = this.#owners[candidate >>> 24] as Map<number, number>;
      const owner = owners.get(candidate);
      if (owner === ino) return candidate;
      if (owner === undefined) {
        owners.set(candidate, ino);
        return candidate;
      }
    }
  }
}
