/** Finds the names that are one inode, on both sides of a comparison. */
import type { BigIntStats } from 'node:fs';

/** A device and inode number, as a number if that is sufficient: a million of them are kept. */
type InodeKey = number | string;

interface Group {
  /** Path of the first name that both sides have, for messages. */
  path: string;
  /** Names on the left side so far. */
  names: number;
  /** The right side's inode and link count; undefined while only left names without a right one were seen. */
  right: InodeKey | undefined;
  nlink: bigint | undefined;
}

/** Texts of the two sides for one name. */
export interface InodeProblem {
  readonly left: string;
  readonly right: string;
}

export interface LinkCount {
  readonly path: string;
  readonly names: number;
  readonly nlink: bigint;
}

export class LinkComparison {
  /** The left inode that corresponds to each right inode. */
  readonly #leftOf = new Map<InodeKey, InodeKey>();
  /** The files whose link count is not 1 on both sides, by their left inode. */
  readonly #groups = new Map<InodeKey, Group>();
  #leftDevice: bigint | undefined;
  #rightDevice: bigint | undefined;

  /**
   * Counts a name that both sides have. `seen`: another name already showed that these two inodes belong
   * together. `problem`: the sides disagree on which names are one file.
   */
  add(
    left: BigIntStats,
    right: BigIntStats,
    path: () => string,
  ): { readonly seen: boolean; readonly problem?: InodeProblem } {
    this.#rightDevice ??= right.dev;
    const leftKey = this.#leftKey(left);
    const rightKey = keyOf(right, this.#rightDevice);
    const owner = this.#leftOf.get(rightKey);
    if (owner === undefined) this.#leftOf.set(rightKey, leftKey);
    const group = this.#groupOf(leftKey, left, right);
    if (group !== undefined) group.names++;
    if (group?.right === undefined) {
      if (group !== undefined) Object.assign(group, { path: path(), right: rightKey, nlink: right.nlink });
      if (owner === undefined) return { seen: false };
      return { seen: false, problem: { left: 'a file of its own', right: 'the same inode as another file' } };
    }
    if (group.right === rightKey) return { seen: true };
    return { seen: false, problem: { left: `the same inode as ${group.path}`, right: 'another inode' } };
  }

  /** Counts a name that only the left side can have. */
  countUnseen(left: BigIntStats): void {
    const group = this.#groupOf(this.#leftKey(left), left, left);
    if (group !== undefined) group.names++;
  }

  /** The files whose link count on the right side is not the number of names that the left side has. */
  *wrongCounts(): Iterable<LinkCount> {
    for (const { path, names, nlink } of this.#groups.values()) {
      if (nlink !== undefined && nlink !== BigInt(names)) yield { path, names, nlink };
    }
  }

  #leftKey(left: BigIntStats): InodeKey {
    this.#leftDevice ??= left.dev;
    return keyOf(left, this.#leftDevice);
  }

  #groupOf(key: InodeKey, left: BigIntStats, right: BigIntStats): Group | undefined {
    if (left.isDirectory() || (left.nlink === 1n && right.nlink === 1n)) return undefined;
    let group = this.#groups.get(key);
    if (group === undefined) {
      group = { path: '', names: 0, right: undefined, nlink: undefined };
      this.#groups.set(key, group);
    }
    return group;
  }
}

function keyOf(stats: BigIntStats, device: bigint): InodeKey {
  if (stats.dev === device && stats.ino <= BigInt(Number.MAX_SAFE_INTEGER)) return Number(stats.ino);
  return `${stats.dev}:${stats.ino}`;
}
