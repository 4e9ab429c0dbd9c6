/** Cleaning up after an error. */
import type { StoreDirectory } from './store-directory.ts';

/** Deletes a file in tmp/, where it can. */
export function remove(directory: StoreDirectory, name: string): void {
  try {
    directory.unlink(name);
  } catch {
    // what went wrong before is what to report; the next writer removes it
  }
}
