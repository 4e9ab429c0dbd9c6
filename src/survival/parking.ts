/**
 * Keeps a mount's open files when the process that serves it is killed: as a message that is never received, in a
 * socket whose both ends another process holds. The next server peeks at the message, which gives it the same open
 * files, and leaves it there. The holder needs to know nothing about it: it is a shell script.
 *
 * Several processes may peek at the same time, and one may remove the message in the meantime: the kernel does each in
 * one step. So a peek returns all of the open files, or reports that nothing is there.
 *
 * A message is replaced by means of the queue of the other direction, which is empty otherwise. A message there counts
 * only if the first queue is empty. So the new one is sent there, and the removal of the old one decides, in one step.
 * Afterwards the new one is moved to the first queue, where servers of all versions look. A process that is killed
 * before the decision leaves a copy that means nothing: `lookAtReplaced` removes it.
 */

import { EAGAIN, EMFILE, isErrno } from '../base/errno.ts';
import { CfsError, reasonOf } from '../base/error.ts';
import {
  MOST_DESCRIPTORS,
  receiveDescriptors,
  SOCK_DGRAM,
  sendDescriptors,
  socketpair,
} from '../system/descriptor-passing.ts';
import { closeFd } from '../system/descriptors.ts';
import { upperFailPoints } from '../system/fail-points.ts';
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
  const data = messageOf({ value, fds });
  const pair = socketpair(SOCK_DGRAM);
  if (isErrno(pair)) throw new CfsError('system', `no socket pair: ${errnoText(pair)}`);
  const sent = sendDescriptors(pair[0], data, fds);
  if (!isErrno(sent)) return pair;
  for (const end of pair) closeFd(end);
  throw new CfsError('system', `open files cannot be kept: ${errnoText(sent)}`);
}

/** @throws CfsError (system) if it is too long */
function messageOf({ value, fds }: ParkedFiles): Uint8Array {
  const data = Buffer.from(JSON.stringify(value));
  if (data.length <= MOST_BYTES && fds.length <= MOST_DESCRIPTORS) return data;
  throw new CfsError('system', `a mount of ${fds.length} open files with ${data.length} bytes of settings is too much`);
}

const send: typeof sendDescriptors = upperFailPoints.returning('sendmsg', sendDescriptors);
const receive: typeof receiveDescriptors = upperFailPoints.returning('recvmsg', receiveDescriptors);

/**
 * Parks other files in place of those that are parked, by the one process that serves the mount. A process that looks
 * finds the old ones or the new ones, whenever this one is killed.
 * @throws CfsError (system) if the system refuses: then the old ones are still parked
 */
export function replaceParked([first, second]: readonly [number, number], files: ParkedFiles): void {
  const data = messageOf(files);
  empty(first);
  const sent = send(second, data, files.fds);
  if (isErrno(sent)) throw new CfsError('system', `open files cannot be kept: ${errnoText(sent)}`);
  // this decides
  empty(second);
  // the rest is for servers that look at the first queue only
  if (!isErrno(send(first, data, files.fds))) empty(first);
}

/** As `lookAtParked`, for the next server: whatever an earlier one has replaced, or began to. */
export function lookAtReplaced([first, second]: readonly [number, number]): ParkedFiles | undefined {
  const found = lookAtParked(second);
  if (found === undefined) return lookAtParked(first);
  empty(first);
  return found;
}

function empty(socket: number): void {
  for (;;) {
    const received = receive(socket, MOST_BYTES, { dontWait: true });
    // more open files than this process may have: the message is gone nevertheless
    if (received === EMFILE) continue;
    if (isErrno(received)) return;
    for (const fd of received.fds) closeFd(fd);
  }
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
