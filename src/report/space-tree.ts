/** The bytes of an image's contents by directory, as a tree of a limited number of nodes. No I/O. */
import { direntName, direntRange, isDirectory, objectOf } from '../manifest/lookup.ts';
import { inodeCount, type ManifestTables, objectCount, u64 } from '../manifest/tables.ts';

/** A directory, a file, or several small entries of a directory. */
export interface SpaceNode {
  /** As bytes; empty for the root and for several entries. */
  readonly name: Uint8Array;
  /** The number of entries that it stands for: 1, or of several small ones together. */
  readonly entries: number;
  /** Sizes of the contents in it. A content counts once, at its first name. */
  readonly bytes: number;
  /** Of these, contents that no other image needs. */
  readonly unique: number;
  /** Of a directory that is shown with its contents: the largest first, then the small ones together. */
  readonly children?: readonly SpaceNode[];
}

/** Entries of one directory that are shown by themselves. */
const WIDEST = 40;

/**
 * The largest directories are opened first, until the tree has `limit` nodes. Contents that the image itself holds
 * count as nothing.
 * @param isUnique whether an object is needed by no other image, by its row
 */
export function spaceTree(tables: ManifestTables, isUnique: Uint8Array, limit: number): SpaceNode {
  return new Tree(tables, isUnique).prune(limit);
}

interface Open {
  readonly name: Uint8Array;
  readonly entries: number;
  readonly bytes: number;
  readonly unique: number;
  /** The inode row of a directory; -1 for other nodes. */
  readonly row: number;
  children?: Open[];
}

/** Unique bytes count more: people look for them. */
const weight = ({ bytes, unique }: Pick<Open, 'bytes' | 'unique'>): number => bytes + 4 * unique;

class Tree {
  readonly #tables: ManifestTables;
  /** By rows of `dirents`: the sizes of what is below. */
  readonly #bytes: Float64Array;
  readonly #unique: Float64Array;
  readonly #rootBytes: number;
  readonly #rootUnique: number;

  constructor(tables: ManifestTables, isUnique: Uint8Array) {
    this.#tables = tables;
    this.#bytes = new Float64Array(tables.dirents.inode.length);
    this.#unique = new Float64Array(tables.dirents.inode.length);
    const seenRows = new Uint8Array(inodeCount(tables));
    const seenObjects = new Uint8Array(objectCount(tables));
    const sums = { bytes: 0, unique: 0 };
    // depth first, so that a directory's sums are complete when its last entry has been counted
    const [first, end] = direntRange(tables, 0);
    const stack = [{ next: first, end, dirent: -1, bytes: 0, unique: 0 }];
    for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
      if (top.next === top.end) {
        stack.pop();
        const above = stack.at(-1) ?? sums;
        if (top.dirent >= 0) {
          this.#bytes[top.dirent] = top.bytes;
          this.#unique[top.dirent] = top.unique;
        }
        above.bytes += top.bytes;
        above.unique += top.unique;
        continue;
      }
      const dirent = top.next++;
      const row = tables.dirents.inode[dirent] as number;
      if (isDirectory(tables, row)) {
        const [next, last] = direntRange(tables, row);
        stack.push({ next, end: last, dirent, bytes: 0, unique: 0 });
        continue;
      }
      if (seenRows[row] === 1) continue;
      seenRows[row] = 1;
      const object = objectOf(tables, row);
      if (object < 0 || seenObjects[object] === 1) continue;
      seenObjects[object] = 1;
      const size = u64(tables.objects.size, object);
      this.#bytes[dirent] = size;
      top.bytes += size;
      if (isUnique[object] === 1) {
        this.#unique[dirent] = size;
        top.unique += size;
      }
    }
    this.#rootBytes = sums.bytes;
    this.#rootUnique = sums.unique;
  }

  prune(limit: number): SpaceNode {
    const root: Open = {
      name: new Uint8Array(0),
      entries: 1,
      bytes: this.#rootBytes,
      unique: this.#rootUnique,
      row: 0,
    };
    const closed = [root];
    for (let left = limit - 1; left > 1 && closed.length > 0; ) {
      const heaviest = closed.reduce((best, one, i) => (weight(one) > weight(closed[best] as Open) ? i : best), 0);
      const [directory] = closed.splice(heaviest, 1) as [Open];
      const children = this.#childrenOf(directory.row, Math.min(WIDEST, left));
      left -= children.length;
      directory.children = children;
      for (const child of children) if (child.row >= 0 && child.bytes > 0) closed.push(child);
    }
    return published(root);
  }

  /** At most `limit`: the largest ones, and one for all others. */
  #childrenOf(row: number, limit: number): Open[] {
    const { dirents } = this.#tables;
    const [from, to] = direntRange(this.#tables, row);
    const all: number[] = [];
    for (let dirent = from; dirent < to; dirent++) all.push(dirent);
    const sizes = (dirent: number): Pick<Open, 'bytes' | 'unique'> => ({
      bytes: this.#bytes[dirent] as number,
      unique: this.#unique[dirent] as number,
    });
    all.sort((a, b) => weight(sizes(b)) - weight(sizes(a)) || a - b);
    const isAll = all.length <= limit;
    const shown = isAll ? all : all.slice(0, limit - 1);
    const nodes = shown.map((dirent): Open => {
      const inode = dirents.inode[dirent] as number;
      const directory = isDirectory(this.#tables, inode) ? inode : -1;
      return { name: direntName(this.#tables, dirent), entries: 1, ...sizes(dirent), row: directory };
    });
    if (isAll) return nodes;
    const rest = { bytes: 0, unique: 0 };
    for (const dirent of all.slice(shown.length)) {
      rest.bytes += this.#bytes[dirent] as number;
      rest.unique += this.#unique[dirent] as number;
    }
    return [...nodes, { name: new Uint8Array(0), entries: all.length - shown.length, ...rest, row: -1 }];
  }
}

const published = ({ name, entries, bytes, unique, children }: Open): SpaceNode => ({
  name,
  entries,
  bytes,
  unique,
  ...(children && { children: children.map(published) }),
});
