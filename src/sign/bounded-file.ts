/** Reading files that should be small, without trusting their size. */
import { readSync } from 'node:fs';

/**
 * All bytes of an open file or pipe, or undefined if there are more than `limit`. Its size is not queried.
 * @throws the error of read(2)
 */
export function readAtMost(fd: number, limit: number): Uint8Array | undefined {
  const buffer = Buffer.alloc(limit + 1);
  let length = 0;
  while (length < buffer.length) {
    const read = readSync(fd, buffer, length, buffer.length - length, null);
    if (read === 0) return buffer.subarray(0, length);
    length += read;
  }
  return undefined;
}
