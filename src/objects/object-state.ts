/** Shared memory in which the threads of a mount keep what they know of its objects. */
import { VERIFIED_BYTES } from './verified-files.ts';

/** What the threads of a mount know of its objects together. */
export interface ObjectState {
  readonly buffer: SharedArrayBuffer;
  readonly count: number;
}

/** Fresh state for `count` objects: 17 bytes each, of which untouched pages cost no memory. */
export function allocateObjectState(count: number): ObjectState {
  return { buffer: new SharedArrayBuffer(count * (VERIFIED_BYTES + 1)), count };
}

/** What was said in the log of each object, for `ProblemLog`. */
export const saidOf = ({ buffer, count }: ObjectState): Uint8Array =>
  new Uint8Array(buffer, count * VERIFIED_BYTES, count);
