/**
 * Shared knowledge of the threads of a mount about the files of its objects: for each object, the file that was last
 * verified as it, its state, and how it was verified.
 *
 * Why no thread trusts a proof of another file. A record is four words: the state, the identity of the file and the two
 * halves of its ctime. The state has the proof itself, and the number of records so far. Only a thread that has the
 * claim of the object writes them, so there is one writer at a time. It sets WRITING in the state, writes the three
 * other words, and then stores the state with the new proof, the next number, and without WRITING. A reader loads the
 * state before and after it reads the others, and discards them if WRITING is set or number or proof differ. All
 * accesses are atomic, hence in one total order, and no word is torn. Between two equal states without WRITING no
 * writer has begun: each sets WRITING before it writes another word, and leaves another number. So the words that the
 * reader saw belong together. Plain stores in a careful order would not be enough: neither the engine nor the processor
 * has to keep that order, two verifying threads may mix their words, and a ctime of 64 bits may be torn.
 *
 * Numbers have 28 bits: one recurs after 10^8 records of an object, while a reader holds it for microseconds.
 *
 * Why no thread waits in vain. The claim is a bit of the same word. It is taken by compare-and-exchange and released in
 * a `finally`, and the release wakes all waiting threads. A thread sleeps only on the very word in which it saw the
 * bit: if that has changed, it does not fall asleep. test/unit/objects/verified-files.test.ts explores the
 * interleavings.
 */
import { type FileNumbers, fileIdentity } from '../base/file-identity.ts';
import type { Proof } from './repository.ts';

/** A file in one state: writing, truncating, replacing and renaming change its inode or its ctime. */
export interface FileState extends FileNumbers {
  readonly ctimeMs: number;
}

/** Of shared memory, for each object; zero at first. */
export const VERIFIED_BYTES = 16;

// bits of a state
/** A thread verifies a file of the object. */
const CLAIMED = 1;
/** It is recording another file. */
const WRITING = 2;
/** How the file was verified: an index into PROOFS. */
const PROOF_SHIFT = 2;
const PROOF = 3 << PROOF_SHIFT;
/** The rest is the number of the record. */
const ONE_RECORD = 1 << 4;

const PROOFS: readonly (Proof | undefined)[] = [undefined, 'hashed', 'measured'];

/** The number of objects of which a verified file is known, and their bytes; those that are being recorded may lack. */
export function verifiedTotals(
  buffer: SharedArrayBuffer,
  count: number,
  sizeOf: (index: number) => number,
): { readonly objects: number; readonly bytes: number } {
  const states = new Int32Array(buffer, count * 12, count);
  let objects = 0;
  let bytes = 0;
  for (let index = 0; index < count; index++) {
    if (((states[index] as number) & PROOF) === 0) continue;
    objects++;
    bytes += sizeOf(index);
  }
  return { objects, bytes };
}

/** One per thread, over the memory that the threads of a mount share. */
export class VerifiedFiles {
  readonly #states: Int32Array;
  /** `fileIdentity` of each. */
  readonly #identities: Int32Array;
  /** ctime in milliseconds of each, a float in two words. */
  readonly #ctimes: Int32Array;
  readonly #float: Float64Array = new Float64Array(1);
  readonly #halves: Int32Array = new Int32Array(this.#float.buffer);

  /** @param buffer begins with `VERIFIED_BYTES` for each of `count` objects */
  constructor(buffer: SharedArrayBuffer, count: number) {
    this.#ctimes = new Int32Array(buffer, 0, count * 2);
    this.#identities = new Int32Array(buffer, count * 8, count);
    this.#states = new Int32Array(buffer, count * 12, count);
  }

  /**
   * How the file, in this state, was verified as object `index`. Undefined if it was not, or if another file is being
   * recorded at this moment: then it must be verified.
   */
  proofOf(index: number, file: FileState): Proof | undefined {
    const before = Atomics.load(this.#states, index);
    this.#float[0] = file.ctimeMs;
    if (Atomics.load(this.#ctimes, index * 2) !== this.#halves[0]) return undefined;
    if (Atomics.load(this.#ctimes, index * 2 + 1) !== this.#halves[1]) return undefined;
    if (Atomics.load(this.#identities, index) !== (fileIdentity(file) | 0)) return undefined;
    const isWhole = (before & WRITING) === 0 && ((before ^ Atomics.load(this.#states, index)) & ~CLAIMED) === 0;
    return isWhole ? PROOFS[(before & PROOF) >> PROOF_SHIFT] : undefined;
  }

  /** Takes the claim of the object, unless a thread has it. Release it with `release`. */
  claim(index: number): boolean {
    const state = Atomics.load(this.#states, index);
    if ((state & CLAIMED) !== 0) return false;
    return Atomics.compareExchange(this.#states, index, state, state | CLAIMED) === state;
  }

  /**
   * Takes the claim of the object to hash this file; waits while another thread has it.
   * @returns false, without the claim, if a thread has hashed the file in the meantime
   */
  claimToHash(index: number, file: FileState): boolean {
    while (!this.claim(index)) {
      const state = Atomics.load(this.#states, index);
      if ((state & CLAIMED) !== 0) Atomics.wait(this.#states, index, state);
      if (this.proofOf(index, file) === 'hashed') return false;
    }
    // it may have been done between the last look and the claim
    if (this.proofOf(index, file) !== 'hashed') return true;
    this.release(index);
    return false;
  }

  /** For the thread that has the claim: records that the file, in this state, is the object. */
  record(index: number, file: FileState, proof: Proof): void {
    const state = Atomics.load(this.#states, index); // only this thread changes it
    Atomics.store(this.#states, index, state | WRITING);
    this.#float[0] = file.ctimeMs;
    Atomics.store(this.#ctimes, index * 2, this.#halves[0] as number);
    Atomics.store(this.#ctimes, index * 2 + 1, this.#halves[1] as number);
    Atomics.store(this.#identities, index, fileIdentity(file) | 0);
    const next = (state & ~PROOF) | (PROOFS.indexOf(proof) << PROOF_SHIFT);
    Atomics.store(this.#states, index, (next + ONE_RECORD) | 0);
  }

  /** Releases the claim. */
  release(index: number): void {
    Atomics.and(this.#states, index, ~CLAIMED);
    Atomics.notify(this.#states, index);
  }
}
