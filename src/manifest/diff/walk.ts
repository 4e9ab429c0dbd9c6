/** Walks along two trees at once and records the differences. */

import { GrowableU32 } from '../growable.ts';
import { direntRange, isDirectory } from '../lookup.ts';
import { type ManifestTables, NONE } from '../tables.ts';
import { ASPECT_BITS, DIRECTORY, LINKED, TYPE } from './aspects.ts';
import type { InodeComparison } from './inodes.ts';
import type { LinkGroups } from './links.ts';

/**
 * The differences, one row for each name, in path order: of the names of both trees together, depth first, each
 * directory before its entries, names sorted bytewise. A row is of a name that both trees have, or that only the old
 * one has (it went) or the new one (it came). The rows below a directory that went or came directly follow its own. A
 * name whose file type changed has two rows: it went and came.
 */
export class Differences {
  readonly old: ManifestTables;
  readonly now: ManifestTables;
  /** Aspects in which the two roots differ. They have no dirents, and so no row. */
  readonly root: number;
  /** The two rows of each name whose file type changed: first of the old entry, then of the new one. */
  readonly retyped: (readonly [went: number, came: number])[] = [];
  readonly #aspects = new GrowableU32();
  readonly #oldDirent = new GrowableU32();
  readonly #newDirent = new GrowableU32();
  readonly #end = new GrowableU32();
  #went = 0;
  #came = 0;

  constructor(old: ManifestTables, now: ManifestTables, root: number) {
    this.old = old;
    this.now = now;
    this.root = root;
  }

  get length(): number {
    return this.#aspects.length;
  }

  /** True if entries went and entries came. */
  get bothWays(): boolean {
    return this.#went > 0 && this.#came > 0;
  }

  addCommon(oldDirent: number, newDirent: number, aspects: number): void {
    this.#add(oldDirent, newDirent, aspects);
  }

  /** Returns the number of the row. */
  addWent(dirent: number): number {
    this.#went++;
    return this.#add(dirent, NONE, 0);
  }

  /** Returns the number of the row. */
  addCame(dirent: number): number {
    this.#came++;
    return this.#add(NONE, dirent, 0);
  }

  #add(oldDirent: number, newDirent: number, aspects: number): number {
    this.#aspects.push(aspects);
    this.#oldDirent.push(oldDirent);
    this.#newDirent.push(newDirent);
    return this.#end.push(this.length);
  }

  /** Marks all later rows so far as being below the directory `row`, which went or came. */
  close(row: number): void {
    this.#end.set(row, this.length);
  }

  went(row: number): boolean {
    return this.#newDirent.get(row) === NONE;
  }

  came(row: number): boolean {
    return this.#oldDirent.get(row) === NONE;
  }

  isCommon(row: number): boolean {
    return !this.went(row) && !this.came(row);
  }

  /**
   * The aspects in which a name differs from the old tree, except LINKS. For a name of both trees 0 means that its
   * links may differ; for a name that came they are set later, if it turns out to be a renamed one.
   */
  aspects(row: number): number {
    return this.#aspects.get(row);
  }

  setAspects(row: number, aspects: number): void {
    this.#aspects.set(row, aspects);
  }

  /** The tables that have the name; of a common one the old ones. */
  tables(row: number): ManifestTables {
    return this.came(row) ? this.now : this.old;
  }

  /** The dirent in those tables. */
  dirent(row: number): number {
    return this.came(row) ? this.newDirent(row) : this.oldDirent(row);
  }

  /** The dirent in the old tree, if the name did not come. */
  oldDirent(row: number): number {
    return this.#oldDirent.get(row);
  }

  /** The dirent in the new tree, if the name did not go. */
  newDirent(row: number): number {
    return this.#newDirent.get(row);
  }

  /** The inode's row in the old tree, if the name did not come. */
  oldInode(row: number): number {
    return this.old.dirents.inode[this.oldDirent(row)] as number;
  }

  newInode(row: number): number {
    return this.now.dirents.inode[this.newDirent(row)] as number;
  }

  /** The first row after those of a name that went or came and of everything below it. */
  end(row: number): number {
    return this.#end.get(row);
  }
}

/** A directory of the walk: dirents that are still to be visited. */
interface Frame {
  oldNext: number;
  readonly oldEnd: number;
  newNext: number;
  readonly newEnd: number;
  /** True if both have the same names: then each next one is the same as the other. */
  readonly sameNames: boolean;
  /** The row of a directory that only one tree has; NONE for one of both. */
  readonly row: number;
}

const NOTHING: readonly [number, number] = [0, 0];

/** One walk through both trees, with an explicit stack: a tree may be millions of directories deep. */
export function findDifferences(
  old: ManifestTables,
  now: ManifestTables,
  inodes: InodeComparison,
  links: LinkGroups,
): Differences {
  const differences = new Differences(old, now, inodes.compare(0, 0) & ASPECT_BITS);
  const stack: Frame[] = [];
  /** @param oldRow, newRow inodes with one name; NONE if the tree does not have it */
  const enter = (oldRow: number, newRow: number, row: number): void => {
    const isOld = oldRow !== NONE && isDirectory(old, oldRow);
    const isNew = newRow !== NONE && isDirectory(now, newRow);
    if (!isOld && !isNew) return;
    const [oldNext, oldEnd] = isOld ? direntRange(old, oldRow) : NOTHING;
    const [newNext, newEnd] = isNew ? direntRange(now, newRow) : NOTHING;
    const sameNames = isOld && isNew && haveSameNames(old, oldNext, oldEnd, now, newNext, newEnd);
    stack.push({ oldNext, oldEnd, newNext, newEnd, sameNames, row });
  };
  const went = (dirent: number): number => {
    const row = differences.addWent(dirent);
    enter(old.dirents.inode[dirent] as number, NONE, row);
    return row;
  };
  const came = (dirent: number): number => {
    const row = differences.addCame(dirent);
    enter(NONE, now.dirents.inode[dirent] as number, row);
    return row;
  };
  /** A directory last, so that its entries follow it. */
  const retyped = (oldDirent: number, newDirent: number): void => {
    const directoryWent = isDirectory(old, old.dirents.inode[oldDirent] as number);
    const first = directoryWent ? came(newDirent) : went(oldDirent);
    const last = directoryWent ? went(oldDirent) : came(newDirent);
    differences.retyped.push(directoryWent ? [last, first] : [first, last]);
  };
  enter(0, 0, NONE);
  for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
    const order = orderOfNext(old, now, top);
    if (order === undefined) {
      if (top.row !== NONE) differences.close(top.row);
      stack.pop();
    } else if (order < 0) {
      went(top.oldNext++);
    } else if (order > 0) {
      came(top.newNext++);
    } else {
      const oldDirent = top.oldNext++;
      const newDirent = top.newNext++;
      const oldRow = old.dirents.inode[oldDirent] as number;
      const newRow = now.dirents.inode[newDirent] as number;
      const found = inodes.compare(oldRow, newRow);
      if (found === 0) continue;
      if ((found & TYPE) !== 0) {
        retyped(oldDirent, newDirent);
        continue;
      }
      if ((found & LINKED) !== 0) links.add(oldRow, newRow);
      if (found !== DIRECTORY) differences.addCommon(oldDirent, newDirent, found & ASPECT_BITS);
      if ((found & DIRECTORY) !== 0) enter(oldRow, newRow, NONE);
    }
  }
  return differences;
}

/** Compares the names of two directories at once: sufficient for most directories of most trees. */
function haveSameNames(
  old: ManifestTables,
  oldNext: number,
  oldEnd: number,
  now: ManifestTables,
  newNext: number,
  newEnd: number,
): boolean {
  if (oldEnd - oldNext !== newEnd - newNext) return false;
  const a = old.dirents.nameOffset;
  const b = now.dirents.nameOffset;
  const shift = (b[newNext] as number) - (a[oldNext] as number);
  for (let i = oldNext, j = newNext; i <= oldEnd; i++, j++)
    if ((b[j] as number) - (a[i] as number) !== shift) return false;
  const oldNames = old.dirents.names.subarray(a[oldNext], a[oldEnd]);
  return Buffer.compare(oldNames, now.dirents.names.subarray(b[newNext], b[newEnd])) === 0;
}

/**
 * Compares the next names: negative if the old one sorts first, positive if the new one does, 0 if equal; undefined at
 * the end of both.
 */
function orderOfNext(old: ManifestTables, now: ManifestTables, at: Frame): number | undefined {
  if (at.newNext === at.newEnd) return at.oldNext === at.oldEnd ? undefined : -1;
  if (at.sameNames) return 0;
  return at.oldNext === at.oldEnd ? 1 : compareNames(old, at.oldNext, now, at.newNext);
}

/** Compares the names of two dirents, bytewise: negative, 0 or positive. */
export function compareNames(old: ManifestTables, oldDirent: number, now: ManifestTables, newDirent: number): number {
  const a = old.dirents.names;
  const b = now.dirents.names;
  let i = old.dirents.nameOffset[oldDirent] as number;
  let j = now.dirents.nameOffset[newDirent] as number;
  const iEnd = old.dirents.nameOffset[oldDirent + 1] as number;
  const jEnd = now.dirents.nameOffset[newDirent + 1] as number;
  for (; i < iEnd && j < jEnd; i++, j++) {
    const order = (a[i] as number) - (b[j] as number);
    if (order !== 0) return order;
  }
  return iEnd - i - (jEnd - j);
}
