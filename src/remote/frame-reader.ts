import { decompressFrame } from '../system/zstd.ts';
import { FRAME_BYTES, type ObjectMap } from './map-format.ts';

/** Reads frames out of a part of a pack. */
export class FrameReader {
  readonly #frames: ObjectMap['frames'];
  /** Bytes of a pack, the first of which is at `#from` in it. */
  readonly #bytes: Uint8Array;
  readonly #from: number;
  readonly #space = new Uint8Array(FRAME_BYTES);
  #current = -1;
  #content: Uint8Array | undefined;

  constructor({ frames }: ObjectMap, bytes: Uint8Array, from: number) {
    this.#frames = frames;
    this.#bytes = bytes;
    this.#from = from;
  }

  /** The content of a frame; undefined if it is damaged. Valid until the next call. */
  read(frame: number): Uint8Array | undefined {
    if (frame !== this.#current) {
      this.#current = frame;
      this.#content = this.#decode(frame);
    }
    return this.#content;
  }

  #decode(frame: number): Uint8Array | undefined {
    const { offset, stored, raw } = this.#frames;
    const at = (offset[frame] as number) - this.#from;
    const bytes = this.#bytes.subarray(at, at + (stored[frame] as number));
    if (stored[frame] === raw[frame]) return bytes;
    const length = decompressFrame(bytes, this.#space);
    return length === raw[frame] ? this.#space.subarray(0, length) : undefined;
  }
}
