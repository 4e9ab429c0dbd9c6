/** Finding equal entries among many: fingerprints, and counts of them. */

import { S_IFDIR, S_IFLNK, S_IFMT, S_IFREG } from '../../base/stat-bits.ts';
import { linkTarget } from '../lookup.ts';
import { NONE } from '../tables.ts';
import { Fingerprint } from './fingerprint.ts';
import type { InodeComparison } from './inodes.ts';
import type { Differences } from './walk.ts';

/**
 * A fingerprint for each row of a removed or added entry: of everything but its name, including everything below it.
 */
export class Fingerprints {
  readonly a: Uint32Array;
  readonly b: Uint32Array;
  readonly #rows: Differences;
  readonly #inodes: InodeComparison;
  readonly #hash = new Fingerprint();

  constructor(rows: Differences, inodes: InodeComparison) {
    this.a = new Uint32Array(rows.length);
    this.b = new Uint32Array(rows.length);
    this.#rows = rows;
    this.#inodes = inodes;
    // backwards, so that the entries of a directory are done before it
    for (let row = rows.length - 1; row >= 0; row--) {
      if (rows.isCommon(row)) continue;
      this.#addEntry(row);
      this.a[row] = this.#hash.a;
      this.b[row] = this.#hash.b;
    }
  }

  #addEntry(row: number): void {
    const hash = this.#hash;
    const tables = this.#rows.tables(row);
    const inode = tables.dirents.inode[this.#rows.dirent(row)] as number;
    const { mode, uid, gid, mtime, mtimeNsec, size, rdev } = tables.inodes;
    const type = (mode[inode] as number) & S_IFMT;
    hash.start();
    hash.add(mode[inode] as number);
    hash.add(uid[inode] as number);
    hash.add(gid[inode] as number);
    hash.add(mtime[inode * 2] as number);
    hash.add(mtime[inode * 2 + 1] as number);
    hash.add(mtimeNsec[inode] as number);
    hash.add(size[inode * 2] as number);
    hash.add(size[inode * 2 + 1] as number);
    hash.add(rdev[inode] as number);
    hash.add(this.#inodes.xattrs.of(tables, inode));
    if (type === S_IFDIR) this.#addEntriesOf(row);
    if (type === S_IFREG) this.#inodes.contents.addTo(hash, tables, inode);
    if (type === S_IFLNK) {
      const target = linkTarget(tables, inode);
      hash.addBytes(target, 0, target.length);
    }
  }

  #addEntriesOf(row: number): void {
    const rows = this.#rows;
    for (let entry = row + 1; entry < rows.end(row); entry = rows.end(entry)) {
      this.#hash.addName(rows.tables(entry), rows.dirent(entry));
      this.#hash.add(this.a[entry] as number);
      this.#hash.add(this.b[entry] as number);
    }
  }
}

/** Counts removed and added entries by a fingerprint. */
export class Tally {
  /** One more than the number of a kind, by its fingerprint; linear probing. */
  readonly #places: Uint32Array;
  readonly #a: Uint32Array;
  readonly #b: Uint32Array;
  /** For each kind: 0, or one more than the row of the only entry, or NONE for several. */
  readonly #went: Uint32Array;
  readonly #came: Uint32Array;
  #kinds = 0;

  /** @param rows the largest possible number of entries */
  constructor(rows: number) {
    this.#places = new Uint32Array(2 ** Math.ceil(Math.log2(rows * 2 + 1)));
    this.#a = new Uint32Array(rows);
    this.#b = new Uint32Array(rows);
    this.#went = new Uint32Array(rows);
    this.#came = new Uint32Array(rows);
  }

  /** Returns the number of the kind that all entries with this fingerprint have. */
  add(a: number, b: number, row: number, came: boolean): number {
    const kind = this.#kindOf(a >>> 0, b >>> 0);
    const counted = came ? this.#came : this.#went;
    counted[kind] = counted[kind] === 0 ? row + 1 : NONE;
    return kind;
  }

  #kindOf(a: number, b: number): number {
    const last = this.#places.length - 1;
    for (let place = a & last; ; place = (place + 1) & last) {
      const kind = (this.#places[place] as number) - 1;
      if (kind >= 0 && this.#a[kind] === a && this.#b[kind] === b) return kind;
      if (kind >= 0) continue;
      this.#places[place] = this.#kinds + 1;
      this.#a[this.#kinds] = a;
      this.#b[this.#kinds] = b;
      return this.#kinds++;
    }
  }

  /** True if entries of the kind were removed and added, but not one of each. */
  areSeveral(kind: number): boolean {
    const went = this.#went[kind] as number;
    const came = this.#came[kind] as number;
    return went !== 0 && came !== 0 && (went === NONE || came === NONE);
  }

  /**
   * For each kind with exactly one removed and one added entry: writes the row of the removed one into `candidates`, at
   * the row of the added one.
   */
  collectPairs(candidates: Uint32Array): void {
    for (let kind = 0; kind < this.#kinds; kind++) {
      const went = this.#went[kind] as number;
      const came = this.#came[kind] as number;
      if (went !== 0 && came !== 0 && went !== NONE && came !== NONE) candidates[came - 1] = went - 1;
    }
  }
}
