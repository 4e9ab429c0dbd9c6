/**
 * Finds the removed and added names that are one renamed entry.
 *
 * 1. A removed and an added entry are a pair if everything but the path is equal: type, content, mode, owner, mtime,
 *    xattrs; for a directory also everything below it, with its names. And no other removed or added entry, at any
 *    depth, may be equal, too; of several, those two that alone have the same last name are a pair.
 * 2. Two directories are a pair if more than half of the entries of each are pairs with entries of the other, under the
 *    same names.
 * 3. The entries of two directories that are a pair are compared as if they had one path: those with the same name and
 *    type in both are a pair, unless one of the two is a pair with another entry.
 * 4. The rest is examined once more by 1 and 3: other equal entries have found their counterparts by then.
 * 5. Entries with one path, or one name as in 3, and another type, are a pair if nothing else was found for both.
 *
 * There is never a choice. No two pairs by 1 can claim one entry: if one of them were in a directory that is a pair by
 * 1, another entry would be equal, in the same place of that one's counterpart. And no directory can have more than
 * half of its entries in two others.
 */

import { NONE } from '../tables.ts';
import { ASPECT_BITS, TYPE } from './aspects.ts';
import { Fingerprint } from './fingerprint.ts';
import { Fingerprints, Tally } from './fingerprints.ts';
import type { InodeComparison } from './inodes.ts';
import { compareNames, type Differences } from './walk.ts';

/**
 * Finds the pairs, in time linear in the removed and added entries. For changes in a pair by 3, `rows` gets the
 * aspects.
 */
export function findRenames(rows: Differences, inodes: InodeComparison): Renames {
  const renames = new Renames(rows, inodes);
  if (rows.bothWays) renames.find();
  return renames;
}

const ALONG = 1;
const OWN = 2;

export class Renames {
  readonly #rows: Differences;
  readonly #inodes: InodeComparison;
  /** For each row the one that it is a pair with, or NONE. */
  readonly #partners: Uint32Array;
  /** 1 for an added entry that is a pair by 1: everything below it is equal. */
  readonly #same: Uint8Array;
  /** For an added entry that is a pair: ALONG with its directory, or OWN, apart from it; 0 until that is known. */
  readonly #told: Uint8Array;
  /** The number of entries that were renamed along with a directory, if any. */
  readonly #below = new Map<number, number>();
  /** The entries to examine by 5. */
  readonly #retyped: (readonly [went: number, came: number])[];

  constructor(rows: Differences, inodes: InodeComparison) {
    this.#rows = rows;
    this.#inodes = inodes;
    this.#partners = new Uint32Array(rows.length).fill(NONE);
    this.#same = new Uint8Array(rows.length);
    this.#told = new Uint8Array(rows.length);
    this.#retyped = [...rows.retyped];
  }

  /** The row that is a pair with `row`, or NONE. */
  partner(row: number): number {
    return this.#partners[row] as number;
  }

  /** True for an entry that came along with its directory, and still has its own name. */
  cameAlong(row: number): boolean {
    return this.#told[row] === ALONG;
  }

  /** The number of entries that came along with the directory `row`. */
  below(row: number): number {
    return this.#below.get(row) ?? 0;
  }

  find(): void {
    const rows = this.#rows;
    const fingerprints = new Fingerprints(rows, this.#inodes);
    this.#pairSame(findCandidates(rows, fingerprints, () => true));
    this.#pairDirectories();
    this.#pairWithinAll();
    this.#pairSame(findCandidates(rows, fingerprints, (row) => this.#partners[row] === NONE));
    this.#pairWithinAll();
    this.#pairRetyped();
  }

  #pair(went: number, came: number): void {
    this.#partners[went] = came;
    this.#partners[came] = went;
  }

  /** Rule 1, for the outermost equal entries. @param candidates the result of `findCandidates` */
  #pairSame(candidates: Uint32Array): void {
    const rows = this.#rows;
    for (let row = 0; row < rows.length; ) {
      const candidate = candidates[row] as number;
      if (candidate !== NONE && sameTrees(rows, this.#inodes, candidate, row)) {
        this.#pair(candidate, row);
        this.#same[row] = 1;
        row = rows.end(row);
      } else row++;
    }
  }

  /** Rule 2. Backwards, so that the entries of a directory are done before it. */
  #pairDirectories(): void {
    const rows = this.#rows;
    const parents = parentsOf(rows);
    for (let row = rows.length - 1; row >= 0; row--) {
      if (!rows.came(row) || this.#partners[row] !== NONE || rows.end(row) === row + 1) continue;
      const candidate = this.#counterpartOf(row, parents);
      if (candidate !== NONE && this.#partners[candidate] === NONE) this.#pair(candidate, row);
    }
  }

  /**
   * The directory that most entries of the directory `came` are from, if those are most of its entries too; else NONE.
   */
  #counterpartOf(came: number, parents: Uint32Array): number {
    const rows = this.#rows;
    const originOf = (entry: number): number => {
      const partner = this.#partners[entry] as number;
      if (partner === NONE) return NONE;
      const sameName = compareNames(rows.old, rows.oldDirent(partner), rows.now, rows.newDirent(entry)) === 0;
      return sameName ? (parents[partner] as number) : NONE;
    };
    // the only one that can have more than half: Boyer and Moore's majority vote
    let candidate = NONE;
    let lead = 0;
    for (let entry = came + 1; entry < rows.end(came); entry = rows.end(entry)) {
      const origin = originOf(entry);
      if (lead === 0) candidate = origin;
      lead += origin === candidate ? 1 : -1;
    }
    if (candidate === NONE) return NONE;
    let entries = 0;
    let votes = 0;
    for (let entry = came + 1; entry < rows.end(came); entry = rows.end(entry)) {
      entries++;
      if (originOf(entry) === candidate) votes++;
    }
    // at most as many of the candidate's entries are counted as there are votes: it may be a candidate for many
    let others = 0;
    for (let entry = candidate + 1; entry < rows.end(candidate) && others < votes * 2; entry = rows.end(entry))
      others++;
    return votes * 2 > entries && votes * 2 > others ? candidate : NONE;
  }

  /** Rule 3 for all pairs so far. The outermost come first. */
  #pairWithinAll(): void {
    for (let row = 0; row < this.#rows.length; row++) {
      const partner = this.#partners[row] as number;
      if (!this.#rows.came(row) || partner === NONE || this.#told[row] !== 0) continue;
      this.#told[row] = OWN;
      const below = this.#pairWithin(partner, row);
      if (below > 0) this.#below.set(row, below);
    }
  }

  /**
   * Rule 3, with an explicit stack: a tree may be millions of directories deep. Returns the number of entries that came
   * along.
   */
  #pairWithin(went: number, came: number): number {
    const rows = this.#rows;
    const ways: Way[] = [];
    let count = 0;
    const enter = (a: number, b: number): void => {
      if (this.#same[b] === 1) {
        count += this.#pairSameWithin(a, b);
      } else {
        rows.setAspects(b, this.#compare(a, b));
        ways.push({ went: a + 1, wentEnd: rows.end(a), came: b + 1, cameEnd: rows.end(b) });
      }
    };
    enter(went, came);
    for (let way = ways.at(-1); way !== undefined; way = ways.at(-1)) {
      const { went: a, came: b } = way;
      if (a === way.wentEnd || b === way.cameEnd) {
        ways.pop();
        continue;
      }
      const order = compareNames(rows.old, rows.oldDirent(a), rows.now, rows.newDirent(b));
      if (order <= 0) way.went = rows.end(a);
      if (order >= 0) way.came = rows.end(b);
      if (order !== 0 || (!this.#areFree(a, b) && this.#partners[a] !== b)) continue;
      if ((this.#compare(a, b) & TYPE) !== 0) {
        this.#retyped.push([a, b]);
        continue;
      }
      this.#pair(a, b);
      this.#told[b] = ALONG;
      count++;
      enter(a, b);
    }
    return count;
  }

  /** Rule 5. */
  #pairRetyped(): void {
    for (const [went, came] of this.#retyped) {
      if (!this.#areFree(went, came)) continue;
      this.#pair(went, came);
      this.#told[came] = ALONG;
      this.#rows.setAspects(came, this.#compare(went, came));
    }
  }

  #areFree(went: number, came: number): boolean {
    return this.#partners[went] === NONE && this.#partners[came] === NONE;
  }

  #compare(went: number, came: number): number {
    return this.#inodes.compare(this.#rows.oldInode(went), this.#rows.newInode(came)) & ASPECT_BITS;
  }

  #pairSameWithin(went: number, came: number): number {
    const size = this.#rows.end(came) - came;
    for (let i = 1; i < size; i++) {
      this.#pair(went + i, came + i);
      this.#told[came + i] = ALONG;
    }
    return size - 1;
  }
}

/** Entries of two directories that are still to be examined. */
interface Way {
  went: number;
  readonly wentEnd: number;
  came: number;
  readonly cameEnd: number;
}

/** For each removed or added row the row of its directory, if that was removed or added too, else NONE. */
function parentsOf(rows: Differences): Uint32Array {
  const parents = new Uint32Array(rows.length).fill(NONE);
  for (let row = 0; row < rows.length; row++) {
    for (let entry = row + 1; entry < rows.end(row); entry = rows.end(entry)) parents[entry] = row;
  }
  return parents;
}

/** For each added row the only removed one that can be equal, or NONE. @param counts which rows take part */
function findCandidates(rows: Differences, fingerprints: Fingerprints, counts: (row: number) => boolean): Uint32Array {
  const alike = new Tally(rows.length);
  const kinds = new Uint32Array(rows.length);
  for (let row = 0; row < rows.length; row++) {
    if (rows.isCommon(row) || !counts(row)) continue;
    kinds[row] = alike.add(fingerprints.a[row] as number, fingerprints.b[row] as number, row, rows.came(row));
  }
  const namesakes = new Tally(rows.length);
  const hash = new Fingerprint();
  for (let row = 0; row < rows.length; row++) {
    if (rows.isCommon(row) || !counts(row) || !alike.areSeveral(kinds[row] as number)) continue;
    hash.start();
    hash.add(kinds[row] as number);
    hash.addName(rows.tables(row), rows.dirent(row));
    namesakes.add(hash.a, hash.b, row, rows.came(row));
  }
  const candidates = new Uint32Array(rows.length).fill(NONE);
  for (const tally of [alike, namesakes]) tally.collectPairs(candidates);
  return candidates;
}

/** True if two entries, and everything below them, differ in nothing but their own names. */
function sameTrees(rows: Differences, inodes: InodeComparison, went: number, came: number): boolean {
  const size = rows.end(went) - went;
  if (rows.end(came) - came !== size) return false;
  for (let i = 0; i < size; i++) {
    const a = went + i;
    const b = came + i;
    if (rows.end(a) - went !== rows.end(b) - came) return false;
    if ((inodes.compare(rows.oldInode(a), rows.newInode(b)) & ASPECT_BITS) !== 0) return false;
    if (i > 0 && compareNames(rows.old, rows.oldDirent(a), rows.now, rows.newDirent(b)) !== 0) return false;
  }
  return true;
}
