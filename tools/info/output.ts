/**
 * Standard output for listings of any length: buffered, written synchronously, so that a million lines need no memory
 * and a slow reader slows the tool down.
 */
import { writeSync } from 'node:fs';
import { CfsError, reasonOf } from '../../src/base/error.ts';
import { jsonOf } from '../../src/base/json-text.ts';
import { shownText } from '../../src/base/path-text.ts';
import { waitWritable } from '../../src/system/descriptors.ts';

const CAPACITY = 1 << 16;
const STDOUT = 1;

/** Thrown if the reader of stdout stops early (`| head`): the work ends, quietly. */
export class OutputClosed extends Error {}

export class Output {
  readonly #buffer = Buffer.allocUnsafeSlow(CAPACITY);
  #length = 0;
  /** Elements of the JSON array so far. */
  #elements = 0;

  /**
   * Text as UTF-8, and for people: the escapes of base/path-text.ts are shown. Throws OutputClosed if the reader is
   * gone.
   */
  text(exact: string): void {
    const text = shownText(exact);
    // UTF-8 needs at most three bytes for each UTF-16 unit
    if (text.length * 3 > CAPACITY) {
      this.bytes(Buffer.from(text));
      return;
    }
    if (text.length * 3 > CAPACITY - this.#length) this.flush();
    this.#length += this.#buffer.write(text, this.#length);
  }

  bytes(bytes: Uint8Array): void {
    if (bytes.length > CAPACITY - this.#length) this.flush();
    if (bytes.length > CAPACITY) {
      writeAll(bytes);
      return;
    }
    this.#buffer.set(bytes, this.#length);
    this.#length += bytes.length;
  }

  /** One element of an array of any length: the array is one JSON value, and an element takes a line. */
  jsonElement(value: unknown): void {
    this.text(`${this.#elements++ === 0 ? '[\n' : ',\n'}${jsonOf(value)}`);
  }

  jsonEnd(): void {
    this.text(this.#elements === 0 ? '[]\n' : '\n]\n');
  }

  flush(): void {
    const length = this.#length;
    this.#length = 0;
    writeAll(this.#buffer.subarray(0, length));
  }
}

function writeAll(bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; ) {
    try {
      at += writeSync(STDOUT, bytes, at);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'EPIPE') throw new OutputClosed();
      if (code !== 'EAGAIN') {
        throw new CfsError('system', `Cannot write to standard output: ${reasonOf(error)}`, { cause: error });
      }
      // a full pipe, which node or another process made non-blocking
      waitWritable(STDOUT);
    }
  }
}
