/**
 * The queue of requests as a thread reads it. After an answer the next request is likely to arrive within microseconds:
 * a program that walks a tree asks again as soon as it has the answer. So a thread polls for a while before it sleeps:
 * waking a processor costs more than all other work of a request, especially in a virtual machine.
 */
import { availableParallelism } from 'node:os';
import { EAGAIN, EINTR, ENODEV, ENOENT, type Errno, isErrno } from '../base/errno.ts';
import { isReadable, setNonblocking, waitReadable } from '../system/descriptors.ts';
import { systemError } from '../system/libc.ts';
import { read, write } from '../system/reading-writing.ts';
import { OUT_HEADER_SIZE } from './abi.ts';

/**
 * Polls of an empty queue before the thread sleeps, 0.7 µs each. With one processor polling would only keep the reader
 * from running.
 */
const LOOKS = availableParallelism() > 1 ? 50 : 0;
/** A sleep that was shorter than this was not worth it: the next time the thread polls first. */
const SHORT_SLEEP_MS = 0.1;

/** Answers a request of the mount's `fd` with an error, instead of the thread that read it. */
export function sendError(fd: number, uniqueLow: number, uniqueHigh: number, error: Errno): void {
  const reply = Buffer.alloc(OUT_HEADER_SIZE);
  reply.writeUInt32LE(OUT_HEADER_SIZE, 0);
  reply.writeInt32LE(error, 4);
  reply.writeUInt32LE(uniqueLow, 8);
  reply.writeUInt32LE(uniqueHigh, 12);
  // it fails if the caller no longer waits
  write(fd, reply, reply.length);
}

/**
 * Sends an answer to a request that was read from `fd`.
 * @returns false if the caller no longer waits for it
 */
export const sendReply = (fd: number, bytes: Uint8Array, length: number): boolean => !isErrno(write(fd, bytes, length));

export class RequestQueue {
  readonly #fd: number;
  /** Whether requests come so soon after one another that polling pays. */
  #isBusy = false;

  /**
   * @param fd the mount's /dev/fuse or a clone of it, which no other thread reads if clones are available; made
   * non-blocking
   */
  constructor(fd: number) {
    this.#fd = fd;
    setNonblocking(fd);
  }

  /**
   * Waits for the next request and reads it into `buffer`.
   * @returns its length; 0 when the mount is gone
   */
  next(buffer: Uint8Array): number {
    for (let looks = this.#isBusy ? LOOKS : 0; ; ) {
      const result = read(this.#fd, buffer);
      if (!isErrno(result)) return result;
      if (result === ENODEV) return 0;
      if (result === EAGAIN) {
        if (--looks < 0) this.#sleep();
        // ENOENT: the request was interrupted before it was read
      } else if (result !== EINTR && result !== ENOENT) throw systemError(result, 'read', '/dev/fuse');
    }
  }

  /** Whether `next` would return at once. */
  get isWaiting(): boolean {
    return isReadable(this.#fd);
  }

  #sleep(): void {
    const begin = performance.now();
    waitReadable(this.#fd);
    this.#isBusy = performance.now() - begin < SHORT_SLEEP_MS;
  }

  /**
   * Sends a reply. It is dropped if the caller no longer waits for it (ENOENT), or after the end of the mount (ENODEV).
   */
  reply(bytes: Uint8Array, length: number): void {
    const result = write(this.#fd, bytes, length);
    if (isErrno(result) && result !== ENOENT && result !== ENODEV) throw systemError(result, 'write', '/dev/fuse');
  }
}
