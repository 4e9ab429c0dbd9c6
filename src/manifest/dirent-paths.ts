/** Paths of many dirents; each directory is searched at most once. For one path there is `pathOfRow`. */
import { directoryOfDirent, isDirectory } from './lookup.ts';
import { type ManifestTables, NONE } from './tables.ts';

const SLASH = 0x2f;

export class DirentPaths {
  readonly #tables: ManifestTables;
  /** The dirents of rows of `directories` that were searched, else NONE. */
  readonly #direntOf: Uint32Array;
  /** The directory of the last path: the first and last + 1 of its dirents, and its path with a slash at the end. */
  #from = 0;
  #to = 0;
  #prefix: Uint8Array = new Uint8Array(0);

  constructor(tables: ManifestTables) {
    this.#tables = tables;
    this.#direntOf = new Uint32Array(tables.directories.inode.length).fill(NONE);
  }

  /** The absolute path of a dirent. Faster if the previous one was in the same directory. */
  pathOf(dirent: number): Uint8Array {
    if (dirent < this.#from || dirent >= this.#to) this.#enter(dirent);
    const { names, nameOffset } = this.#tables.dirents;
    const from = nameOffset[dirent] as number;
    const to = nameOffset[dirent + 1] as number;
    const path = new Uint8Array(this.#prefix.length + to - from);
    path.set(this.#prefix);
    path.set(names.subarray(from, to), this.#prefix.length);
    return path;
  }

  #enter(dirent: number): void {
    const { inodes, directories, dirents } = this.#tables;
    const directory = inodes.payload[directoryOfDirent(this.#tables, dirent)] as number;
    this.#from = directories.first[directory] as number;
    this.#to = directories.first[directory + 1] as number;
    // from the inside out: first the length of the path, then its bytes
    const above: number[] = [];
    let length = 1;
    for (let at = directory; at !== 0; at = inodes.payload[directories.parent[at] as number] as number) {
      const name = this.#direntOfDirectory(at);
      above.push(name);
      length += (dirents.nameOffset[name + 1] as number) - (dirents.nameOffset[name] as number) + 1;
    }
    this.#prefix = new Uint8Array(length);
    let end = length;
    this.#prefix[--end] = SLASH;
    for (const name of above) {
      const from = dirents.nameOffset[name] as number;
      const to = dirents.nameOffset[name + 1] as number;
      end -= to - from;
      this.#prefix.set(dirents.names.subarray(from, to), end);
      this.#prefix[--end] = SLASH;
    }
  }

  /** @param directory a row of `directories`, not the root's */
  #direntOfDirectory(directory: number): number {
    if (this.#direntOf[directory] === NONE) {
      // for all sibling directories, too: each may be requested
      const { inodes, directories, dirents } = this.#tables;
      const parent = inodes.payload[directories.parent[directory] as number] as number;
      for (let d = directories.first[parent] as number; d < (directories.first[parent + 1] as number); d++) {
        const row = dirents.inode[d] as number;
        if (isDirectory(this.#tables, row)) this.#direntOf[inodes.payload[row] as number] = d;
      }
    }
    return this.#direntOf[directory] as number;
  }
}
