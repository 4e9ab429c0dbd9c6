/** Tables to bytes: the CBOR of docs/manifest.md. */
import { Encoder } from 'cbor-x';
import { BLOCK_SIZE } from '../base/digest.ts';
import { CfsError } from '../base/error.ts';
import { columnNames, MANIFEST_VERSION, type ManifestTables } from './tables.ts';

/** Enough for any image; a reader bounds the number of data items (cbor-profile.ts). */
const MAX_REPOSITORIES = 10_000;

/** cbor-x writes the length of a byte string with at most 32 bits. */
const COLUMN_LIMIT = 0xffffffff;

/** The limit of a reader (src/image/image-file.ts), less room for keys, a signature and the checksum. */
const FILE_LIMIT = COLUMN_LIMIT - (1 << 16);

/** The types of cbor-x lack `useBuffer`. */
const encoder = new Encoder({
  useRecords: false,
  variableMapSize: true,
  tagUint8Array: false,
  useSelfDescribedHeader: true,
}) as Encoder & { useBuffer(buffer: Uint8Array): void };

/** For all but the columns; more is made if it is too little. */
const ROOM = 1 << 16;

/**
 * The bytes of an image file. The same tables result in the same bytes on every machine.
 * @throws CfsError (image) if a column is larger than a CBOR byte string of this version, 4 GiB
 */
export function encodeManifest(tables: ManifestTables): Uint8Array {
  if (tables.header.repositories.length > MAX_REPOSITORIES) {
    throw new CfsError('image', `Cannot write the manifest: more than ${MAX_REPOSITORIES} repositories`);
  }
  const root: Record<string, unknown> = {
    version: MANIFEST_VERSION,
    hash: tables.header.hash,
    blockSize: BLOCK_SIZE,
  };
  let bytes = 0;
  for (const [table, name, type] of columnNames()) {
    const column = (tables[table] as Record<string, Uint8Array | Uint32Array>)[name] as Uint8Array | Uint32Array;
    if (column.byteLength > COLUMN_LIMIT) {
      throw new CfsError(
        'image',
        `Cannot write the manifest: ${table}.${name} has ${column.byteLength} bytes; a column holds at most ${COLUMN_LIMIT}. Pack the tree as several images.`,
      );
    }
    bytes += column.byteLength;
    if (bytes > FILE_LIMIT) {
      throw new CfsError(
        'image',
        `Cannot write the manifest: its columns have more than ${FILE_LIMIT} bytes together, which no reader takes. Pack the tree as several images.`,
      );
    }
    const columns = (root[table] ?? {}) as Record<string, unknown>;
    const { buffer, byteOffset, length, byteLength } = column;
    columns[name] =
      type === 'bytes'
        ? new Uint8Array(buffer, byteOffset, length)
        : type === 'u32'
          ? column
          : type === 'u64'
            ? new BigUint64Array(buffer, byteOffset, byteLength / 8)
            : new BigInt64Array(buffer, byteOffset, byteLength / 8);
    root[table] = columns;
  }
  root['repositories'] = tables.header.repositories.map(({ uuid, hint }) => ({ uuid, hint }));
  // a buffer that grows is copied again and again
  encoder.useBuffer(Buffer.allocUnsafeSlow(bytes + ROOM));
  try {
    return encoder.encode(root);
  } finally {
    encoder.useBuffer(Buffer.alloc(0));
  }
}
