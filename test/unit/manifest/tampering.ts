/** Tables that are changed after the builder made them, and the decoder's messages for them. */
import { encodeManifest } from '../../../src/manifest/encode.ts';
import { lookupPath } from '../../../src/manifest/lookup.ts';
import { type ManifestTables, type TableName, tablesFrom } from '../../../src/manifest/tables.ts';
import { refusal } from './exercise.ts';
import { sampleTables } from './sample.ts';

export const sample: ManifestTables = sampleTables();

type Column = Uint8Array | Uint32Array;

/**
 * The same tables with some columns changed: each function is called with a copy, and changes it in place or returns
 * another in its place. The type is that of most columns; a byte string is passed as bytes.
 */
export function changed(
  tables: ManifestTables,
  changes: Readonly<Record<string, (column: Uint32Array) => unknown>>,
): ManifestTables {
  for (const name of Object.keys(changes)) {
    const [table, column] = name.split('.') as [TableName, string];
    if (!(column in tables[table])) throw new Error(`there is no column ${name}`);
  }
  return tablesFrom(tables.header, (table, name) => {
    const copy = (tables[table] as Record<string, Column>)[name]?.slice() as Uint32Array;
    const result = changes[`${table}.${name}`]?.(copy);
    return ArrayBuffer.isView(result) ? (result as Column) : copy;
  });
}

export type Changes = Parameters<typeof changed>[1];

/** The message with which these tables are refused. */
export const refusalOf = (tables: ManifestTables): string => refusal(encodeManifest(tables));

/** The message with which the sample, or other tables, are refused after these changes. */
export const refusalWith = (changes: Changes, tables: ManifestTables = sample): string =>
  refusalOf(changed(tables, changes));

/** The inode row of a path. */
export function rowOf(path: string, tables: ManifestTables = sample): number {
  const row = lookupPath(tables, Buffer.from(path));
  if (row < 0) throw new Error(`the sample has no ${path}`);
  return row;
}

export const payloadOf = (path: string, tables: ManifestTables = sample): number =>
  tables.inodes.payload[rowOf(path, tables)] as number;

type Change = (column: Uint32Array) => unknown;

/** Sets one value of a column. */
export const set =
  (row: number, value: number): Change =>
  (column) => {
    column[row] = value;
  };

/** Sets one value of a 64-bit column. */
export const setWide =
  (row: number, low: number, high: number): Change =>
  (column) => {
    column[row * 2] = low;
    column[row * 2 + 1] = high;
  };

/** Removes values from the end of a column. */
export const without =
  (count: number): Change =>
  (column) =>
    column.slice(0, column.length - count);
