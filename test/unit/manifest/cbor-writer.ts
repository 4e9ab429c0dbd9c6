/**
 * A second writer of the format, without cbor-x, from docs/manifest.md. It tests the encoder against the
 * specification, and writes images that the encoder never would.
 */
import { concatBytes } from '../../../src/base/bytes.ts';
import { columnNames, type ManifestTables, TABLE_COLUMNS, type TableName } from '../../../src/manifest/tables.ts';

export const MAJOR = { unsigned: 0, negative: 1, bytes: 2, text: 3, array: 4, map: 5, tag: 6, simple: 7 } as const;

/** The initial byte of a data item and its argument, in the shortest form or in `size` bytes. */
export function head(major: number, argument: number, size?: 0 | 1 | 2 | 4 | 8): Uint8Array {
  const needed =
    size ?? (argument < 24 ? 0 : argument < 0x100 ? 1 : argument < 0x1_0000 ? 2 : argument < 2 ** 32 ? 4 : 8);
  const out = Buffer.alloc(1 + needed);
  out[0] = (major << 5) | (needed === 0 ? argument : 24 + Math.log2(needed));
  if (needed === 8) out.writeBigUInt64BE(BigInt(argument), 1);
  else if (needed > 0) out.writeUIntBE(argument, 1, needed);
  return out;
}

export const uint = (value: number): Uint8Array => head(MAJOR.unsigned, value);
export const text = (value: string): Uint8Array =>
  concatBytes(head(MAJOR.text, Buffer.byteLength(value)), Buffer.from(value));
export const byteString = (value: Uint8Array): Uint8Array => concatBytes(head(MAJOR.bytes, value.length), value);
export const array = (items: readonly Uint8Array[]): Uint8Array =>
  Buffer.concat([head(MAJOR.array, items.length), ...items]);
export const tagged = (tag: number, item: Uint8Array): Uint8Array => concatBytes(head(MAJOR.tag, tag), item);
export const map = (entries: readonly (readonly [key: string, value: Uint8Array])[]): Uint8Array =>
  concatBytes(head(MAJOR.map, entries.length), ...entries.flatMap(([key, value]) => [text(key), value]));

const TYPED_ARRAY_TAGS = { u32: 70, u64: 71, i64: 79 } as const;
const SELF_DESCRIBED = 55799;

export type Entries = (readonly [key: string, value: Uint8Array])[];

/** Bytes to write in place of an item; keys are "version", "inodes", "inodes.mode" and so on. */
export type Overrides = Readonly<Record<string, Uint8Array>>;

function columnItem(tables: ManifestTables, table: TableName, name: string, type: string): Uint8Array {
  const column = (tables[table] as Record<string, Uint8Array | Uint32Array>)[name] as Uint8Array | Uint32Array;
  const item = byteString(new Uint8Array(column.buffer, column.byteOffset, column.byteLength));
  return type === 'bytes' ? item : tagged(TYPED_ARRAY_TAGS[type as keyof typeof TYPED_ARRAY_TAGS], item);
}

/** The entries of the top-level map, in the order of the file. */
export function topEntries(tables: ManifestTables, overrides: Overrides = {}): Entries {
  const names = columnNames();
  const tableItems = Object.keys(TABLE_COLUMNS).map((table): readonly [string, Uint8Array] => {
    const columns = names
      .filter(([owner]) => owner === table)
      .map(([owner, column, type]): readonly [string, Uint8Array] => [
        column,
        overrides[`${owner}.${column}`] ?? columnItem(tables, owner, column, type),
      ]);
    return [table, map(columns)];
  });
  const repositories = tables.header.repositories.map(({ uuid, hint }) =>
    map([
      ['uuid', text(uuid)],
      ['hint', text(hint)],
    ]),
  );
  const entries: Entries = [
    ['version', uint(1)],
    ['hash', text(tables.header.hash)],
    ['blockSize', uint(65536)],
    ...tableItems,
    ['repositories', array(repositories)],
  ];
  return entries.map(([key, value]) => [key, overrides[key] ?? value]);
}

/** An image with any top-level item. */
export const selfDescribed = (item: Uint8Array): Uint8Array => tagged(SELF_DESCRIBED, item);

/** The image with these tables, some items of which are replaced. */
export function imageBytes(tables: ManifestTables, overrides: Overrides = {}): Uint8Array {
  return selfDescribed(map(topEntries(tables, overrides)));
}
