/**
 * The space of each directory of an image: contents that occur several times below a directory count once for it.
 *
 * One walk in path order. A content that occurs in two files is counted at both and taken off again at the deepest
 * directory above both: then the sum over a directory and all directories below it counts it once. In path order it is
 * sufficient to do so for each file and the one before it with the same content. All files with a content are below one
 * deepest directory; the content is unique to that and to each directory above it.
 */
import { concatBytes } from '../../base/bytes.ts';
import { S_IFMT, S_IFREG } from '../../base/stat-bits.ts';
import { direntName, direntRange, isDirectory, objectOf } from '../lookup.ts';
import { type ManifestTables, NONE, objectCount, PAYLOAD_INLINE, u64 } from '../tables.ts';
import { sameDigests } from './contents.ts';

/** Sums for each row of `directories`, with all that is below it. */
export interface DirectorySums {
  /** Names, without that of the directory itself. */
  readonly entries: Float64Array;
  /** Regular files; one with several names counts once. */
  readonly files: Float64Array;
  /** The sizes of these files. */
  readonly size: Float64Array;
  /** The sizes of their different contents. */
  readonly total: Float64Array;
  /** Of these, contents that no file elsewhere has, in this image or in one of the others. */
  readonly unique: Float64Array;
}

/**
 * For each image 1 for each object that another one of the images has, too. Images that name objects by different
 * hashes share none.
 */
export function sharedObjects(images: readonly ManifestTables[]): Uint8Array[] {
  const marks = images.map((tables) => new Uint8Array(objectCount(tables)));
  for (const [i, one] of images.entries()) {
    for (let j = i + 1; j < images.length; j++) {
      for (const [object, other] of sameDigests(one, images[j] as ManifestTables).entries()) {
        if (other === NONE) continue;
        (marks[i] as Uint8Array)[object] = 1;
        (marks[j] as Uint8Array)[other] = 1;
      }
    }
  }
  return marks;
}

/** @param shared as `sharedObjects` returns it for this image */
export function directoryUsage(tables: ManifestTables, shared: Uint8Array): DirectorySums {
  const sums = new Walk(tables, shared);
  sums.run();
  return sums;
}

/** The directory of a content, or an inode, that no file had yet. */
const NOWHERE = -1;

class Walk implements DirectorySums {
  readonly entries: Float64Array;
  readonly files: Float64Array;
  readonly size: Float64Array;
  readonly total: Float64Array;
  readonly unique: Float64Array;
  readonly #tables: ManifestTables;
  readonly #shared: Uint8Array;
  /** Of each row of `directories`: the one above it, its depth. */
  readonly #parents: Uint32Array;
  readonly #depths: Uint32Array;
  /** The rows in path order. */
  readonly #order: Uint32Array;
  /** Of each content, objects first: the directory of the last file that has it, and the deepest one above all. */
  readonly #last: Int32Array;
  readonly #above: Int32Array;
  /** Of each inode: the directory of its last name. */
  readonly #lastOfInode: Int32Array;

  constructor(tables: ManifestTables, shared: Uint8Array) {
    const directories = tables.directories.inode.length;
    const contents = objectCount(tables) + tables.inline.offset.length - 1;
    [this.entries, this.files, this.size, this.total, this.unique] = Array.from(
      { length: 5 },
      () => new Float64Array(directories),
    ) as [Float64Array, Float64Array, Float64Array, Float64Array, Float64Array];
    [this.#parents, this.#depths, this.#order] = [0, 0, 0].map(() => new Uint32Array(directories)) as [
      Uint32Array,
      Uint32Array,
      Uint32Array,
    ];
    this.#last = new Int32Array(contents).fill(NOWHERE);
    this.#above = new Int32Array(contents).fill(NOWHERE);
    this.#lastOfInode = new Int32Array(tables.inodes.mode.length).fill(NOWHERE);
    this.#tables = tables;
    this.#shared = shared;
  }

  run(): void {
    this.#visitAll();
    this.#addUnique();
    for (let i = this.#order.length - 1; i > 0; i--) {
      const directory = this.#order[i] as number;
      const parent = this.#parents[directory] as number;
      for (const sums of [this.entries, this.files, this.size, this.total, this.unique]) {
        sums[parent] = (sums[parent] as number) + (sums[directory] as number);
      }
    }
  }

  #visitAll(): void {
    const { inodes, dirents } = this.#tables;
    const [first, end] = direntRange(this.#tables, 0);
    const stack = [{ directory: 0, next: first, end }];
    let visited = 1; // the root is row 0 of `directories`
    for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
      if (top.next === top.end) {
        stack.pop();
        continue;
      }
      const row = dirents.inode[top.next++] as number;
      add(this.entries, top.directory, 1);
      if (!isDirectory(this.#tables, row)) {
        this.#visit(row, top.directory);
        continue;
      }
      const directory = inodes.payload[row] as number;
      this.#parents[directory] = top.directory;
      this.#depths[directory] = (this.#depths[top.directory] as number) + 1;
      this.#order[visited++] = directory;
      const [next, after] = direntRange(this.#tables, row);
      stack.push({ directory, next, end: after });
    }
  }

  #visit(row: number, directory: number): void {
    const { mode, size } = this.#tables.inodes;
    if (((mode[row] as number) & S_IFMT) !== S_IFREG) return;
    const bytes = u64(size, row);
    this.#spread(this.#lastOfInode, row, directory, this.files, 1);
    this.#spread(this.#lastOfInode, row, directory, this.size, bytes);
    this.#lastOfInode[row] = directory;
    const content = this.#contentOf(row);
    if (content < 0) return;
    this.#spread(this.#last, content, directory, this.total, this.#sizeOf(content));
    this.#last[content] = directory;
    const above = this.#above[content] as number;
    this.#above[content] = above < 0 ? directory : this.#meet(above, directory);
  }

  /**
   * Counts `value` at `directory`, and takes it off where it would be counted twice.
   * @param last the directory where each thing was counted last
   */
  #spread(last: Int32Array, thing: number, directory: number, sums: Float64Array, value: number): void {
    add(sums, directory, value);
    const before = last[thing] as number;
    if (before >= 0) add(sums, this.#meet(before, directory), -value);
  }

  /** The deepest directory that is, or is above, both. */
  #meet(a: number, b: number): number {
    let [one, other] = [a, b];
    while (one !== other) {
      if ((this.#depths[one] as number) >= (this.#depths[other] as number)) one = this.#parents[one] as number;
      else other = this.#parents[other] as number;
    }
    return one;
  }

  /** Objects first, then inline contents; -1 for an empty file. */
  #contentOf(row: number): number {
    const object = objectOf(this.#tables, row);
    if (object >= 0) return object;
    const payload = this.#tables.inodes.payload[row] as number;
    return payload === NONE ? -1 : objectCount(this.#tables) + payload - PAYLOAD_INLINE;
  }

  #sizeOf(content: number): number {
    const objects = objectCount(this.#tables);
    if (content < objects) return u64(this.#tables.objects.size, content);
    const { offset } = this.#tables.inline;
    return (offset[content - objects + 1] as number) - (offset[content - objects] as number);
  }

  #addUnique(): void {
    for (const [content, above] of this.#above.entries()) {
      // the image itself has inline contents: no other one does
      if (above >= 0 && this.#shared[content] !== 1) add(this.unique, above, this.#sizeOf(content));
    }
  }
}

function add(sums: Float64Array, directory: number, value: number): void {
  sums[directory] = (sums[directory] as number) + value;
}

/** A directory with its sums. */
export interface DirectoryUsage {
  /** Row of the inode. */
  readonly row: number;
  /** Absolute. */
  readonly path: Uint8Array;
  /** Below the start, whose depth is 0. */
  readonly depth: number;
  readonly entries: number;
  readonly files: number;
  readonly size: number;
  readonly total: number;
  readonly unique: number;
}

/**
 * A directory and those below it: each before those in it, and in each the one with the largest total first.
 * @param start row of its inode
 * @param path absolute
 * @param most the depth below which none are listed
 */
export function* listUsage(
  tables: ManifestTables,
  sums: DirectorySums,
  start: number,
  path: Uint8Array,
  most: number,
): Generator<DirectoryUsage, void, undefined> {
  const stack = [{ row: start, path, depth: 0 }];
  for (let top = stack.pop(); top !== undefined; top = stack.pop()) {
    const directory = tables.inodes.payload[top.row] as number;
    const sum = (of: Float64Array): number => of[directory] as number;
    yield {
      ...top,
      entries: sum(sums.entries),
      files: sum(sums.files),
      size: sum(sums.size),
      total: sum(sums.total),
      unique: sum(sums.unique),
    };
    if (top.depth === most) continue;
    const { depth } = top;
    const above = top.path.length === 1 ? new Uint8Array() : top.path;
    const below = directoriesIn(tables, top.row);
    const totalOf = ({ row }: { row: number }): number => sums.total[tables.inodes.payload[row] as number] as number;
    // the last one is taken off first
    below.reverse().sort((a, b) => totalOf(a) - totalOf(b));
    for (const { row, name } of below) stack.push({ row, path: concatBytes(above, SLASH, name), depth: depth + 1 });
  }
}

const SLASH = Uint8Array.of(0x2f);

function directoriesIn(tables: ManifestTables, row: number): { row: number; name: Uint8Array }[] {
  const found: { row: number; name: Uint8Array }[] = [];
  const [first, end] = direntRange(tables, row);
  for (let dirent = first; dirent < end; dirent++) {
    const inode = tables.dirents.inode[dirent] as number;
    if (isDirectory(tables, inode)) found.push({ row: inode, name: direntName(tables, dirent) });
  }
  return found;
}
