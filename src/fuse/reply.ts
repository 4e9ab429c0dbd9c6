/** Reply bytes. Pure: structures are written into a buffer that the caller sends. */

import type { Errno } from '../base/errno.ts';
import { majorOf, minorOf } from '../base/stat-bits.ts';
import type { Attributes, FilesystemStatistics } from '../fs/filesystem.ts';
import {
  ATTR_OUT_SIZE,
  DIRENT_SIZE,
  ENTRY_OUT_SIZE,
  GETXATTR_OUT_SIZE,
  IOCTL_OUT_SIZE,
  LSEEK_OUT_SIZE,
  OPEN_OUT_SIZE,
  OUT_HEADER_SIZE,
  STATFS_OUT_SIZE,
  STATX_OUT_SIZE,
} from './abi.ts';

/** Seconds for which the kernel may keep an answer: 68 years, because an image cannot change. */
const FOREVER = 0x7fffffff;
const S_IFMT_SHIFT = 12;
const STATX_BASIC_STATS = 0x7ff;
const BLKSIZE = 4096;

/**
 * A buffer that replies about inodes with attributes `A` are made in. One per thread. Byte offsets count from the start
 * of the header.
 */
export class ReplyBuffer<A extends Attributes = Attributes> {
  readonly bytes: Buffer;
  protected readonly words: Uint32Array;
  readonly #size: number;

  constructor(size: number) {
    this.#size = Math.ceil(size / 8) * 8;
    const memory = new ArrayBuffer(this.#size);
    this.bytes = Buffer.from(memory);
    this.words = new Uint32Array(memory);
  }

  /** Room for a payload, in bytes. */
  get capacity(): number {
    return this.#size - OUT_HEADER_SIZE;
  }

  /** The first `length` bytes of the payload, to be filled. */
  payload(length: number): Uint8Array {
    return this.bytes.subarray(OUT_HEADER_SIZE, OUT_HEADER_SIZE + length);
  }

  /** Writes fuse_out_header; returns the length of the whole reply. */
  header(uniqueLow: number, uniqueHigh: number, payloadLength: number, error: Errno | 0): number {
    const words = this.words;
    const length = OUT_HEADER_SIZE + payloadLength;
    words[0] = length;
    words[1] = error; // ToUint32 returns the two's complement
    words[2] = uniqueLow;
    words[3] = uniqueHigh;
    return length;
  }

  /** fuse_entry_out at the start of the payload. */
  entry(attributes: A): number {
    this.entryAt(OUT_HEADER_SIZE / 4, attributes);
    return ENTRY_OUT_SIZE;
  }

  /** fuse_entry_out with nodeid 0: "there is no such name", to be remembered by the kernel. */
  negativeEntry(): number {
    this.words.fill(0, OUT_HEADER_SIZE / 4, (OUT_HEADER_SIZE + ENTRY_OUT_SIZE) / 4);
    this.words[OUT_HEADER_SIZE / 4 + 4] = FOREVER;
    return ENTRY_OUT_SIZE;
  }

  /** fuse_attr_out */
  attr(attributes: A): number {
    const at = OUT_HEADER_SIZE / 4;
    const words = this.words;
    words[at] = FOREVER;
    words[at + 1] = 0;
    words[at + 2] = 0;
    words[at + 3] = 0;
    this.attrAt(at + 4, attributes);
    return ATTR_OUT_SIZE;
  }

  /** fuse_statx_out with the basic statistics; birth time and attributes are not stored in an image. */
  statx(a: A): number {
    const words = this.words;
    const at = OUT_HEADER_SIZE / 4;
    words.fill(0, at, at + STATX_OUT_SIZE / 4);
    words[at] = FOREVER;
    const stat = at + 8;
    words[stat] = STATX_BASIC_STATS;
    words[stat + 1] = BLKSIZE;
    words[stat + 4] = a.nlink;
    words[stat + 5] = a.uid;
    words[stat + 6] = a.gid;
    words[stat + 7] = a.mode & 0xffff;
    this.long(stat + 8, a.shownIno);
    this.long(stat + 10, a.size);
    this.long(stat + 12, a.blocks);
    for (const time of [stat + 16, stat + 28]) {
      words[time] = a.mtimeLow;
      words[time + 1] = a.mtimeHigh;
      words[time + 2] = a.mtimeNsec;
    }
    words[stat + 24] = a.ctimeLow;
    words[stat + 25] = a.ctimeHigh;
    words[stat + 26] = a.ctimeNsec;
    words[stat + 32] = majorOf(a.rdev);
    words[stat + 33] = minorOf(a.rdev);
    return STATX_OUT_SIZE;
  }

  /** fuse_open_out; the file handle as two words, low word first */
  open(low: number, high: number, openFlags: number, backingId: number): number {
    const at = OUT_HEADER_SIZE / 4;
    this.words[at] = low;
    this.words[at + 1] = high;
    this.words[at + 2] = openFlags;
    this.words[at + 3] = backingId;
    return OPEN_OUT_SIZE;
  }

  /** The two words of the file handle in a fuse_open_out. */
  get openedHandle(): readonly [low: number, high: number] {
    const at = OUT_HEADER_SIZE / 4;
    return [this.words[at] as number, this.words[at + 1] as number];
  }

  /** fuse_lseek_out */
  seek(offset: number): number {
    this.long(OUT_HEADER_SIZE / 4, offset);
    return LSEEK_OUT_SIZE;
  }

  /** fuse_statfs_out */
  statfs(statistics: FilesystemStatistics): number {
    const at = OUT_HEADER_SIZE / 4;
    const words = this.words;
    words.fill(0, at, at + STATFS_OUT_SIZE / 4);
    this.long(at, statistics.blocks);
    this.long(at + 6, statistics.files);
    words[at + 10] = statistics.blockSize;
    words[at + 11] = statistics.nameMax;
    words[at + 12] = statistics.blockSize;
    return STATFS_OUT_SIZE;
  }

  /** fuse_getxattr_out: the length of a value or list. */
  xattrSize(size: number): number {
    const at = OUT_HEADER_SIZE / 4;
    this.words[at] = size;
    this.words[at + 1] = 0;
    return GETXATTR_OUT_SIZE;
  }

  /** fuse_ioctl_out with result 0, then the caller's bytes. */
  ioctl(bytes: Uint8Array): number {
    const at = OUT_HEADER_SIZE / 4;
    this.words.fill(0, at, at + IOCTL_OUT_SIZE / 4);
    this.bytes.set(bytes, OUT_HEADER_SIZE + IOCTL_OUT_SIZE);
    return IOCTL_OUT_SIZE + bytes.length;
  }

  /** Plain bytes. */
  data(bytes: Uint8Array): number {
    this.bytes.set(bytes, OUT_HEADER_SIZE);
    return bytes.length;
  }

  /**
   * Appends fuse_dirent, or fuse_direntplus if `plus`, at payload offset `at`.
   * @returns the offset after it, or -1 if it would pass `limit`
   */
  dirent(at: number, limit: number, name: Uint8Array, next: number, attributes: A, plus: boolean): number {
    const base = at + (plus ? ENTRY_OUT_SIZE : 0);
    const end = base + Math.ceil((DIRENT_SIZE + name.length) / 8) * 8;
    if (end > limit) return -1;
    if (plus) this.#entryOrDot((OUT_HEADER_SIZE + at) / 4, name, attributes);
    const word = (OUT_HEADER_SIZE + base) / 4;
    this.long(word, attributes.shownIno);
    this.long(word + 2, next);
    this.words[word + 4] = name.length;
    this.words[word + 5] = attributes.mode >>> S_IFMT_SHIFT;
    const start = OUT_HEADER_SIZE + base + DIRENT_SIZE;
    this.bytes.set(name, start);
    this.bytes.fill(0, start + name.length, OUT_HEADER_SIZE + end);
    return end;
  }

  /**
   * "." and ".." carry nodeid 0: the kernel must not count them as looked up (fs/fuse/readdir.c, fuse_direntplus_link).
   */
  #entryOrDot(word: number, name: Uint8Array, attributes: A): void {
    const dots = name[0] === 0x2e && (name.length === 1 || (name.length === 2 && name[1] === 0x2e));
    if (dots) this.words.fill(0, word, word + ENTRY_OUT_SIZE / 4);
    else this.entryAt(word, attributes);
  }

  protected entryAt(word: number, attributes: A): void {
    const words = this.words;
    this.long(word, attributes.ino);
    words[word + 2] = attributes.generation;
    words[word + 3] = 0;
    words[word + 4] = FOREVER;
    words[word + 5] = 0;
    words[word + 6] = FOREVER;
    words[word + 7] = 0;
    words[word + 8] = 0;
    words[word + 9] = 0;
    this.attrAt(word + 10, attributes);
  }

  /** fuse_attr. An image stores no time of the last access: mtime is shown. */
  protected attrAt(word: number, a: A): void {
    const words = this.words;
    this.long(word, a.shownIno);
    this.long(word + 2, a.size);
    this.long(word + 4, a.blocks);
    words[word + 6] = a.mtimeLow;
    words[word + 7] = a.mtimeHigh;
    words[word + 8] = a.mtimeLow;
    words[word + 9] = a.mtimeHigh;
    words[word + 10] = a.ctimeLow;
    words[word + 11] = a.ctimeHigh;
    words[word + 12] = a.mtimeNsec;
    words[word + 13] = a.mtimeNsec;
    words[word + 14] = a.ctimeNsec;
    words[word + 15] = a.mode;
    words[word + 16] = a.nlink;
    words[word + 17] = a.uid;
    words[word + 18] = a.gid;
    words[word + 19] = a.rdev;
    words[word + 20] = BLKSIZE;
    words[word + 21] = 0;
  }

  protected long(word: number, value: number): void {
    this.words[word] = value;
    this.words[word + 1] = value / 0x1_0000_0000;
  }
}
