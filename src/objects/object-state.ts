/** Shared memory for the knowledge of a mount's threads about its objects. */
import { VERIFIED_BYTES } from './verified-files.ts';

/** The common knowledge of a mount's threads about its objects. */
export interface ObjectState {
  readonly buffer: SharedArrayBuffer;
  readonly count: number;
}

/** Fresh state for `count` objects: 17 bytes each, of which untouched pages cost no memory. */
export function allocateObjectState(count: number): ObjectState {
  return { buffer: new SharedArrayBuffer(count * (VERIFIED_BYTES + 1)), count };
}

/** The lines already logged for each object, for `ProblemLog`. */
export const saidOf = ({ buffer, count }: ObjectState): Uint8Array =>
  new Uint8Array(buffer, count * VERIFIED_BYTES, count);
