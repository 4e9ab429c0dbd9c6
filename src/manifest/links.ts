/** The names of a manifest that is built. */
import { printable } from '../base/bytes.ts';
import { GrowableBytes, GrowableU32 } from './growable.ts';

export interface SortedLinks {
  /** The index in `sorted` of the first link of each inode of the builder; one more at the end. */
  readonly first: Uint32Array;
  readonly sorted: Uint32Array;
}

/** Names with the directories that they are in and the inodes that they are of, as columns. */
export class Links {
  readonly #parent = new GrowableU32();
  readonly #inode = new GrowableU32();
  readonly #nameOffset = new GrowableU32();
  readonly #names = new GrowableBytes();

  /** Links are numbered in the order of the calls. */
  add(parent: number, name: Uint8Array, inode: number): void {
    this.#parent.push(parent);
    this.#inode.push(inode);
    this.#nameOffset.push(this.#names.length);
    this.#names.append(name);
  }

  /** The directory of each link. */
  get parents(): Uint32Array {
    return this.#parent.view();
  }

  /** The inode of each link. */
  get inodes(): Uint32Array {
    return this.#inode.view();
  }

  nameOf(link: number): Uint8Array {
    const from = this.#nameOffset.get(link);
    const to = link + 1 < this.#nameOffset.length ? this.#nameOffset.get(link + 1) : this.#names.length;
    return this.#names.view().subarray(from, to);
  }

  /** Links grouped by directory and sorted by name within one. @param inodes the number of inodes */
  sort(inodes: number): SortedLinks {
    const parents = this.parents;
    const first = new Uint32Array(inodes + 1);
    for (const parent of parents) first[parent + 1] = (first[parent + 1] as number) + 1;
    for (let i = 0; i < inodes; i++) first[i + 1] = (first[i + 1] as number) + (first[i] as number);
    const next = first.slice();
    const sorted = new Uint32Array(parents.length);
    parents.forEach((parent, link) => {
      const at = next[parent] as number;
      sorted[at] = link;
      next[parent] = at + 1;
    });
    const names = this.#names.view();
    const offsets = this.#nameOffset.view();
    const end = (link: number): number => (link + 1 < offsets.length ? (offsets[link + 1] as number) : names.length);
    const compare = (a: number, b: number): number => {
      let i = offsets[a] as number;
      let j = offsets[b] as number;
      const iEnd = end(a);
      const jEnd = end(b);
      for (; i < iEnd && j < jEnd; i++, j++) {
        const d = (names[i] as number) - (names[j] as number);
        if (d !== 0) return d;
      }
      return iEnd - i - (jEnd - j);
    };
    for (let i = 0; i < inodes; i++) {
      const from = first[i] as number;
      const to = first[i + 1] as number;
      if (to - from < 2) continue;
      sorted.subarray(from, to).sort(compare);
      for (let k = from + 1; k < to; k++) {
        if (compare(sorted[k - 1] as number, sorted[k] as number) === 0) {
          throw new Error(`two links of one directory are named "${printable(this.nameOf(sorted[k] as number))}"`);
        }
      }
    }
    return { first, sorted };
  }
}
