/** Columns that grow while a manifest is built. */

/** 32-bit unsigned integers; doubles when full. */
export class GrowableU32 {
  #array: Uint32Array = new Uint32Array(1024);
  #length = 0;

  get length(): number {
    return this.#length;
  }

  push(value: number): number {
    if (this.#length === this.#array.length) {
      const grown = new Uint32Array(this.#array.length * 2);
      grown.set(this.#array);
      this.#array = grown;
    }
    this.#array[this.#length] = value;
    return this.#length++;
  }

  get(index: number): number {
    return this.#array[index] as number;
  }

  set(index: number, value: number): void {
    this.#array[index] = value;
  }

  /** The values so far; a view that the next push may invalidate. */
  view(): Uint32Array {
    return this.#array.subarray(0, this.#length);
  }
}

/** 64-bit floating point numbers, for sizes and times below 2^53. */
export class GrowableF64 {
  #array: Float64Array = new Float64Array(1024);
  #length = 0;

  get length(): number {
    return this.#length;
  }

  push(value: number): void {
    if (this.#length === this.#array.length) {
      const grown = new Float64Array(this.#array.length * 2);
      grown.set(this.#array);
      this.#array = grown;
    }
    this.#array[this.#length++] = value;
  }

  get(index: number): number {
    return this.#array[index] as number;
  }

  set(index: number, value: number): void {
    this.#array[index] = value;
  }
  /** The values so far; a view that the next push may invalidate. */
  view(): Float64Array {
    return this.#array.subarray(0, this.#length);
  }
}

/** Bytes, appended piece by piece. */
export class GrowableBytes {
  #array: Uint8Array = new Uint8Array(4096);
  #length = 0;

  get length(): number {
    return this.#length;
  }

  append(bytes: Uint8Array): void {
    const needed = this.#length + bytes.length;
    if (needed > this.#array.length) {
      const grown = new Uint8Array(Math.max(needed, this.#array.length * 2));
      grown.set(this.view());
      this.#array = grown;
    }
    this.#array.set(bytes, this.#length);
    this.#length = needed;
  }

  /** The bytes so far; a view that the next append may invalidate. */
  view(): Uint8Array {
    return this.#array.subarray(0, this.#length);
  }
}
