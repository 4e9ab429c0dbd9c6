/**
 * One line for each request, for people who examine the requests of a mount (-o debug): opcode, unique, inode, path and
 * name if known, the answer, microseconds, thread. It wraps a dispatcher, which knows nothing of it: a mount without it
 * pays nothing.
 */
import { printable } from '../base/bytes.ts';
import { type Errno, errnoName } from '../base/errno.ts';
import * as abi from './abi.ts';
import type { ReplyBuffer } from './reply.ts';
import type { RequestBuffer } from './request.ts';

/** The traced object: a `Dispatcher`. */
export interface TracedDispatcher {
  readonly request: RequestBuffer;
  readonly reply: ReplyBuffer;
  serve(length: number): number;
}

export interface TraceOptions {
  readonly log: (line: string) => void;
  /** Number of the thread. */
  readonly thread: number;
  /** The path of an inode; undefined if it has none. */
  readonly pathOf: (nodeid: number) => string | undefined;
  /** Milliseconds, with fractions. */
  readonly now?: () => number;
}

/** The offset of the names in the body of a request: those of fuse_lookup, fuse_getxattr_in and so on. */
const NAME_AT: Readonly<Record<number, number>> = {
  [abi.FUSE_LOOKUP]: 0,
  [abi.FUSE_UNLINK]: 0,
  [abi.FUSE_RMDIR]: 0,
  [abi.FUSE_REMOVEXATTR]: 0,
  [abi.FUSE_GETXATTR]: 8,
  [abi.FUSE_SETXATTR]: 8,
  [abi.FUSE_MKDIR]: 8,
  [abi.FUSE_MKNOD]: 16,
  [abi.FUSE_CREATE]: 16,
};

/**
 * A `serve` that traces: as Dispatcher.serve.
 * @param nameOf the name of an opcode
 */
export function traced(
  dispatcher: TracedDispatcher,
  nameOf: (opcode: number) => string,
  { log, thread, pathOf, now = () => performance.now() }: TraceOptions,
): (length: number) => number {
  return (length) => {
    const began = now();
    const replyLength = dispatcher.serve(length);
    const microseconds = Math.round((now() - began) * 1_000);
    const { request, reply } = dispatcher;
    if (request.accept(length) === undefined) {
      const asked = describeRequest(request, nameOf, pathOf);
      log(`${asked} -> ${describeReply(request.opcode, reply, replyLength)}, ${microseconds} µs, thread ${thread}`);
    }
    return replyLength;
  };
}

function describeRequest(
  request: RequestBuffer,
  nameOf: (opcode: number) => string,
  pathOf: (nodeid: number) => string | undefined,
): string {
  const { opcode, nodeid } = request;
  const unique = (BigInt(request.uniqueHigh) << 32n) | BigInt(request.uniqueLow);
  const parts = [`debug: ${nameOf(opcode)}`, `unique ${unique}`];
  if (nodeid !== 0) parts.push(`inode ${nodeid}`);
  const path = nodeid === 0 ? undefined : pathOf(nodeid);
  if (path !== undefined) parts.push(path);
  const at = NAME_AT[opcode];
  const name = at === undefined ? undefined : request.name(at);
  if (name !== undefined) parts.push(`"${printable(name)}"`);
  if (opcode === abi.FUSE_READ || opcode === abi.FUSE_READDIR || opcode === abi.FUSE_READDIRPLUS) {
    parts.push(`${request.word(4)} bytes at ${request.long(2)}`);
  }
  return parts.join(' ');
}

function describeReply(opcode: number, reply: ReplyBuffer, length: number): string {
  if (length === 0) return 'no reply';
  const error = reply.bytes.readInt32LE(4);
  if (error !== 0) return errnoName(error as Errno);
  if (opcode !== abi.FUSE_LOOKUP) return `${length - abi.OUT_HEADER_SIZE} bytes`;
  const ino = reply.bytes.readBigUInt64LE(abi.OUT_HEADER_SIZE);
  return ino === 0n ? 'no such name' : `inode ${ino}`;
}
