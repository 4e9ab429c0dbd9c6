/** Reading files that are small, or not what they should be. */
import { readSync } from 'node:fs';

/**
 * All bytes of an open file or pipe, or undefined where there are more than `limit`. Its size is not asked.
 * @throws what read(2) says
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
