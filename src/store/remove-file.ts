/** Cleaning up after an error. */
import { unlinkSync } from './file-calls.ts';

/** Deletes a file in tmp/, where it can. */
export function remove(path: string): void {
  try {
    unlinkSync(path);
  } catch {
    // what went wrong before is what to report; the next writer removes it
  }
}
