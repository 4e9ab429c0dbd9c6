/** Contents in the order in which an archive has them, divided into batches that threads read ahead. Plain data. */
import type { Holes } from '../manifest/holes.ts';
import { objectOf } from '../manifest/lookup.ts';
import { type ManifestTables, u64 } from '../manifest/tables.ts';

/** Pieces of contents that objects have, in order: inode row, offset and length of each. */
export interface PiecePlan {
  /** Three numbers a piece. */
  readonly pieces: Float64Array;
  /** Batch b is the pieces from `first[b]` to `first[b + 1]`; one more number at the end. */
  readonly first: Uint32Array;
}

/** The largest number of bytes in a batch, and so in a piece. */
export const BATCH_BYTES: number = 1 << 20;
const BATCH_PIECES = 512;

/** The areas of a content that are not holes, in order; undefined if it has no holes. */
export function dataAreas(
  tables: ManifestTables,
  holes: Holes,
  row: number,
): [offset: number, length: number][] | undefined {
  const object = objectOf(tables, row);
  if (object < 0 || holes.bytesOf(object) === 0) return undefined;
  const size = u64(tables.inodes.size, row);
  const areas: [number, number][] = [];
  for (let at = 0; at < size; ) {
    const data = holes.seek(object, at, false);
    if (data < 0) break;
    at = holes.seek(object, data, true);
    areas.push([data, at - data]);
  }
  return areas;
}

/** @param rows of regular files, in order */
export function planPieces(tables: ManifestTables, holes: Holes, rows: Iterable<number>): PiecePlan {
  const pieces: number[] = [];
  const first: number[] = [0];
  let bytes = 0;
  const add = (row: number, offset: number, length: number): void => {
    const begun = pieces.length / 3 - (first.at(-1) as number);
    if (begun > 0 && (bytes + length > BATCH_BYTES || begun === BATCH_PIECES)) {
      first.push(pieces.length / 3);
      bytes = 0;
    }
    pieces.push(row, offset, length);
    bytes += length;
  };
  for (const row of rows) {
    if (objectOf(tables, row) < 0) continue;
    for (const [from, length] of dataAreas(tables, holes, row) ?? [[0, u64(tables.inodes.size, row)] as const]) {
      for (let at = 0; at < length; at += BATCH_BYTES) add(row, from + at, Math.min(BATCH_BYTES, length - at));
    }
  }
  if (pieces.length > 0) first.push(pieces.length / 3);
  const shared = new Float64Array(new SharedArrayBuffer(pieces.length * 8));
  shared.set(pieces);
  const bounds = new Uint32Array(new SharedArrayBuffer(first.length * 4));
  bounds.set(first);
  return { pieces: shared, first: bounds };
}
