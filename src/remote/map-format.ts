/**
 * Where the objects of an image are in the packs of a remote repository: maps/<image id>.zst. docs/remote.md specifies
 * the format. A map is not trusted: what it leads to is verified. Pure.
 */
import { concatBytes, equalBytes } from '../base/bytes.ts';
import { blake3, DIGEST_SIZE, HASH_ALGORITHMS, type HashAlgorithm } from '../base/digest.ts';
import { CfsError } from '../base/error.ts';

/** Bytes of content in a frame, at most. A larger object begins a frame, and goes on in the next ones. */
export const FRAME_BYTES = 65_536;
/** Bytes of a pack, at most. */
export const PACK_BYTES: number = 1 << 24;
/** In place of a frame: the object is a file of its own. */
export const ALONE = 0xffff_ffff;

const MAGIC: Uint8Array = Buffer.from('cfs-map1', 'latin1');
const HEADER = 64;
const PACK_ROW = 40;
const FRAME_ROW = 12;
const OBJECT_ROW = 8;
const HOT_ROW = 4;

/** A run of bytes in a pack that is decoded as a whole. Columns of equal length. */
export interface Frames {
  readonly pack: Uint32Array;
  /** Of its first byte in the pack. */
  readonly offset: Uint32Array;
  /** Its bytes in the pack. If they are as many as those of the content, it is not compressed. */
  readonly stored: Uint32Array;
  /** Bytes of its content. */
  readonly raw: Uint32Array;
}

export interface ObjectMap {
  readonly hash: HashAlgorithm;
  /** The id of the image, 32 bytes. */
  readonly image: Uint8Array;
  readonly packs: readonly { readonly digest: Uint8Array; readonly size: number }[];
  readonly frames: Frames;
  /** For each object of the image, in its order: the frame in which it begins, or ALONE; and the offset in there. */
  readonly frameOf: Uint32Array;
  readonly offsetOf: Uint32Array;
  /** Objects in the order in which a run of the image's programs opened them first. */
  readonly hot: Uint32Array;
}

export const emptyFrames = (count: number): Frames => ({
  pack: new Uint32Array(count),
  offset: new Uint32Array(count),
  stored: new Uint32Array(count),
  raw: new Uint32Array(count),
});

export function encodeMap({ hash, image, packs, frames, frameOf, offsetOf, hot }: ObjectMap): Uint8Array {
  const count = frames.pack.length;
  const body = Buffer.alloc(
    HEADER + packs.length * PACK_ROW + count * FRAME_ROW + frameOf.length * OBJECT_ROW + hot.length * HOT_ROW,
  );
  body.set(MAGIC);
  body.writeUInt32LE(HASH_ALGORITHMS.indexOf(hash), 8);
  [frameOf.length, packs.length, count, hot.length].forEach((n, i) => void body.writeUInt32LE(n, 12 + i * 4));
  body.set(image, 32);
  let at = HEADER;
  for (const { digest, size } of packs) {
    body.set(digest, at);
    body.writeBigUInt64LE(BigInt(size), at + DIGEST_SIZE);
    at += PACK_ROW;
  }
  for (let i = 0; i < count; i++) {
    body.writeUInt32LE(frames.pack[i] as number, at);
    body.writeUInt32LE(frames.offset[i] as number, at + 4);
    body.writeUInt16LE((frames.stored[i] as number) - 1, at + 8);
    body.writeUInt16LE((frames.raw[i] as number) - 1, at + 10);
    at += FRAME_ROW;
  }
  for (let i = 0; i < frameOf.length; i++) {
    body.writeUInt32LE(frameOf[i] as number, at);
    body.writeUInt16LE(offsetOf[i] as number, at + 4);
    at += OBJECT_ROW;
  }
  for (const row of hot) at = body.writeUInt32LE(row, at);
  return concatBytes(body, blake3(body));
}

/** Bytes of content in a pack of a large object, at least; its last one has fewer. */
const LARGE_PACK = 1 << 20;

/** Bytes of the map of an image with objects of these sizes, at most: larger ones are refused. */
export function mapLimit(sizes: Float64Array): number {
  const bytes = sizes.reduce((sum, size) => sum + size, 0);
  const rows = sizes.length * (OBJECT_ROW + HOT_ROW + FRAME_ROW + PACK_ROW);
  const ofLarge = Math.ceil(bytes / FRAME_BYTES) * FRAME_ROW + Math.ceil(bytes / LARGE_PACK) * PACK_ROW;
  return HEADER + DIGEST_SIZE + rows + ofLarge;
}

/**
 * Decodes and checks a map. Afterwards every object with a frame lies within its frames, and every frame within its
 * pack.
 * @param sizes bytes of each object of the image
 * @throws CfsError (store)
 */
export function decodeMap(
  bytes: Uint8Array,
  { hash, image, sizes }: { readonly hash: HashAlgorithm; readonly image: Uint8Array; readonly sizes: Float64Array },
): ObjectMap {
  const body = Buffer.from(bytes.buffer, bytes.byteOffset, Math.max(bytes.length - DIGEST_SIZE, 0));
  if (body.length < HEADER || !equalBytes(body.subarray(0, MAGIC.length), MAGIC)) throw malformed('it is not one');
  if (!equalBytes(blake3(body), bytes.subarray(body.length))) throw malformed('its checksum is wrong');
  if (HASH_ALGORITHMS[body.readUInt32LE(8)] !== hash) throw malformed('it is of another hash algorithm');
  if (!equalBytes(body.subarray(32, 64), image)) throw malformed('it is of another image');
  const [objects, packCount, frameCount, hotCount] = [0, 1, 2, 3].map((i) => body.readUInt32LE(12 + i * 4)) as [
    number,
    number,
    number,
    number,
  ];
  const length = HEADER + packCount * PACK_ROW + frameCount * FRAME_ROW + objects * OBJECT_ROW + hotCount * HOT_ROW;
  if (objects !== sizes.length || length !== body.length) throw malformed('it has another number of rows');
  if (hotCount > objects) throw malformed('it lists more hot objects than there are');
  let at = HEADER;
  const packs = Array.from({ length: packCount }, () => {
    const pack = {
      digest: Uint8Array.from(body.subarray(at, at + DIGEST_SIZE)),
      size: Number(body.readBigUInt64LE(at + DIGEST_SIZE)),
    };
    at += PACK_ROW;
    if (pack.size > PACK_BYTES) throw malformed('a pack is too large');
    return pack;
  });
  const frames = emptyFrames(frameCount);
  for (let i = 0; i < frameCount; i++, at += FRAME_ROW) {
    frames.pack[i] = body.readUInt32LE(at);
    frames.offset[i] = body.readUInt32LE(at + 4);
    frames.stored[i] = body.readUInt16LE(at + 8) + 1;
    frames.raw[i] = body.readUInt16LE(at + 10) + 1;
    const pack = packs[frames.pack[i] as number];
    const end = (frames.offset[i] as number) + (frames.stored[i] as number);
    if (pack === undefined || end > pack.size) throw malformed('a frame is not in its pack');
    if ((frames.stored[i] as number) > (frames.raw[i] as number)) throw malformed('a frame is larger than its content');
  }
  const frameOf = new Uint32Array(objects);
  const offsetOf = new Uint32Array(objects);
  for (let i = 0; i < objects; i++, at += OBJECT_ROW) {
    frameOf[i] = body.readUInt32LE(at);
    offsetOf[i] = body.readUInt16LE(at + 4);
    if (!isWithin(frames, frameOf[i] as number, offsetOf[i] as number, sizes[i] as number)) {
      throw malformed('an object is not in its frames');
    }
  }
  const hot = new Uint32Array(hotCount);
  for (let i = 0; i < hotCount; i++, at += HOT_ROW) {
    hot[i] = body.readUInt32LE(at);
    if ((hot[i] as number) >= objects) throw malformed('there is no such object');
  }
  return { hash, image, packs, frames, frameOf, offsetOf, hot };
}

/** The number of frames in which an object of `size` bytes lies. */
export const framesOf = (size: number): number => Math.max(1, Math.ceil(size / FRAME_BYTES));

function isWithin({ raw }: Frames, frame: number, offset: number, size: number): boolean {
  if (frame === ALONE) return true;
  const count = framesOf(size);
  if (frame + count > raw.length) return false;
  if (count === 1) return offset + size <= (raw[frame] as number);
  if (offset !== 0) return false;
  for (let i = 0; i < count - 1; i++) if (raw[frame + i] !== FRAME_BYTES) return false;
  return size - (count - 1) * FRAME_BYTES <= (raw[frame + count - 1] as number);
}

const malformed = (reason: string): CfsError => new CfsError('store', `The map of the image is malformed: ${reason}`);
