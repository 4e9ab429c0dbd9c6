/** What is extracted: directories, the entries in them, and further names of files. Plain data for several threads. */

import { GrowableU32 } from '../manifest/growable.ts';
import { direntName, direntRange, isDirectory, lookupDirent } from '../manifest/lookup.ts';
import { type ManifestTables, NONE } from '../manifest/tables.ts';

/** Directories have numbers: 0 is the root, and parents come before what is in them. */
export interface ExtractPlan {
  /** The dirent of each directory; NONE for the root. */
  readonly dirent: Uint32Array;
  /** The number of its parent; 0 for the root. */
  readonly parent: Uint32Array;
  /** Its inode row. */
  readonly row: Uint32Array;
  /** 1 if it was selected itself, 0 if it only leads to a selected path. */
  readonly selected: Uint8Array;
  /** The entries of directory d are `entries` from `first[d]` to `first[d + 1]`. */
  readonly first: Uint32Array;
  /** Dirents of all other files, one of each inode. */
  readonly entries: Uint32Array;
  /** Four numbers for each further name of a file: its directory and dirent, and those of the name in `entries`. */
  readonly links: Uint32Array;
}

/** The parts of a directory that were selected. */
interface Part {
  all: boolean;
  readonly dirents: Set<number>;
}

const SLASH = 0x2f;

/**
 * @param paths absolute paths in the image that exist, without symbolic links in them; a directory means all that is in
 *   it. "/" is the whole image
 */
export function planOf(tables: ManifestTables, paths: readonly Uint8Array[]): ExtractPlan {
  const parts = partsOf(tables, paths);
  const columns = {
    dirent: new GrowableU32(),
    parent: new GrowableU32(),
    row: new GrowableU32(),
    first: new GrowableU32(),
    entries: new GrowableU32(),
    links: new GrowableU32(),
  };
  const selected: number[] = [];
  /** Of inodes with several names: the directory and the dirent of the first one. */
  const firstNames = new Map<number, readonly [number, number]>();
  const stack = [{ row: 0, dirent: NONE, parent: 0, all: false }];
  for (let next = stack.pop(); next !== undefined; next = stack.pop()) {
    const part = parts.get(next.row);
    const all = next.all || part?.all === true;
    const number = columns.row.length;
    columns.row.push(next.row);
    columns.dirent.push(next.dirent);
    columns.parent.push(next.parent);
    columns.first.push(columns.entries.length);
    selected.push(all ? 1 : 0);
    const below: typeof stack = [];
    for (const dirent of direntsOf(tables, next.row, all, part)) {
      const row = tables.dirents.inode[dirent] as number;
      if (isDirectory(tables, row)) {
        below.push({ row, dirent, parent: number, all });
        continue;
      }
      const named = firstNames.get(row);
      if (named !== undefined) for (const n of [number, dirent, ...named]) columns.links.push(n);
      else columns.entries.push(dirent);
      if (named === undefined && (tables.inodes.nlink[row] as number) > 1) firstNames.set(row, [number, dirent]);
    }
    stack.push(...below.reverse());
  }
  columns.first.push(columns.entries.length);
  const { dirent, parent, row, first, entries, links } = columns;
  return {
    dirent: shared(dirent),
    parent: shared(parent),
    row: shared(row),
    selected: sharedBytes(selected),
    first: shared(first),
    entries: shared(entries),
    links: shared(links),
  };
}

/** The bytes of an entry's path below the root, without a slash before it. */
export function pathInPlan(tables: ManifestTables, plan: ExtractPlan, directory: number, dirent?: number): Buffer {
  const names: Uint8Array[] = dirent === undefined ? [] : [direntName(tables, dirent)];
  for (let at = directory; at !== 0; at = plan.parent[at] as number) {
    names.push(direntName(tables, plan.dirent[at] as number));
  }
  return Buffer.concat(names.reverse().flatMap((name, i) => (i === 0 ? [name] : [Uint8Array.of(SLASH), name])));
}

/** By inode row of the directory. */
function partsOf(tables: ManifestTables, paths: readonly Uint8Array[]): Map<number, Part> {
  const parts = new Map<number, Part>();
  const partOf = (row: number): Part => {
    const part = parts.get(row) ?? { all: false, dirents: new Set<number>() };
    parts.set(row, part);
    return part;
  };
  for (const path of paths) {
    let row = 0;
    for (let from = 1; from < path.length; ) {
      const slash = path.indexOf(SLASH, from);
      const to = slash < 0 ? path.length : slash;
      const dirent = lookupDirent(tables, row, path.subarray(from, to));
      partOf(row).dirents.add(dirent);
      row = tables.dirents.inode[dirent] as number;
      from = to + 1;
    }
    if (isDirectory(tables, row)) partOf(row).all = true;
  }
  return parts;
}

/** In the order of their names. */
function* direntsOf(tables: ManifestTables, row: number, all: boolean, part: Part | undefined): Generator<number> {
  if (!all) {
    yield* [...(part?.dirents ?? [])].sort((a, b) => a - b);
    return;
  }
  const [from, to] = direntRange(tables, row);
  for (let dirent = from; dirent < to; dirent++) yield dirent;
}

function shared(column: GrowableU32): Uint32Array {
  const from = column.view();
  const to = new Uint32Array(new SharedArrayBuffer(from.byteLength));
  to.set(from);
  return to;
}

function sharedBytes(values: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(new SharedArrayBuffer(values.length));
  bytes.set(values);
  return bytes;
}
