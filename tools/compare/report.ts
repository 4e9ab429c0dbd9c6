/** The result of a comparison: the differences with their paths, the first hundred of them in full. */
import { printable } from '../../src/base/bytes.ts';
import { type Errno, errnoName, errnoOf } from '../../src/base/errno.ts';

/**
 * The compared aspects of each name. `names` is the set of names in a directory, `inode` the names that are one file.
 */
export const COMPARED_FIELDS = [
  'names',
  'type',
  'mode',
  'uid',
  'gid',
  'nlink',
  'inode',
  'size',
  'mtime',
  'mtimeNsec',
  'rdev',
  'target',
  'xattrs',
  'content',
] as const;

export type ComparedField = (typeof COMPARED_FIELDS)[number];

export interface Difference {
  /** Absolute within the tree, printable: "/" for the root, `\xHH` for bytes that are not text. */
  readonly path: string;
  readonly field: ComparedField;
  readonly left: string;
  readonly right: string;
}

/** A system error in place of a value. */
export class Failure {
  readonly text: string;

  constructor(errno: Errno) {
    this.text = errnoName(errno);
  }
}

/** The result of `action`, or the system error that it threw. */
export function attempt<T>(action: () => T): T | Failure {
  try {
    return action();
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === undefined) throw error;
    return new Failure(errno);
  }
}

/** A name in the current directory; undefined for the directory itself. */
export type Name = Uint8Array | undefined;

const KEPT_DIFFERENCES = 100;

export class Report {
  readonly differences: Difference[] = [];
  /** Names from the root to the current directory. */
  readonly path: Uint8Array[] = [];
  readonly #ignore: ReadonlySet<ComparedField>;
  #count = 0;

  constructor(ignore: ReadonlySet<ComparedField>) {
    this.#ignore = ignore;
  }

  /** All differences, kept or not. */
  get count(): number {
    return this.#count;
  }

  ignores(field: ComparedField): boolean {
    return this.#ignore.has(field);
  }

  /** The path of `name` in the current directory, or of the directory itself. */
  pathText(name: Name): string {
    const parts = name === undefined ? this.path : [...this.path, name];
    return `/${parts.map(printable).join('/')}`;
  }

  /** A difference, if the texts differ. */
  compare(field: ComparedField, name: Name, left: string, right: string): void {
    if (left !== right) this.differ(field, name, left, right);
  }

  differ(field: ComparedField, name: Name, left: string, right: string): void {
    // the path of an entry that is only counted may be long, and is not needed
    this.keep({ path: this.#count < KEPT_DIFFERENCES ? this.pathText(name) : '', field, left, right });
  }

  /** A read error on one side or both: the sides were not compared. */
  unreadable(field: ComparedField, name: Name, left: unknown, right: unknown): void {
    const text = (side: unknown): string => (side instanceof Failure ? side.text : 'readable');
    this.differ(field, name, text(left), text(right));
  }

  keep(difference: Difference): void {
    if (this.ignores(difference.field)) return;
    if (this.#count++ < KEPT_DIFFERENCES) this.differences.push(difference);
  }
}
