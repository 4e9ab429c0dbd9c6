/**
 * The time of the last change (ctime) of each inode. It is not stored in an image: it is mtime plus up to 4,096 s,
 * computed from the properties of the inode. So another content under the same path, size and mtime has another ctime,
 * by which backup programs, git and make detect the change; and an unchanged inode has the same ctime in every mount.
 * docs/handles.md specifies it.
 */
import { finishHash, hashBytes, hashWord } from '../base/murmur-hash.ts';
import { S_IFMT } from '../base/stat-bits.ts';
import { direntName, isDirectory, xattrsOf } from './lookup.ts';
import { type ManifestTables, NONE } from './tables.ts';

/** A time as seconds since 1970 in two's complement, low word and high word, and nanoseconds. */
export interface ChangeTime {
  ctimeLow: number;
  ctimeHigh: number;
  ctimeNsec: number;
}

const SECOND = 1_000_000_000;
/** The seconds are another mix of the same bits, so that programs that drop nanoseconds see a change, too. */
const SECONDS_SALT = 0x9e3779b9;
const SECONDS_SHIFT = 20;
const LAST_SECOND_HIGH = 0x7fffffff;
const INODE_BYTES = 28;

/** Computes change times. One per thread: it remembers what it hashed of directories and sets of xattrs. */
export class ChangeTimes {
  readonly #tables: ManifestTables;
  /** By row, 0 if not computed yet. */
  readonly #entries: Uint32Array;
  readonly #xattrs: Uint32Array;

  constructor(tables: ManifestTables) {
    this.#tables = tables;
    this.#entries = new Uint32Array(tables.directories.inode.length);
    this.#xattrs = new Uint32Array(tables.xattrs.first.length);
  }

  /** Fills `out` with the change time of inode `row`. */
  fill(row: number, out: ChangeTime): void {
    const { mtime, mtimeNsec } = this.#tables.inodes;
    const hash = this.#hashOf(row);
    const nsec = (mtimeNsec[row] as number) + (hash % SECOND);
    const carry = nsec >= SECOND ? 1 : 0;
    const seconds = (finishHash(hash ^ SECONDS_SALT, 0) >>> SECONDS_SHIFT) + carry;
    const low = (mtime[row * 2] as number) + seconds;
    const high = mtime[row * 2 + 1] as number;
    out.ctimeNsec = nsec - carry * SECOND;
    out.ctimeLow = low >>> 0;
    out.ctimeHigh = low > 0xffff_ffff && high !== LAST_SECOND_HIGH ? (high + 1) >>> 0 : high;
    // the result is limited to the last representable second
    if (low > 0xffff_ffff && high === LAST_SECOND_HIGH) out.ctimeLow = 0xffff_ffff;
  }

  #hashOf(row: number): number {
    const { generation, mode, uid, gid, nlink, xattrs, payload } = this.#tables.inodes;
    const set = xattrs[row] as number;
    let hash = hashWord(0, generation[row] as number);
    hash = hashWord(hash, mode[row] as number);
    hash = hashWord(hash, uid[row] as number);
    hash = hashWord(hash, gid[row] as number);
    hash = hashWord(hash, nlink[row] as number);
    hash = hashWord(hash, set === NONE ? 0 : this.#xattrs[set] || this.#hashXattrs(row, set));
    const directory = isDirectory(this.#tables, row) ? (payload[row] as number) : NONE;
    hash = hashWord(hash, directory === NONE ? 0 : this.#entries[directory] || this.#hashEntries(directory));
    return finishHash(hash, INODE_BYTES);
  }

  #hashXattrs(row: number, set: number): number {
    let hash = 0;
    let length = 0;
    for (const pair of xattrsOf(this.#tables, row)) {
      for (const bytes of pair) {
        hash = hashBytes(hashWord(hash, bytes.length), bytes);
        length += 4 + bytes.length;
      }
    }
    hash = finishHash(hash, length);
    this.#xattrs[set] = hash;
    return hash;
  }

  /** Names, and the inodes that they lead to: on other file systems these change the ctime of a directory, too. */
  #hashEntries(directory: number): number {
    const { directories, dirents, inodes } = this.#tables;
    const from = directories.first[directory] as number;
    const to = directories.first[directory + 1] as number;
    let hash = 0;
    for (let dirent = from; dirent < to; dirent++) {
      const name = direntName(this.#tables, dirent);
      const row = dirents.inode[dirent] as number;
      hash = hashBytes(hashWord(hash, name.length), name);
      hash = hashWord(hash, inodes.id[row * 2] as number);
      hash = hashWord(hash, inodes.id[row * 2 + 1] as number);
      hash = hashWord(hash, (inodes.mode[row] as number) & S_IFMT);
    }
    hash = finishHash(hash, to - from);
    this.#entries[directory] = hash;
    return hash;
  }
}
