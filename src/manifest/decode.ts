/** Bytes to validated tables. A manifest is hostile until this returns. */
import { endianness } from 'node:os';
// only the decoder: the full cbor-x loads a native module for strings, of which an image has five
import { addExtension, Decoder } from 'cbor-x/decode-no-eval';
import { printable } from '../base/bytes.ts';
import { BLOCK_SIZE, HASH_ALGORITHMS, type HashAlgorithm } from '../base/digest.ts';
import { CfsError } from '../base/error.ts';
import { checkCborProfile } from './cbor-profile.ts';
import {
  attachTables,
  type ColumnType,
  MANIFEST_VERSION,
  type ManifestHeader,
  type ManifestTables,
  packColumns,
  type RepositoryHint,
  TABLE_COLUMNS,
} from './tables.ts';
import { validateTables } from './validate.ts';

/** The bytes of a typed array (RFC 8746) as a view of the file: cbor-x itself would copy each. */
class RawArray {
  readonly type: ColumnType;
  readonly bytes: Uint8Array;

  constructor(type: ColumnType, bytes: Uint8Array) {
    this.type = type;
    this.bytes = bytes;
  }
}

const ARRAY_TAGS: readonly (readonly [tag: number, type: ColumnType, name: string])[] = [
  [70, 'u32', 'an array of uint32 (tag 70)'],
  [71, 'u64', 'an array of uint64 (tag 71)'],
  [79, 'i64', 'an array of sint64 (tag 79)'],
];
for (const [tag, type] of ARRAY_TAGS) {
  // `encode` and its class are in the other half of cbor-x, which is not loaded
  const extension = { tag, decode: (bytes: Uint8Array) => new RawArray(type, bytes) };
  addExtension(extension as unknown as Parameters<typeof addExtension>[0]);
}

const decoder = new Decoder({ mapsAsObjects: false, useRecords: false });

const fail = (reason: string): never => {
  throw new CfsError('image', `malformed manifest: ${reason}`);
};

/**
 * The tables of an image file, completely validated. The arrays are copies in one shared buffer: `bytes` is no longer
 * needed.
 * @throws CfsError (image) that names the table and row of the first error
 */
export function decodeManifest(bytes: Uint8Array): ManifestTables {
  if (endianness() !== 'LE') throw new CfsError('system', 'cfs runs on little-endian machines only');
  const problem = checkCborProfile(bytes);
  if (problem !== undefined) fail(problem);
  let root: unknown;
  try {
    root = decoder.decode(bytes);
  } catch (error) {
    fail(`the CBOR does not decode: ${printable(Buffer.from(String(error)))}`);
  } finally {
    // cbor-x keeps its last input until it decodes something else: replace it by one byte
    decoder.decode(Uint8Array.of(0));
  }
  if (!(root instanceof Map)) return fail('the top level is not a map');
  const version: unknown = root.get('version');
  if (version !== MANIFEST_VERSION) {
    fail(`its version is ${shown(version)}; this program reads version ${MANIFEST_VERSION}`);
  }
  checkKeys('the top level', root, ['version', 'hash', 'blockSize', ...Object.keys(TABLE_COLUMNS), 'repositories']);
  const tables = attachTables(
    packColumns(headerOf(root), (table, name, type) => {
      const columns: unknown = root.get(table);
      if (!(columns instanceof Map)) return fail(`${table} is not a map`);
      checkKeys(table, columns, Object.keys(TABLE_COLUMNS[table]));
      return columnBytes(`${table}.${name}`, type, columns.get(name));
    }),
  );
  const invalid = validateTables(tables);
  if (invalid !== undefined) fail(invalid);
  return tables;
}

/** The bytes of a column in the file. */
function columnBytes(name: string, type: ColumnType, column: unknown): Uint8Array {
  if (type === 'bytes') return column instanceof Uint8Array ? column : fail(`${name} is not a byte string`);
  if (!(column instanceof RawArray) || column.type !== type) {
    return fail(`${name} is not ${ARRAY_TAGS.find((row) => row[1] === type)?.[2]}`);
  }
  const width = type === 'u32' ? 4 : 8;
  if (column.bytes.length % width !== 0)
    return fail(`${name} has ${column.bytes.length} bytes, no multiple of ${width}`);
  return column.bytes;
}

function checkKeys(where: string, map: ReadonlyMap<unknown, unknown>, expected: readonly string[]): void {
  const keys = [...map.keys()];
  if (keys.length !== expected.length || keys.some((key, i) => key !== expected[i])) {
    fail(`${where} has the keys ${keys.map(keyText).join(', ').slice(0, 300)}; it must have ${expected.join(', ')}`);
  }
}

const SHOWN_LENGTH = 60;

/** A value of any kind, for a message. */
function shown(value: unknown): string {
  if (typeof value === 'string') {
    const rest = value.length > SHOWN_LENGTH ? '…' : '';
    return `"${printable(Buffer.from(value.slice(0, SHOWN_LENGTH)))}${rest}"`;
  }
  if (typeof value === 'number' || typeof value === 'bigint') return String(value);
  if (value === undefined) return 'missing';
  return value instanceof Map ? 'a map' : Array.isArray(value) ? 'an array' : 'a byte string';
}

const keyText = (key: unknown): string => (typeof key === 'string' ? printable(Buffer.from(key)) : shown(key));

function headerOf(root: ReadonlyMap<unknown, unknown>): ManifestHeader {
  const hash = root.get('hash');
  if (!HASH_ALGORITHMS.includes(hash as HashAlgorithm)) {
    fail(`its hash is ${shown(hash)}; known are ${HASH_ALGORITHMS.join(', ')}`);
  }
  const blockSize = root.get('blockSize');
  if (blockSize !== BLOCK_SIZE) fail(`its block size is ${shown(blockSize)}; version 1 has ${BLOCK_SIZE}`);
  const list: unknown = root.get('repositories');
  if (!Array.isArray(list)) return fail('repositories is not an array');
  const repositories = list.map((entry: unknown, i): RepositoryHint => {
    if (!(entry instanceof Map)) return fail(`repositories row ${i} is not a map`);
    checkKeys(`repositories row ${i}`, entry, ['uuid', 'hint']);
    const uuid: unknown = entry.get('uuid');
    const hint: unknown = entry.get('hint');
    if (typeof uuid !== 'string' || typeof hint !== 'string') return fail(`repositories row ${i} is not text`);
    return { uuid, hint };
  });
  return { hash: hash as HashAlgorithm, repositories };
}
