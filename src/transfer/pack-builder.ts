/**
 * Builds the packs of a remote repository: objects in frames of at most 64 KiB, which are compressed one by one, in
 * files of some MiB. The same objects in the same order give the same packs.
 */
import { blake3 } from '../base/digest.ts';
import { FRAME_BYTES, type Frames, PACK_BYTES } from '../remote/map-format.ts';
import { compressFrame } from '../system/zstd.ts';

/** A pack of small objects is complete when it has so many bytes. */
const PACK_TARGET = 1 << 23;
/** Objects from this size on get packs of their own: they are kept if others around them change. */
export const OWN_PACKS: number = 1 << 20;

export interface FinishedPack {
  readonly digest: Uint8Array;
  readonly bytes: Uint8Array;
}

interface OpenPack {
  readonly index: number;
  readonly parts: Uint8Array[];
  length: number;
}

export interface PackTables {
  readonly packs: readonly { readonly digest: Uint8Array; readonly size: number }[];
  readonly frames: Frames;
}

export class PackBuilder {
  readonly #level: number;
  readonly #onPack: (pack: FinishedPack) => Promise<void>;
  /** The frame that is being filled with small objects. */
  readonly #content = new Uint8Array(FRAME_BYTES);
  readonly #waiting: { readonly row: number; readonly offset: number }[] = [];
  #length = 0;
  #small: OpenPack | undefined;
  readonly #space = new Uint8Array(FRAME_BYTES);
  readonly #packs: { digest: Uint8Array; size: number }[] = [];
  readonly #frames: [pack: number, offset: number, stored: number, raw: number][] = [];
  readonly #frameOf: Uint32Array;
  readonly #offsetOf: Uint32Array;

  /**
   * @param level of compression, 1 to 19
   * @param frameOf for each object, set when its frame is complete; so is `offsetOf`
   * @param onPack called with each pack; it may wait
   */
  constructor(
    level: number,
    { frameOf, offsetOf }: { readonly frameOf: Uint32Array; readonly offsetOf: Uint32Array },
    onPack: (pack: FinishedPack) => Promise<void>,
  ) {
    this.#level = level;
    this.#frameOf = frameOf;
    this.#offsetOf = offsetOf;
    this.#onPack = onPack;
  }

  /** Adds a pack that exists. @returns its number for `addFrame` */
  addPack(digest: Uint8Array, size: number): number {
    return this.#packs.push({ digest, size }) - 1;
  }

  /** Adds a frame of a pack that exists. @returns its number */
  addFrame(pack: number, offset: number, stored: number, raw: number): number {
    return this.#frames.push([pack, offset, stored, raw]) - 1;
  }

  /** Adds an object of less than OWN_PACKS bytes. The bytes may change after the call. */
  async add(row: number, bytes: Uint8Array): Promise<void> {
    if (bytes.length > FRAME_BYTES) {
      await this.#endFrame();
      const pack = await this.#packFor(bytes.length);
      this.#frameOf[row] = this.#frames.length;
      for (let at = 0; at < bytes.length; at += FRAME_BYTES) this.#append(pack, bytes.subarray(at, at + FRAME_BYTES));
      return;
    }
    if (this.#length + bytes.length > FRAME_BYTES) await this.#endFrame();
    this.#waiting.push({ row, offset: this.#length });
    this.#content.set(bytes, this.#length);
    this.#length += bytes.length;
  }

  /** Adds a larger object. @param pieces FRAME_BYTES each, but for the last one */
  async addLarge(row: number, pieces: Iterable<Uint8Array>): Promise<void> {
    let pack = this.#newPack();
    // an open frame of small objects gets a later number
    this.#frameOf[row] = this.#frames.length;
    for (const piece of pieces) {
      if (pack.length + piece.length > PACK_BYTES) {
        await this.#finish(pack);
        pack = this.#newPack();
      }
      this.#append(pack, piece);
    }
    await this.#finish(pack);
  }

  /** Completes the pack of small objects: later ones are in others. */
  async endPack(): Promise<void> {
    await this.#endFrame();
    if (this.#small !== undefined) await this.#finish(this.#small);
    this.#small = undefined;
  }

  /** Completes what is open. Call it once. */
  async end(): Promise<PackTables> {
    await this.endPack();
    const column = (i: 0 | 1 | 2 | 3): Uint32Array => Uint32Array.from(this.#frames, (frame) => frame[i]);
    return { packs: this.#packs, frames: { pack: column(0), offset: column(1), stored: column(2), raw: column(3) } };
  }

  async #endFrame(): Promise<void> {
    if (this.#length === 0) return;
    const pack = await this.#packFor(this.#length);
    const frame = this.#append(pack, this.#content.subarray(0, this.#length));
    for (const { row, offset } of this.#waiting.splice(0)) {
      this.#frameOf[row] = frame;
      this.#offsetOf[row] = offset;
    }
    this.#length = 0;
  }

  /** The open pack for small objects, if it has room. */
  async #packFor(length: number): Promise<OpenPack> {
    if (this.#small !== undefined && this.#small.length > 0 && this.#small.length + length > PACK_TARGET) {
      await this.#finish(this.#small);
      this.#small = undefined;
    }
    this.#small ??= this.#newPack();
    return this.#small;
  }

  #newPack(): OpenPack {
    return { index: this.addPack(new Uint8Array(0), 0), parts: [], length: 0 };
  }

  #append(pack: OpenPack, content: Uint8Array): number {
    const length = compressFrame(content, this.#space.subarray(0, content.length - 1), this.#level);
    const part = Uint8Array.from(length < 0 ? content : this.#space.subarray(0, length));
    const frame = this.addFrame(pack.index, pack.length, part.length, content.length);
    pack.parts.push(part);
    pack.length += part.length;
    return frame;
  }

  async #finish({ index, parts }: OpenPack): Promise<void> {
    const bytes = Buffer.concat(parts);
    const digest = blake3(bytes);
    this.#packs[index] = { digest, size: bytes.length };
    await this.#onPack({ digest, bytes });
  }
}
