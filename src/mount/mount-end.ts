/**
 * The end of a mount, as the thread that sees it first takes part in it: it lets go of all files at once, for whoever
 * unmounts may want the file system of the store, or of the image, next. The main thread may be busy at that time.
 */
import { unlinkSync } from 'node:fs';
import { DEVICE } from '../fuse/device.ts';
import { unpark } from '../survival/parking.ts';
import { letGoOfFiles } from '../system/let-go.ts';

/** Words of the shared memory: the end of the socket with the parked files; whether the leases' lists are written. */
const ENDS = 0;
const WRITTEN = 1;

export const allocateMountEnd = (): SharedArrayBuffer => new SharedArrayBuffer(8);

/** @param end the second end of the socket where the mount is parked */
export const tellParked = (memory: SharedArrayBuffer, end: number): void => {
  Atomics.store(new Int32Array(memory), ENDS, end);
};

/** From now on nothing is written that a thread must not close. */
export const tellWritten = (memory: SharedArrayBuffer): void => {
  Atomics.store(new Int32Array(memory), WRITTEN, 1);
};

/** @param leases paths of the lists that end with the mount */
export function letGoOfMount(memory: SharedArrayBuffer, leases: readonly string[]): void {
  const words = new Int32Array(memory);
  const end = Atomics.exchange(words, ENDS, 0);
  if (end > 0) unpark(end);
  if (Atomics.load(words, WRITTEN) === 0) return;
  for (const lease of leases) {
    try {
      unlinkSync(lease);
    } catch {
      // the main thread was faster, or the repository may only be read by now
    }
  }
  letGoOfFiles([DEVICE]);
}
