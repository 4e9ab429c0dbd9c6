/** Which parts of which packs are asked for, so that some objects of an image are there afterwards. Pure. */
import { ALONE, FRAME_BYTES, framesOf, type ObjectMap, PACK_BYTES } from './map-format.ts';

/** Objects from this size on are fetched one by one, in order. */
export const LARGE: number = 1 << 20;
/** Bytes between two parts that are worth a request of their own. */
const GAP = 1 << 17;
/** Bytes that are asked for at once, at most. */
export const REQUEST_BYTES: number = PACK_BYTES;

/** Work that a thread does as a whole. */
export interface FetchTask {
  /** A part of a pack; or one object of many frames; or one that is a file of its own. */
  readonly kind: 'part' | 'large' | 'alone';
  /** Of `part`: the pack, and the bytes of it. */
  readonly pack: number;
  readonly from: number;
  readonly length: number;
  /** Rows of the objects that lie there. */
  readonly rows: readonly number[];
}

/** Where objects of one frame, or of some frames in one pack, lie. */
interface Piece {
  readonly row: number;
  readonly pack: number;
  readonly from: number;
  readonly to: number;
}

/**
 * Plans the requests. The largest objects come first: nothing waits for one of them at the end.
 * @param map undefined: every object is a file of its own
 * @param rows the objects that are needed
 * @param most bytes of a part of a pack, unless one object has more
 */
export function planFetch(
  map: ObjectMap | undefined,
  sizes: Float64Array,
  rows: readonly number[],
  most: number = REQUEST_BYTES,
): FetchTask[] {
  const single: FetchTask[] = [];
  const pieces: Piece[] = [];
  for (const row of rows) {
    const size = sizes[row] as number;
    const frame = map === undefined ? ALONE : (map.frameOf[row] as number);
    if (map === undefined || frame === ALONE) single.push(one('alone', row));
    else {
      const piece = size < LARGE ? pieceOf(map, row, frame, size) : undefined;
      if (piece === undefined) single.push(one('large', row));
      else pieces.push(piece);
    }
  }
  single.sort((a, b) => (sizes[b.rows[0] as number] as number) - (sizes[a.rows[0] as number] as number));
  return [...single, ...partsOf(pieces, most)];
}

const one = (kind: 'large' | 'alone', row: number): FetchTask => ({ kind, pack: 0, from: 0, length: 0, rows: [row] });

/** Undefined if the frames of the object are not side by side in one pack. */
function pieceOf({ frames }: ObjectMap, row: number, frame: number, size: number): Piece | undefined {
  const pack = frames.pack[frame] as number;
  const from = frames.offset[frame] as number;
  let to = from + (frames.stored[frame] as number);
  for (let i = frame + 1; i < frame + framesOf(size); i++) {
    if (frames.pack[i] !== pack || frames.offset[i] !== to) return undefined;
    to += frames.stored[i] as number;
  }
  return { row, pack, from, to };
}

function partsOf(pieces: Piece[], most: number): FetchTask[] {
  pieces.sort((a, b) => a.pack - b.pack || a.from - b.from);
  const parts: { pack: number; from: number; to: number; rows: number[] }[] = [];
  for (const { row, pack, from, to } of pieces) {
    const last = parts.at(-1);
    if (last !== undefined && last.pack === pack && from - last.to <= GAP && to - last.from <= most) {
      last.to = Math.max(last.to, to);
      last.rows.push(row);
    } else parts.push({ pack, from, to, rows: [row] });
  }
  return parts.map(({ pack, from, to, rows }) => ({ kind: 'part', pack, from, length: to - from, rows }));
}

/** The requests for an object of many frames: runs of frames side by side in one pack, with all their bytes. */
export function* requestsOf(
  { frames }: ObjectMap,
  frame: number,
  size: number,
): Generator<{ readonly first: number; readonly last: number; readonly from: number; readonly length: number }> {
  const end = frame + framesOf(size);
  for (let first = frame; first < end; ) {
    const from = frames.offset[first] as number;
    let last = first;
    let to = from + (frames.stored[first] as number);
    while (
      last + 1 < end &&
      frames.pack[last + 1] === frames.pack[first] &&
      frames.offset[last + 1] === to &&
      to + FRAME_BYTES - from <= REQUEST_BYTES
    ) {
      last++;
      to += frames.stored[last] as number;
    }
    yield { first, last, from, length: to - from };
    first = last + 1;
  }
}

/**
 * Plans requests that are made before someone asks for the objects: in the given order, or else as they lie in the
 * packs, so that few requests get whole packs.
 * @param order the rows that come first, in this order, as far as they are among `rows`
 * @param most as in `planFetch`
 */
export function planAhead(
  map: ObjectMap | undefined,
  sizes: Float64Array,
  rows: readonly number[],
  order: ArrayLike<number>,
  most: { readonly ordered: number; readonly others: number },
): FetchTask[] {
  const placeOf = new Map(Array.from(order, (row, place) => [row, place] as const).reverse());
  // a map may put all objects into one frame: too many for the arguments of a call
  const first = ({ rows }: FetchTask): number =>
    rows.reduce((least, row) => Math.min(least, placeOf.get(row) as number), Number.POSITIVE_INFINITY);
  const ordered = planFetch(
    map,
    sizes,
    rows.filter((row) => placeOf.has(row)),
    most.ordered,
  ).map((task) => ({ task, at: first(task) }));
  const others = planFetch(
    map,
    sizes,
    rows.filter((row) => !placeOf.has(row)),
    most.others,
  ).map((task) => ({ task, at: packOf(map, task) }));
  for (const tasks of [ordered, others]) tasks.sort((a, b) => a.at - b.at);
  return [...ordered, ...others].map(({ task }) => task);
}

/** The pack in which a task begins; objects that are files of their own come last. */
function packOf(map: ObjectMap | undefined, { kind, pack, rows }: FetchTask): number {
  if (kind === 'part') return pack;
  const frame = map === undefined || kind === 'alone' ? undefined : map.frameOf[rows[0] as number];
  return frame === undefined ? Number.MAX_SAFE_INTEGER : ((map as ObjectMap).frames.pack[frame] as number);
}
