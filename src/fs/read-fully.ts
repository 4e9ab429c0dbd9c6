/** Reading an open object. */
import { readSync } from 'node:fs';
import { EIO, type Errno, errnoOf } from '../base/errno.ts';

/**
 * Reads `length` bytes at `offset`, which must be there. EIO for an object that has become shorter since it was opened:
 * a short read would be padded with zeros.
 */
export function readFully(fd: number, into: Uint8Array, length: number, offset: number): number | Errno {
  try {
    for (let done = 0; done < length; ) {
      const n = readSync(fd, into, done, length - done, offset + done);
      if (n === 0) return EIO;
      done += n;
    }
    return length;
  } catch (error) {
    return errnoOf(error) ?? EIO;
  }
}
