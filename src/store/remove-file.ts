/** Cleaning up after an error. */
import type { StoreDirectory } from './store-directory.ts';

/** Deletes a file in tmp/, if possible. */
export function remove(directory: StoreDirectory, name: string): void {
  try {
    directory.unlink(name);
  } catch {
    // the earlier error is reported; the next writer removes the file
  }
}
