/** The columns of a manifest that is built, by name. */
import { CfsError } from '../base/error.ts';
import { GrowableBytes, GrowableU32 } from './growable.ts';
import { NONE } from './tables.ts';

/** Concatenated byte strings with their offsets: n + 1 offsets for n strings. */
export class BlobWriter {
  readonly #bytes = new GrowableBytes();
  readonly #offsets = new GrowableU32();

  constructor() {
    this.#offsets.push(0);
  }

  add(bytes: Uint8Array): number {
    this.#bytes.append(bytes);
    if (this.#bytes.length > NONE)
      throw new CfsError(
        'image',
        'Cannot build the manifest: a byte string is larger than 4 GiB. Pack the tree as several images.',
      );
    return this.#offsets.push(this.#bytes.length) - 1;
  }

  get offsets(): Uint32Array {
    return this.#offsets.view();
  }

  get bytes(): Uint8Array {
    return this.#bytes.view();
  }
}

/** The finished columns by name. */
export class ColumnWriter {
  readonly #columns = new Map<string, Uint8Array | Uint32Array>();

  put(name: string, column: Uint8Array | Uint32Array): void {
    this.#columns.set(name, column);
  }

  putBlobs(offsetName: string, bytesName: string, blobs: BlobWriter): void {
    this.put(offsetName, blobs.offsets);
    this.put(bytesName, blobs.bytes);
  }

  take(name: string): Uint8Array | Uint32Array {
    const column = this.#columns.get(name);
    if (column === undefined) throw new Error(`column ${name} was not written`);
    return column;
  }
}

/** A 64-bit column of `length` integers below 2^53 in magnitude. */
export function words(length: number, value: (row: number) => number): Uint32Array {
  const out = new Uint32Array(length * 2);
  for (let row = 0; row < length; row++) {
    const v = value(row);
    out[row * 2] = v % 0x1_0000_0000; // ToUint32 wraps a negative remainder to its two's complement
    out[row * 2 + 1] = Math.floor(v / 0x1_0000_0000);
  }
  return out;
}
