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
  /** The mount can be written: SETXATTR has a longer structure. */
  readonly writable?: boolean;
}

/** The offset of the first name in the body of a request: behind fuse_getxattr_in and so on. */
const NAME_AT: Readonly<Record<number, number>> = {
  [abi.FUSE_LOOKUP]: 0,
  [abi.FUSE_UNLINK]: 0,
  [abi.FUSE_RMDIR]: 0,
  [abi.FUSE_SYMLINK]: 0,
  [abi.FUSE_REMOVEXATTR]: 0,
  [abi.FUSE_GETXATTR]: 8,
  [abi.FUSE_SETXATTR]: 8,
  [abi.FUSE_MKDIR]: abi.MKDIR_IN_SIZE,
  [abi.FUSE_MKNOD]: abi.MKNOD_IN_SIZE,
  [abi.FUSE_CREATE]: abi.CREATE_IN_SIZE,
  [abi.FUSE_LINK]: abi.LINK_IN_SIZE,
  [abi.FUSE_RENAME]: abi.RENAME_IN_SIZE,
  [abi.FUSE_RENAME2]: abi.RENAME2_IN_SIZE,
};
const WRITABLE_NAME_AT = { ...NAME_AT, [abi.FUSE_SETXATTR]: abi.SETXATTR_IN_SIZE };
/** Requests with an offset and a size at the positions of fuse_read_in. */
const RANGES: ReadonlySet<number> = new Set([abi.FUSE_READ, abi.FUSE_READDIR, abi.FUSE_READDIRPLUS, abi.FUSE_WRITE]);
/** Those that are answered with an entry. */
const ENTRIES: ReadonlySet<number> = new Set([
  ...[abi.FUSE_LOOKUP, abi.FUSE_MKNOD, abi.FUSE_MKDIR, abi.FUSE_SYMLINK, abi.FUSE_LINK],
  ...[abi.FUSE_CREATE, abi.FUSE_TMPFILE],
]);

/**
 * A `serve` that traces: as Dispatcher.serve.
 * @param nameOf the name of an opcode
 */
export function traced(
  dispatcher: TracedDispatcher,
  nameOf: (opcode: number) => string,
  { log, thread, pathOf, now = () => performance.now(), writable = false }: TraceOptions,
): (length: number) => number {
  const nameAt = writable ? WRITABLE_NAME_AT : NAME_AT;
  return (length) => {
    const began = now();
    const replyLength = dispatcher.serve(length);
    const microseconds = Math.round((now() - began) * 1_000);
    const { request, reply } = dispatcher;
    if (request.accept(length) === undefined) {
      const asked = describeRequest(request, nameOf, nameAt, pathOf);
      log(`${asked} -> ${describeReply(request.opcode, reply, replyLength)}, ${microseconds} µs, thread ${thread}`);
    }
    return replyLength;
  };
}

function describeRequest(
  request: RequestBuffer,
  nameOf: (opcode: number) => string,
  nameAt: Readonly<Record<number, number>>,
  pathOf: (nodeid: number) => string | undefined,
): string {
  const { opcode, nodeid } = request;
  const unique = (BigInt(request.uniqueHigh) << 32n) | BigInt(request.uniqueLow);
  const parts = [`debug: ${nameOf(opcode)}`, `unique ${unique}`];
  if (nodeid !== 0) parts.push(`inode ${nodeid}`);
  const path = nodeid === 0 ? undefined : pathOf(nodeid);
  if (path !== undefined) parts.push(path);
  const at = nameAt[opcode];
  const name = at === undefined ? undefined : request.name(at);
  if (name !== undefined) parts.push(`"${printable(name)}"`);
  if (opcode === abi.FUSE_RENAME || opcode === abi.FUSE_RENAME2) {
    const newName = request.name((at ?? 0) + (name?.length ?? 0) + 1);
    parts.push(`to inode ${request.long(0)} "${printable(newName ?? Buffer.of())}"`);
  }
  if (RANGES.has(opcode)) parts.push(`${request.word(4)} bytes at ${request.long(2)}`);
  return parts.join(' ');
}

function describeReply(opcode: number, reply: ReplyBuffer, length: number): string {
  if (length === 0) return 'no reply';
  const error = reply.bytes.readInt32LE(4);
  if (error !== 0) return errnoName(error as Errno);
  if (!ENTRIES.has(opcode)) return `${length - abi.OUT_HEADER_SIZE} bytes`;
  const ino = reply.bytes.readBigUInt64LE(abi.OUT_HEADER_SIZE);
  return ino === 0n ? 'no such name' : `inode ${ino}`;
}
