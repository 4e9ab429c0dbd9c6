/** Hard links, on both sides of a comparison. */
import { type ManifestTables, NONE } from '../tables.ts';

/**
 * Which names are one inode in both trees. A name keeps its links where all names of its old inode are names of one new
 * inode, and that has no others.
 */
export class LinkGroups {
  readonly #oldLinks: Uint32Array;
  readonly #newLinks: Uint32Array;
  /** For each old inode: one more than the new inode that its names are seen with; 0 so far none, NONE several. */
  readonly #partner: Uint32Array;
  /** Names that were seen with that. */
  readonly #names: Uint32Array;

  constructor(old: ManifestTables, now: ManifestTables) {
    this.#oldLinks = old.inodes.nlink;
    this.#newLinks = now.inodes.nlink;
    this.#partner = new Uint32Array(this.#oldLinks.length);
    this.#names = new Uint32Array(this.#oldLinks.length);
  }

  /** True where both inodes have one name; of directories none is, they have two links at least. */
  areSingle(oldRow: number, newRow: number): boolean {
    return this.#oldLinks[oldRow] === 1 && this.#newLinks[newRow] === 1;
  }

  /** One name is `oldRow` in the old tree, and `newRow` in the new one. */
  add(oldRow: number, newRow: number): void {
    const partner = this.#partner[oldRow];
    this.#partner[oldRow] = partner === 0 || partner === newRow + 1 ? newRow + 1 : NONE;
    this.#names[oldRow] = (this.#names[oldRow] as number) + 1;
  }

  /** After all names were added: true where the two inodes have the same ones. */
  same(oldRow: number, newRow: number): boolean {
    const links = this.#oldLinks[oldRow];
    if (links !== this.#newLinks[newRow]) return false;
    return links === 1 || (this.#partner[oldRow] === newRow + 1 && this.#names[oldRow] === links);
  }
}
