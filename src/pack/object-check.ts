/**
 * Checks whether many objects are stored: threads do it ahead of the main thread, which walks the source and checks for
 * itself if they have not done so yet. Measured: the checks take as long as the walk.
 */
import { DIGEST_SIZE } from '../base/digest.ts';

export const ObjectState = { unknown: 0, stored: 1, missing: 2 } as const;

/** All in shared memory, one row per object. */
export interface ObjectCheck {
  /** 32 bytes each. */
  readonly digests: Uint8Array;
  readonly sizes: Float64Array;
  /** An ObjectState each. */
  readonly found: Uint8Array;
}

/** A check whose result is not known yet. */
export function objectCheck(digests: Uint8Array, sizes: Float64Array): ObjectCheck {
  const shared = {
    digests: new Uint8Array(new SharedArrayBuffer(digests.length)),
    sizes: new Float64Array(new SharedArrayBuffer(sizes.byteLength)),
    found: new Uint8Array(new SharedArrayBuffer(sizes.length)),
  };
  shared.digests.set(digests);
  shared.sizes.set(sizes);
  return shared;
}

/** The number of rows that a thread takes at once; between these it can be stopped. */
const STRIDE = 128;

/**
 * Does the part of one of `threads` threads. The parts are interleaved, so that all are ahead of a reader in order.
 * @param isStored whether an object with this digest and size exists; an exception ends the work
 */
export function checkObjects(
  { digests, sizes, found }: ObjectCheck,
  thread: number,
  threads: number,
  isStored: (digest: Uint8Array, size: number) => boolean,
  checkpoint: () => void,
): void {
  for (let from = thread * STRIDE; from < found.length; from += threads * STRIDE) {
    checkpoint();
    for (let row = from; row < Math.min(from + STRIDE, found.length); row++) {
      const digest = digests.subarray(row * DIGEST_SIZE, (row + 1) * DIGEST_SIZE);
      found[row] = isStored(digest, sizes[row] as number) ? ObjectState.stored : ObjectState.missing;
    }
  }
}
