/**
 * The tables of a manifest, version 1, as columns in memory. docs/manifest.md specifies the file format.
 *
 * A 64-bit column is a `Uint32Array` with two words a row, low word first, so that nothing on the hot path creates a
 * BigInt; `u64` reads one as a number. All columns of an image can be in one SharedArrayBuffer (`shareTables`), which
 * every worker thread attaches to without a copy.
 */
import type { HashAlgorithm } from '../base/digest.ts';

export const MANIFEST_VERSION = 1;

/** A row number or index that points nowhere. */
export const NONE = 0xffffffff;

/** Set in the `payload` of a regular file: the rest indexes `inline`; clear: `objects`. */
export const PAYLOAD_INLINE = 0x80000000;

/** The largest content that may be stored in the manifest itself, in bytes. */
export const INLINE_LIMIT = 65536;

/** Bytes of block hashes that fit into an image of 4 GiB, in addition to the rest of it. */
export const BLOCK_HASHES_LIMIT: number = 0xffff_ffff - (1 << 20);

/** How a column is stored: little-endian integers, or a plain byte string. */
export type ColumnType = 'u32' | 'u64' | 'i64' | 'bytes';

/** Every table and column, in the order of the file. */
export const TABLE_COLUMNS = {
  inodes: {
    id: 'u64',
    generation: 'u32',
    mode: 'u32',
    uid: 'u32',
    gid: 'u32',
    nlink: 'u32',
    size: 'u64',
    mtime: 'i64',
    mtimeNsec: 'u32',
    rdev: 'u32',
    payload: 'u32',
    xattrs: 'u32',
  },
  directories: { inode: 'u32', parent: 'u32', first: 'u32' },
  dirents: { inode: 'u32', nameOffset: 'u32', names: 'bytes' },
  objects: { digest: 'bytes', size: 'u64', blockHashes: 'bytes' },
  targets: { offset: 'u32', bytes: 'bytes' },
  inline: { offset: 'u32', bytes: 'bytes' },
  xattrs: { first: 'u32', nameOffset: 'u32', names: 'bytes', valueOffset: 'u32', values: 'bytes' },
} as const;

export type TableName = keyof typeof TABLE_COLUMNS;
type ArrayOf<T extends ColumnType> = T extends 'bytes' ? Uint8Array : Uint32Array;
type Table<N extends TableName> = {
  readonly [C in keyof (typeof TABLE_COLUMNS)[N]]: (typeof TABLE_COLUMNS)[N][C] extends ColumnType
    ? ArrayOf<(typeof TABLE_COLUMNS)[N][C]>
    : never;
};

/** The origin of an object, to help find it: the repository's uuid and a hint (a URL or path). */
export interface RepositoryHint {
  readonly uuid: string;
  readonly hint: string;
}

export interface ManifestHeader {
  readonly hash: HashAlgorithm;
  readonly repositories: readonly RepositoryHint[];
}

/**
 * A validated manifest. `decodeManifest` checked these invariants; all other code relies on them:
 * - inode row 0 is the root directory, its id is 1; `inodes.id` ascends strictly, below 2^52
 * - the entries of directory d are `dirents` rows `directories.first[d]` to `first[d + 1]`, sorted bytewise by name
 * - directory d is inode row `directories.inode[d]`, in a directory that is row `directories.parent[d]`
 * - `inodes.payload` is: for directories a row of `directories`, for symbolic links one of `targets`, for
 *   regular files one of `objects` or, with PAYLOAD_INLINE, of `inline`, or NONE if empty; else NONE
 * - every offset column begins with 0, ascends, and ends with the length of its byte string
 */
export type ManifestTables = { readonly [N in TableName]: Table<N> } & { readonly header: ManifestHeader };

/** Number `row` of a 64-bit column of unsigned values below 2^53. */
export function u64(column: Uint32Array, row: number): number {
  return (column[row * 2] as number) + (column[row * 2 + 1] as number) * 0x1_0000_0000;
}

/** Number `row` of a 64-bit column of signed values; exact for every value. */
export function i64(column: Uint32Array, row: number): bigint {
  return BigInt.asIntN(64, (BigInt(column[row * 2 + 1] as number) << 32n) | BigInt(column[row * 2] as number));
}

export const inodeCount = (tables: ManifestTables): number => tables.inodes.mode.length;
export const objectCount = (tables: ManifestTables): number => tables.objects.size.length / 2;

/** All columns in one shared buffer; plain data that can be posted to a worker. */
export interface SharedTables {
  readonly header: ManifestHeader;
  readonly buffer: SharedArrayBuffer;
  /** Byte offset and byte length of each column, in the order of TABLE_COLUMNS. */
  readonly extents: readonly (readonly [offset: number, length: number])[];
}

const align8 = (n: number): number => Math.ceil(n / 8) * 8;

/** The names of all columns, in the order of the file. */
export function columnNames(): [table: TableName, column: string, type: ColumnType][] {
  return Object.entries(TABLE_COLUMNS).flatMap(([table, columns]) =>
    Object.entries(columns).map(([column, type]): [TableName, string, ColumnType] => [
      table as TableName,
      column,
      type as ColumnType,
    ]),
  );
}

/** Builds the tables from one array per column; the caller guarantees types and invariants. */
export function tablesFrom(
  header: ManifestHeader,
  column: (table: TableName, name: string, type: ColumnType) => Uint8Array | Uint32Array,
): ManifestTables {
  const tables: Record<string, unknown> = { header };
  for (const [table, name, type] of columnNames()) {
    const columns = (tables[table] ?? {}) as Record<string, unknown>;
    columns[name] = column(table, name, type);
    tables[table] = columns;
  }
  return tables as ManifestTables;
}

const columnOf = (tables: ManifestTables, table: TableName, name: string): Uint8Array | Uint32Array =>
  (tables[table] as Record<string, Uint8Array | Uint32Array>)[name] as Uint8Array | Uint32Array;

/** Copies the bytes of all columns into one SharedArrayBuffer. */
export function packColumns(
  header: ManifestHeader,
  column: (table: TableName, name: string, type: ColumnType) => Uint8Array,
): SharedTables {
  const columns = columnNames().map((names) => column(...names));
  let total = 0;
  const extents = columns.map(({ length }): readonly [number, number] => {
    const extent = [total, length] as const;
    total = align8(total + length);
    return extent;
  });
  const buffer = new SharedArrayBuffer(total);
  const bytes = new Uint8Array(buffer);
  columns.forEach((one, i) => {
    bytes.set(one, (extents[i] as readonly [number, number])[0]);
  });
  return { header, buffer, extents };
}

/**
 * The tables for other threads: without a copy if they are in one shared buffer, like those of an image that was read.
 */
export function shareTables(tables: ManifestTables): SharedTables {
  const { header } = tables;
  const columns = columnNames().map(([table, name]) => columnOf(tables, table, name));
  const buffer = columns[0]?.buffer;
  if (buffer instanceof SharedArrayBuffer && columns.every((column) => column.buffer === buffer)) {
    return { header, buffer, extents: columns.map(({ byteOffset, byteLength }) => [byteOffset, byteLength] as const) };
  }
  return packColumns(header, (table, name) => {
    const column = columnOf(tables, table, name);
    return new Uint8Array(column.buffer, column.byteOffset, column.byteLength);
  });
}

/** The tables over a shared buffer; no copy. */
export function attachTables(shared: SharedTables): ManifestTables {
  let i = 0;
  return tablesFrom(shared.header, (_table, _name, type) => {
    const [offset, length] = shared.extents[i++] as readonly [number, number];
    return type === 'bytes'
      ? new Uint8Array(shared.buffer, offset, length)
      : new Uint32Array(shared.buffer, offset, length / 4);
  });
}
