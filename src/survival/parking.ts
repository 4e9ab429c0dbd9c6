/**
 * Keeps a mount's open files when the process that serves it is killed: as a message that is never received, in a
 * socket whose both ends another process holds. The next server peeks at the message, which gives it the same open
 * files, and leaves it there. The holder needs to know nothing about it: it is a shell script.
 *
 * Several processes may peek at the same time, and one may remove the message in the meantime: the kernel does each in
 * one step. So a peek returns all of the open files, or reports that nothing is there.
 */

import { EAGAIN, isErrno } from '../base/errno.ts';
import { CfsError, reasonOf } from '../base/error.ts';
import {
  MOST_DESCRIPTORS,
  receiveDescriptors,
  SOCK_DGRAM,
  sendDescriptors,
  socketpair,
} from '../system/descriptor-passing.ts';
import { closeFd } from '../system/descriptors.ts';
import { errnoText } from '../system/libc.ts';

/** Open files, and their description as one JSON value, in which they are indexes. */
export interface ParkedFiles {
  readonly value: unknown;
  readonly fds: readonly number[];
}

/** Below the socket's default buffer (net.core.wmem_default, 208 KiB). */
const MOST_BYTES = 150_000;

/**
 * Parks open files in a new pair of sockets.
 * @returns both ends: the files stay open until all copies of both are closed
 * @throws CfsError (system) if there are too many, or the system refuses
 */
export function park({ value, fds }: ParkedFiles): readonly [number, number] {
  const data = Buffer.from(JSON.stringify(value));
  if (data.length > MOST_BYTES || fds.length > MOST_DESCRIPTORS) {
    throw new CfsError(
      'system',
      `a mount of ${fds.length} open files with ${data.length} bytes of settings is too much`,
    );
  }
  const pair = socketpair(SOCK_DGRAM);
  if (isErrno(pair)) throw new CfsError('system', `no socket pair: ${errnoText(pair)}`);
  const sent = sendDescriptors(pair[0], data, fds);
  if (!isErrno(sent)) return pair;
  for (const end of pair) closeFd(end);
  throw new CfsError('system', `open files cannot be kept: ${errnoText(sent)}`);
}

/**
 * Discards the message at `socket`, the second end: then it keeps nothing open any more, in any process that has the
 * ends.
 */
export function unpark(socket: number): void {
  const received = receiveDescriptors(socket, MOST_BYTES, { dontWait: true });
  if (!isErrno(received)) for (const fd of received.fds) closeFd(fd);
}

/** New descriptors of the files parked at `socket`, the second end; undefined if there are none. */
export function lookAtParked(socket: number): ParkedFiles | undefined {
  const received = receiveDescriptors(socket, MOST_BYTES, { peek: true, dontWait: true });
  if (received === EAGAIN) return undefined;
  if (isErrno(received)) throw new CfsError('system', `the mount's open files are missing: ${errnoText(received)}`);
  const { data, fds } = received;
  try {
    return { value: JSON.parse(Buffer.from(data).toString()) as unknown, fds };
  } catch (error) {
    for (const fd of fds) closeFd(fd);
    throw new CfsError('system', `the mount's open files are missing: ${reasonOf(error)}`, { cause: error });
  }
}
