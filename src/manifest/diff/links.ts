/** Hard links, on both sides of a comparison. */
import { type ManifestTables, NONE } from '../tables.ts';

/**
 * Finds the names that are one inode in both trees. A name keeps its links if all names of its old inode are names of
 * one new inode, and that has no others.
 */
export class LinkGroups {
  readonly #oldLinks: Uint32Array;
  readonly #newLinks: Uint32Array;
  /**
   * For each old inode: one more than the new inode that all its names so far belong to; 0 if none was seen, NONE if
   * several.
   */
  readonly #partner: Uint32Array;
  /** The number of these names. */
  readonly #names: Uint32Array;

  constructor(old: ManifestTables, now: ManifestTables) {
    this.#oldLinks = old.inodes.nlink;
    this.#newLinks = now.inodes.nlink;
    this.#partner = new Uint32Array(this.#oldLinks.length);
    this.#names = new Uint32Array(this.#oldLinks.length);
  }

  /** True if both inodes have one name; never for directories, which have at least two links. */
  areSingle(oldRow: number, newRow: number): boolean {
    return this.#oldLinks[oldRow] === 1 && this.#newLinks[newRow] === 1;
  }

  /** One name is `oldRow` in the old tree, and `newRow` in the new one. */
  add(oldRow: number, newRow: number): void {
    const partner = this.#partner[oldRow];
    this.#partner[oldRow] = partner === 0 || partner === newRow + 1 ? newRow + 1 : NONE;
    this.#names[oldRow] = (this.#names[oldRow] as number) + 1;
  }

  /** To be called after all names were added: true if the two inodes have the same names. */
  same(oldRow: number, newRow: number): boolean {
    const links = this.#oldLinks[oldRow];
    if (links !== this.#newLinks[newRow]) return false;
    return links === 1 || (this.#partner[oldRow] === newRow + 1 && this.#names[oldRow] === links);
  }
}
