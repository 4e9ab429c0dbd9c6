/** Finding rows in validated tables: by stable id, by name, by path. */
import { compareBytes, toHex } from '../base/bytes.ts';
import { blockCount, DIGEST_SIZE } from '../base/digest.ts';
import { S_IFDIR, S_IFMT, S_IFREG } from '../base/stat-bits.ts';
import { type ManifestTables, NONE, objectCount, PAYLOAD_INLINE, u64 } from './tables.ts';

/**
 * The inode row of stable id `id`, or -1. Ids are hashes, so interpolation needs three or four probes in a million
 * rows.
 */
export function rowOfId(tables: ManifestTables, id: number): number {
  const ids = tables.inodes.id;
  let low = 0;
  let high = ids.length / 2 - 1;
  for (let step = 0; low <= high; step++) {
    let middle = (low + high) >>> 1;
    if (step < 8 && high - low > 8) {
      const from = u64(ids, low);
      const to = u64(ids, high);
      if (id < from || id > to) return -1;
      middle = low + Math.floor(((id - from) / (to - from)) * (high - low));
    }
    const at = u64(ids, middle);
    if (at === id) return middle;
    if (at < id) low = middle + 1;
    else high = middle - 1;
  }
  return -1;
}

export function isDirectory(tables: ManifestTables, row: number): boolean {
  return ((tables.inodes.mode[row] as number) & S_IFMT) === S_IFDIR;
}

/** The bytes of dirent `dirent`'s name; a view, not a copy. */
export function direntName(tables: ManifestTables, dirent: number): Uint8Array {
  const { names, nameOffset } = tables.dirents;
  return names.subarray(nameOffset[dirent] as number, nameOffset[dirent + 1] as number);
}

/** The dirents of the directory inode `row`: from the first row up to but excluding the second. */
export function direntRange(tables: ManifestTables, row: number): readonly [number, number] {
  const directory = tables.inodes.payload[row] as number;
  return [tables.directories.first[directory] as number, tables.directories.first[directory + 1] as number];
}

/** The inode row that `name` has in the directory inode `row`, or -1. */
export function lookupName(tables: ManifestTables, row: number, name: Uint8Array): number {
  const dirent = lookupDirent(tables, row, name);
  return dirent < 0 ? -1 : (tables.dirents.inode[dirent] as number);
}

/** The dirent of `name` in the directory inode `row`, or -1. */
export function lookupDirent(tables: ManifestTables, row: number, name: Uint8Array): number {
  const { names, nameOffset } = tables.dirents;
  const { first } = tables.directories;
  const directory = tables.inodes.payload[row] as number;
  let low = first[directory] as number;
  let high = (first[directory + 1] as number) - 1;
  while (low <= high) {
    const middle = (low + high) >>> 1;
    const from = nameOffset[middle] as number;
    const length = (nameOffset[middle + 1] as number) - from;
    const shared = Math.min(length, name.length);
    let order = 0;
    for (let i = 0; i < shared && order === 0; i++) order = (names[from + i] as number) - (name[i] as number);
    if (order === 0) order = length - name.length;
    if (order === 0) return middle;
    if (order < 0) low = middle + 1;
    else high = middle - 1;
  }
  return -1;
}

/** The row of the parent directory of directory inode `row`; the root's is the root. */
export function parentOfDirectory(tables: ManifestTables, row: number): number {
  return tables.directories.parent[tables.inodes.payload[row] as number] as number;
}

/**
 * The inode row of an absolute or relative path, `/`-separated, without following symbolic links; -1 if there is none.
 */
export function lookupPath(tables: ManifestTables, path: Uint8Array): number {
  let row = 0;
  for (let from = 0; from < path.length; ) {
    const slash = path.indexOf(0x2f, from);
    const to = slash < 0 ? path.length : slash;
    // a path component before a slash must be a directory
    if (from > 0 && !isDirectory(tables, row)) return -1;
    if (to > from) row = lookupName(tables, row, path.subarray(from, to));
    if (row < 0) return -1;
    if (slash === path.length - 1 && !isDirectory(tables, row)) return -1;
    from = to + 1;
  }
  return row;
}

/** The directory inode row that contains dirent `dirent`: a binary search over the directories. */
export function directoryOfDirent(tables: ManifestTables, dirent: number): number {
  const { first } = tables.directories;
  let low = 0;
  let high = first.length - 2;
  while (low < high) {
    const middle = (low + high + 1) >>> 1;
    if ((first[middle] as number) <= dirent) low = middle;
    else high = middle - 1;
  }
  // empty directories share their bound with the next one: the last one that starts at or before `dirent` contains it
  return tables.directories.inode[low] as number;
}

/**
 * The absolute path of inode `row` by its first link in path order; "/" for the root. A scan of the dirents: for
 * messages, not for serving.
 */
export function pathOfRow(tables: ManifestTables, row: number): Uint8Array {
  const parts: Uint8Array[] = [];
  for (let at = row; at !== 0; ) {
    const [parent, name] = isDirectory(tables, at) ? linkOfDirectory(tables, at) : firstLink(tables, at);
    parts.unshift(Uint8Array.of(0x2f), name);
    at = parent;
  }
  return parts.length === 0 ? Uint8Array.of(0x2f) : Buffer.concat(parts);
}

function linkOfDirectory(tables: ManifestTables, row: number): [number, Uint8Array] {
  const parent = parentOfDirectory(tables, row);
  const [from, to] = direntRange(tables, parent);
  const dirent = tables.dirents.inode.subarray(from, to).indexOf(row) + from;
  return [parent, direntName(tables, dirent)];
}

function firstLink(tables: ManifestTables, row: number): [number, Uint8Array] {
  const { inode } = tables.dirents;
  let best: [number, Uint8Array, Uint8Array] | undefined;
  let found = 0;
  for (let d = inode.indexOf(row); d >= 0; d = inode.indexOf(row, d + 1)) {
    const parent = directoryOfDirent(tables, d);
    const name = direntName(tables, d);
    if ((tables.inodes.nlink[row] as number) === 1) return [parent, name];
    // path order compares names, not the slash: it is replaced by NUL, which sorts before every name's bytes
    const above = parent === 0 ? new Uint8Array(0) : pathOfRow(tables, parent);
    const key = Buffer.concat([above, Uint8Array.of(0x2f), name]).map((b) => (b === 0x2f ? 0 : b));
    if (best === undefined || compareBytes(key, best[2]) < 0) best = [parent, name, key];
    if (++found === tables.inodes.nlink[row]) break;
  }
  if (best === undefined) throw new Error(`inode row ${row} has no link`);
  return [best[0], best[1]];
}

/** A link of the tree, passed to the visitor of `walkTree`. */
export interface TreeLink {
  readonly row: number;
  /** Absolute; "/" for the root. Valid only during the visit. */
  readonly path: Uint8Array;
  /** True at the first link of the inode in path order. */
  readonly first: boolean;
}

/** Visits every link in path order, the root first. */
export function walkTree(tables: ManifestTables, visit: (link: TreeLink) => void, from = 0, prefix?: Uint8Array): void {
  const seen = new Uint8Array(tables.inodes.mode.length);
  let length = prefix === undefined || prefix.length === 1 ? 0 : prefix.length;
  let path = Buffer.alloc(Math.max(4096, length));
  if (prefix !== undefined) path.set(prefix.subarray(0, length));
  const slash = Uint8Array.of(0x2f);
  visit({ row: from, path: length === 0 ? slash : path.subarray(0, length), first: true });
  if (!isDirectory(tables, from)) return;
  const stack: { next: number; end: number; length: number }[] = [];
  const enter = (row: number): void => {
    const [next, end] = direntRange(tables, row);
    stack.push({ next, end, length });
  };
  enter(from);
  for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
    if (top.next === top.end) {
      stack.pop();
      continue;
    }
    const dirent = top.next++;
    const name = direntName(tables, dirent);
    length = top.length + 1 + name.length;
    if (length > path.length) path = Buffer.concat([path, Buffer.alloc(length)]);
    path[top.length] = 0x2f;
    path.set(name, top.length + 1);
    const row = tables.dirents.inode[dirent] as number;
    visit({ row, path: path.subarray(0, length), first: seen[row] === 0 });
    seen[row] = 1;
    if (isDirectory(tables, row)) enter(row);
  }
}

/** The 32-byte digest of object `object`; a view, not a copy. */
export function objectDigest(tables: ManifestTables, object: number): Uint8Array {
  return tables.objects.digest.subarray(object * DIGEST_SIZE, (object + 1) * DIGEST_SIZE);
}

/** The digest in 64 hexadecimal digits. */
export const objectHex = (tables: ManifestTables, object: number): string => toHex(objectDigest(tables, object));

/** The data that a store needs to find object `index`. */
export function objectName(tables: ManifestTables, index: number): { index: number; digest: Uint8Array; size: number } {
  return { index, digest: objectDigest(tables, index), size: u64(tables.objects.size, index) };
}

/** For each object the index of its first block hash, and the total at the end. */
export function blockHashIndex(tables: ManifestTables): Float64Array {
  const n = objectCount(tables);
  const index = new Float64Array(n + 1);
  for (let i = 0; i < n; i++) {
    index[i + 1] = (index[i] as number) + blockCount(tables.header.hash, u64(tables.objects.size, i));
  }
  return index;
}

/** The target of the symbolic link `row`; a view, not a copy. */
export function linkTarget(tables: ManifestTables, row: number): Uint8Array {
  const target = tables.inodes.payload[row] as number;
  return tables.targets.bytes.subarray(
    tables.targets.offset[target] as number,
    tables.targets.offset[target + 1] as number,
  );
}

/** The object with the content of inode `row`; -1 if it is not a regular file, or the image itself has its content. */
export function objectOf(tables: ManifestTables, row: number): number {
  const payload = tables.inodes.payload[row] as number;
  const isRegular = ((tables.inodes.mode[row] as number) & S_IFMT) === S_IFREG;
  return isRegular && payload < PAYLOAD_INLINE ? payload : -1;
}

/**
 * The content of inode `row` if the image itself has it, which includes empty content: a view, not a copy. Undefined if
 * an object has the content, or the inode is not a regular file.
 */
export function inlineOf(tables: ManifestTables, row: number): Uint8Array | undefined {
  const payload = tables.inodes.payload[row] as number;
  if (((tables.inodes.mode[row] as number) & S_IFMT) !== S_IFREG || payload < PAYLOAD_INLINE) return undefined;
  return payload === NONE ? EMPTY : inlineContent(tables, payload - PAYLOAD_INLINE);
}
const EMPTY = new Uint8Array();

/** The inline content number `index`; a view, not a copy. */
export function inlineContent(tables: ManifestTables, index: number): Uint8Array {
  return tables.inline.bytes.subarray(tables.inline.offset[index] as number, tables.inline.offset[index + 1] as number);
}

/** The extended attributes of inode `row`, sorted by name; views, not copies. */
export function xattrsOf(tables: ManifestTables, row: number): (readonly [name: Uint8Array, value: Uint8Array])[] {
  const set = tables.inodes.xattrs[row] as number;
  if (set === NONE) return [];
  const { first, nameOffset, names, valueOffset, values } = tables.xattrs;
  const out: (readonly [Uint8Array, Uint8Array])[] = [];
  for (let i = first[set] as number; i < (first[set + 1] as number); i++) {
    out.push([
      names.subarray(nameOffset[i] as number, nameOffset[i + 1] as number),
      values.subarray(valueOffset[i] as number, valueOffset[i + 1] as number),
    ]);
  }
  return out;
}

/** Bytes of each object. */
export const objectSizes = (tables: ManifestTables): Float64Array =>
  Float64Array.from({ length: objectCount(tables) }, (_, i) => u64(tables.objects.size, i));
