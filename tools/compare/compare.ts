/**
 * Compares two directory trees field by field: the differences that `diff -r` finds, and those that it does not. The
 * left one is the reference, usually the source of an image; the right one is compared with it, usually the image's
 * mount. Names are bytes, trees may be deeper than PATH_MAX, contents are read in chunks.
 */
import { type BigIntStats, constants, lstatSync } from 'node:fs';
import { compareBytes, exactUtf8 } from '../../src/base/bytes.ts';
import { ContentComparer, compareStats, compareTargets, compareXattrs, typeOf } from './entry.ts';
import { LinkComparison } from './links.ts';
import { attempt, type ComparedField, type Difference, Failure, type Name, Report } from './report.ts';
import { TreeCursor } from './tree-cursor.ts';

export { COMPARED_FIELDS, type ComparedField, type Difference } from './report.ts';

export interface CompareOptions {
  /** Fields that are not compared. `mtimeNsec` ignores fractions of a millisecond, `mtime` the whole time. */
  readonly ignore?: ReadonlySet<ComparedField>;
  /** Skips names that are not UTF-8, with everything below them, and link targets that are not. */
  readonly skipNonUtf8?: boolean;
}

export interface CompareResult {
  /** Names that both sides have, including the root. */
  readonly entries: number;
  /** Regular files whose content is the same on both sides; the names of one inode count once. */
  readonly files: number;
  /** Bytes of content that are the same on both sides. */
  readonly bytes: number;
  /** Names and link targets that `skipNonUtf8` skipped. */
  readonly skipped: number;
  /** All differences. */
  readonly differenceCount: number;
  /** The first 100 of them. A read error is a difference of the field that could not be read. */
  readonly differences: readonly Difference[];
}

/**
 * Compares the trees at `left` and `right`. A file's link count on the right must be the number of names
 * that it has in the left tree, whatever links lie outside of that; a directory's on the right must be
 * 2 + the number of its subdirectories, whatever the left file system says (btrfs says 1).
 * Sizes of directories are not compared.
 * @throws system errors if a root cannot be opened, or a directory is moved during the comparison
 */
export function compareTrees(left: string, right: string, options: CompareOptions = {}): CompareResult {
  const leftCursor = new TreeCursor(left);
  try {
    const rightCursor = new TreeCursor(right);
    try {
      return new Comparison(leftCursor, rightCursor, options).run();
    } finally {
      rightCursor.close();
    }
  } finally {
    leftCursor.close();
  }
}

/** The directories of one level that are still to be entered. */
interface Frame {
  readonly directories: readonly Buffer[];
  next: number;
}

/** The result for a name, for its directory. */
interface Found {
  /** Both sides have a directory. */
  readonly descend: boolean;
  /** The right side's directory has a subdirectory in it. */
  readonly subdirectory: boolean;
}

class Comparison {
  readonly #left: TreeCursor;
  readonly #right: TreeCursor;
  readonly #skipNonUtf8: boolean;
  readonly #report: Report;
  readonly #content: ContentComparer;
  readonly #links = new LinkComparison();
  #entries = 0;
  #skipped = 0;
  /** False once a directory of the left side was not entered: it may contain names of any inode. */
  #linksComplete = true;

  constructor(left: TreeCursor, right: TreeCursor, options: CompareOptions) {
    this.#left = left;
    this.#right = right;
    this.#skipNonUtf8 = options.skipNonUtf8 ?? false;
    this.#report = new Report(options.ignore ?? new Set());
    this.#content = new ContentComparer(this.#report);
  }

  run(): CompareResult {
    this.#walk();
    if (this.#linksComplete) {
      for (const { path, names, nlink } of this.#links.wrongCounts()) {
        this.#report.keep({ path, field: 'nlink', left: `${names} names in the tree`, right: `${nlink}` });
      }
    }
    return {
      entries: this.#entries,
      files: this.#content.files,
      bytes: this.#content.bytes,
      skipped: this.#skipped,
      differenceCount: this.#report.count,
      differences: this.#report.differences,
    };
  }

  #walk(): void {
    const stack = [this.#compareRoot()];
    for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
      const name = top.directories[top.next++];
      if (name !== undefined) {
        if (this.#enter(name)) stack.push(this.#compareDirectory());
        continue;
      }
      stack.pop();
      if (stack.length > 0) this.#leave();
    }
  }

  #compareRoot(): Frame {
    const left = lstatSync(this.#left.self(), { bigint: true });
    const right = lstatSync(this.#right.self(), { bigint: true });
    this.#entries++;
    this.#links.add(left, right, () => '/');
    compareStats(this.#report, undefined, left, right);
    compareXattrs(this.#report, undefined, this.#left.self(), this.#right.self());
    return this.#compareDirectory();
  }

  /** Enters `name` on both sides, or on neither. */
  #enter(name: Buffer): boolean {
    const left = attempt(() => this.#left.enter(name));
    const right = attempt(() => this.#right.enter(name));
    const failed = left instanceof Failure || right instanceof Failure;
    if (!failed) this.#report.path.push(name);
    else {
      if (!(left instanceof Failure)) this.#left.leave();
      if (!(right instanceof Failure)) this.#right.leave();
      this.#report.unreadable('names', name, left, right);
    }
    return !failed;
  }

  #leave(): void {
    this.#left.leave();
    this.#right.leave();
    this.#report.path.pop();
  }

  /** Compares all names of the current directory; returns the directories among them. */
  #compareDirectory(): Frame {
    const directories: Buffer[] = [];
    const left = attempt(() => this.#left.names());
    const right = attempt(() => this.#right.names());
    if (left instanceof Failure || right instanceof Failure) {
      this.#report.unreadable('names', undefined, left, right);
      return { directories, next: 0 };
    }
    let subdirectories = 0;
    for (let i = 0, j = 0; i < left.length || j < right.length; ) {
      const a = left[i];
      const b = right[j];
      const order = a === undefined ? 1 : b === undefined ? -1 : compareBytes(a, b);
      const name = (order <= 0 ? a : b) as Buffer;
      if (order <= 0) i++;
      if (order >= 0) j++;
      const found = this.#compareName(name, order <= 0, order >= 0);
      if (found.subdirectory) subdirectories++;
      if (found.descend) directories.push(name);
    }
    const { nlink } = lstatSync(this.#right.self(), { bigint: true });
    this.#report.compare('nlink', undefined, `${2 + subdirectories}`, `${nlink}`);
    return { directories, next: 0 };
  }

  #compareName(name: Buffer, onLeft: boolean, onRight: boolean): Found {
    const left = onLeft ? attempt(() => lstatSync(this.#left.pathOf(name), { bigint: true })) : undefined;
    if (this.#skipNonUtf8 && exactUtf8(name) === undefined) return this.#passOver(left);
    const right = onRight ? attempt(() => lstatSync(this.#right.pathOf(name), { bigint: true })) : undefined;
    const subdirectory = right !== undefined && !(right instanceof Failure) && right.isDirectory();
    if (left === undefined || right === undefined) {
      this.#countLeftOnly(left);
      this.#report.differ('names', name, onLeft ? 'present' : 'missing', onRight ? 'present' : 'missing');
      return { descend: false, subdirectory };
    }
    this.#entries++;
    if (left instanceof Failure || right instanceof Failure) {
      this.#report.unreadable('type', name, left, right);
      return { descend: false, subdirectory };
    }
    this.#compareEntry(name, left, right);
    return { descend: subdirectory && left.isDirectory(), subdirectory };
  }

  /** A directory that the right side cannot show is still a link of its parent. */
  #passOver(left: BigIntStats | Failure | undefined): Found {
    this.#skipped++;
    this.#countLeftOnly(left);
    const subdirectory = left !== undefined && !(left instanceof Failure) && left.isDirectory();
    return { descend: false, subdirectory };
  }

  /** A name that is missing on the right side still counts as a link of its inode. */
  #countLeftOnly(left: BigIntStats | Failure | undefined): void {
    if (left === undefined || left instanceof Failure) return;
    if (left.isDirectory()) this.#linksComplete = false;
    else this.#links.countUnseen(left);
  }

  #compareEntry(name: Buffer, left: BigIntStats, right: BigIntStats): void {
    compareStats(this.#report, name, left, right);
    const type = typeOf(left);
    if (type !== typeOf(right)) return;
    const seen = this.#compareInode(name, left, right);
    const leftPath = this.#left.pathOf(name);
    const rightPath = this.#right.pathOf(name);
    compareXattrs(this.#report, name, leftPath, rightPath);
    if (type === constants.S_IFLNK) {
      if (compareTargets(this.#report, name, leftPath, rightPath, this.#skipNonUtf8)) this.#skipped++;
    }
    // a further name of one file on both sides needs no second reading; another size is sufficient
    if (type === constants.S_IFREG && !seen && left.size === right.size) {
      this.#content.compare(name, leftPath, rightPath);
    }
  }

  /** Whether both sides see the same names as one file. True if this pair of inodes was met before. */
  #compareInode(name: Name, left: BigIntStats, right: BigIntStats): boolean {
    const { seen, problem } = this.#links.add(left, right, () => this.#report.pathText(name));
    if (problem !== undefined) this.#report.differ('inode', name, problem.left, problem.right);
    return seen;
  }
}
