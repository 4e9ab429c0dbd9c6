/**
 * The end of a mount, as handled by the thread that sees it first. That thread closes all files at once: after
 * unmounting, the file system of the store or of the image is often unmounted next. The main thread may be busy at that
 * time.
 *
 * Each word has one writer, the main thread. It is stored in one step, after the event that it announces: a thread that
 * sees it sees a mount that is parked, or lists that are written. A thread that comes earlier does nothing. The main
 * thread learns of the end after it has stored the word, and then does the work itself: removing the parked mount
 * (Supervisor.dismiss) and deleting lists may be done twice. The threads exchange the word with the socket for 0, so
 * only one of them uses the number. The socket stays open as long as the process lives.
 */
import { DEVICE } from '../fuse/device.ts';
import { deleteLeaseIn } from '../store/gc/leases.ts';
import { unpark } from '../survival/parking.ts';
import { letGoOfFiles } from '../system/let-go.ts';

/** Words of the shared memory: the end of the socket with the parked files; whether the leases' lists are written. */
const ENDS = 0;
const WRITTEN = 1;

export const allocateMountEnd = (): SharedArrayBuffer => new SharedArrayBuffer(8);

/** @param end the second end of the socket with the parked mount */
export const tellParked = (memory: SharedArrayBuffer, end: number): void => {
  Atomics.store(new Int32Array(memory), ENDS, end);
};

/** The lists are written: from now on nothing is written to a file that a thread may close. */
export const tellWritten = (memory: SharedArrayBuffer): void => {
  Atomics.store(new Int32Array(memory), WRITTEN, 1);
};

/** A list in `leases/` of a repository. */
export interface LeaseFile {
  /** The repository's directory, open. */
  readonly directory: number;
  readonly name: string;
}

/** @param leases the lists that end with the mount */
export function letGoOfMount(memory: SharedArrayBuffer, leases: readonly LeaseFile[]): void {
  const words = new Int32Array(memory);
  const end = Atomics.exchange(words, ENDS, 0);
  if (end > 0) unpark(end);
  if (Atomics.load(words, WRITTEN) === 0) return;
  for (const { directory, name } of leases) {
    try {
      deleteLeaseIn(directory, name);
    } catch {
      // the main thread was faster, or the repository has become read-only
    }
  }
  letGoOfFiles([DEVICE]);
}
