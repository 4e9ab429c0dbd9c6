/**
 * One row per opcode: its name, and its handler. A request goes in as bytes and comes out as the bytes of its reply;
 * the only I/O here is that of the file system itself.
 */
import { EINVAL, EIO, ENOENT, ENOSYS, ERANGE, EROFS, type Errno, isErrno } from '../base/errno.ts';
import { type Attributes, emptyAttributes, type Filesystem } from '../fs/filesystem.ts';
import * as abi from './abi.ts';
import type { Opened, OpenFiles } from './open-files.ts';
import { ReplyBuffer } from './reply.ts';
import { RequestBuffer } from './request.ts';

/** In place of a payload length: the kernel expects no reply at all. */
const NO_REPLY = Symbol('no reply');
type Answer = number | Errno | typeof NO_REPLY;

interface Row {
  readonly name: string;
  readonly answer: (dispatcher: Dispatcher) => Answer;
}

const O_ACCMODE = 3;
const O_RDONLY = 0;

/** Notifications about requests that may have to wait. */
export interface Waiting {
  /** Called before an answer that accesses a repository. */
  begin(request: RequestBuffer): void;
  /**
   * Called before reading and hashing much, about `bytes`, or waiting for a disk: time for another thread to take over.
   */
  beforeWork(bytes: number): void;
  /** The kernel reports a signal for the caller that waits for the request with this `unique`. */
  interrupt(uniqueLow: number, uniqueHigh: number): void;
}

/** Counts requests and their results. */
export interface RequestCounters {
  request(opcode: number): void;
  error(errno: Errno): void;
  bytesRead(bytes: number): void;
}

const NO_WAITING: Waiting = {
  begin: () => undefined,
  beforeWork: () => undefined,
  interrupt: () => undefined,
};

/** Serves requests one after another. One per thread. */
export class Dispatcher {
  readonly fs: Filesystem;
  readonly openFiles: OpenFiles;
  readonly request: RequestBuffer;
  readonly reply: ReplyBuffer;
  readonly attributes: Attributes = emptyAttributes();
  readonly waiting: Waiting;
  readonly #log: (line: string) => void;
  readonly #counters: RequestCounters | undefined;
  /** The last reply opened a file. */
  #hasOpened = false;

  constructor(
    fs: Filesystem,
    openFiles: OpenFiles,
    log: (line: string) => void,
    waiting: Waiting = NO_WAITING,
    counters?: RequestCounters,
  ) {
    this.#counters = counters;
    this.waiting = waiting;
    this.fs = fs;
    this.openFiles = openFiles;
    this.request = new RequestBuffer(abi.REQUEST_BUFFER_SIZE);
    this.reply = new ReplyBuffer(abi.REPLY_BUFFER_SIZE);
    this.#log = log;
  }

  /**
   * Answers the request whose `length` bytes were read into `request.bytes`.
   * @returns the length of the reply in `reply.bytes`; 0 if none is to be sent
   */
  serve(length: number): number {
    const { request, reply } = this;
    const malformed = request.accept(length);
    if (malformed !== undefined) {
      this.#log(`ignored bytes that are not a FUSE request: ${malformed}`);
      return 0;
    }
    const row = ROWS[request.opcode];
    this.#counters?.request(request.opcode);
    let answer: Answer;
    try {
      answer = row === undefined ? ENOSYS : row.answer(this);
    } catch (error) {
      this.#log(`${row?.name ?? request.opcode} of inode ${request.nodeid} failed, EIO: ${describe(error)}`);
      answer = EIO;
    }
    if (answer === NO_REPLY) return 0;
    this.#hasOpened = answer === abi.OPEN_OUT_SIZE && request.opcode === abi.FUSE_OPEN;
    if (isErrno(answer)) this.#counters?.error(answer);
    else if (request.opcode === abi.FUSE_READ) this.#counters?.bytesRead(answer);
    if (isErrno(answer)) return reply.header(request.uniqueLow, request.uniqueHigh, 0, answer);
    return reply.header(request.uniqueLow, request.uniqueHigh, answer, 0);
  }

  /** Undoes the effects of the last reply, because it is not sent. */
  abandon(): void {
    if (!this.#hasOpened) return;
    const [low, high] = this.reply.openedHandle;
    this.openFiles.release(low, high);
  }
}

/** The place of a bug belongs in the log: it cannot be determined later. */
const describe = (error: unknown): string =>
  error instanceof Error ? (error.stack ?? error.message).replaceAll('\n', ' |') : String(error);

function lookup(d: Dispatcher): Answer {
  const name = d.request.name(0);
  if (name === undefined) return EINVAL;
  const result = d.fs.lookup(d.request.nodeid, name, d.attributes);
  // "not found" is worth remembering too: nothing can appear in an image
  if (result === ENOENT) return d.reply.negativeEntry();
  return isErrno(result) ? result : d.reply.entry(d.attributes);
}

function getattr(d: Dispatcher): Answer {
  const result = d.fs.getattr(d.request.nodeid, d.attributes);
  return isErrno(result) ? result : d.reply.attr(d.attributes);
}

function statx(d: Dispatcher): Answer {
  const result = d.fs.getattr(d.request.nodeid, d.attributes);
  return isErrno(result) ? result : d.reply.statx(d.attributes);
}

function readlink(d: Dispatcher): Answer {
  const target = d.fs.readlink(d.request.nodeid);
  return isErrno(target) ? target : d.reply.data(target);
}

/** fuse_open_in: flags, open_flags */
function open(d: Dispatcher): Answer {
  if ((d.request.word(0) & O_ACCMODE) !== O_RDONLY) return EROFS;
  // the kernel then opens every file by itself and keeps its pages (fs/fuse/file.c, fuse_file_open)
  if (d.fs.features.openless) return ENOSYS;
  const slot = d.fs.slotOf(d.request.nodeid);
  if (slot < 0) return ENOENT;
  d.waiting.begin(d.request);
  const opened = d.openFiles.reopen(slot) ?? openSlowly(d, slot);
  if (isErrno(opened)) return opened;
  return d.reply.open(opened.low, opened.high, opened.flags, opened.backingId);
}

function openSlowly(d: Dispatcher, slot: number): Opened | Errno {
  d.waiting.beforeWork(d.fs.sizeOf(slot));
  return d.openFiles.open(slot);
}

/** fuse_read_in: fh, offset, size, … */
function read(d: Dispatcher): Answer {
  const { request, reply } = d;
  const size = Math.min(request.word(4), reply.capacity);
  d.waiting.begin(request);
  d.waiting.beforeWork(size);
  return d.openFiles.read(request.nodeid, request.word(0), request.long(2), reply.payload(size));
}

/** fuse_lseek_in: fh, offset, whence; the kernel itself handles everything but data and holes */
function seek(d: Dispatcher): Answer {
  const whence = d.request.word(4);
  if (whence !== SEEK_DATA && whence !== SEEK_HOLE) return EINVAL;
  const found = d.fs.seek(d.request.nodeid, d.request.long(2), whence === SEEK_HOLE);
  return isErrno(found) ? found : d.reply.seek(found);
}
const SEEK_DATA = 3;
const SEEK_HOLE = 4;

/** fuse_release_in: fh, … */
function release(d: Dispatcher): Answer {
  const { request } = d;
  d.openFiles.release(request.word(0), request.word(1), request.isResent);
  return 0;
}

/** fuse_read_in, as for READ: offset is a cookie of `Filesystem.readdir`. */
function readEntries(d: Dispatcher, plus: boolean): Answer {
  const { request, reply, attributes } = d;
  const limit = Math.min(request.word(4), reply.capacity);
  let length = 0;
  let full = false;
  const result = d.fs.readdir(request.nodeid, request.long(2), attributes, (name, next) => {
    const end = reply.dirent(length, limit, name, next, attributes, plus);
    full = end < 0;
    if (!full) length = end;
    return !full;
  });
  if (isErrno(result)) return result;
  // an empty reply would mean the end of the directory
  return full && length === 0 ? EINVAL : length;
}

/** fuse_getxattr_in (size, padding), then the name */
function getxattr(d: Dispatcher): Answer {
  const name = d.request.name(8);
  if (name === undefined) return EINVAL;
  // private ones access repositories
  d.waiting.begin(d.request);
  return xattrAnswer(d, d.fs.getxattr(d.request.nodeid, name, d.request));
}

function listxattr(d: Dispatcher): Answer {
  return xattrAnswer(d, d.fs.listxattr(d.request.nodeid, d.request));
}

/** Size 0 queries the length of the value. */
function xattrAnswer(d: Dispatcher, value: Uint8Array | Errno): Answer {
  if (isErrno(value)) return value;
  const room = d.request.word(0);
  if (room === 0) return d.reply.xattrSize(value.length);
  return value.length > room ? ERANGE : d.reply.data(value);
}

/** fuse_ioctl_in (fh, flags, cmd, arg, in_size, out_size), then in_size bytes */
function ioctl(d: Dispatcher): Answer {
  const { request, reply } = d;
  d.waiting.begin(request);
  const input = request.bytesAt(IOCTL_IN_SIZE, request.word(6));
  if (input === undefined) return EINVAL;
  const result = d.fs.ioctl(request.nodeid, request.word(3), input, request.word(7), request);
  return isErrno(result) ? result : reply.ioctl(result);
}
const IOCTL_IN_SIZE = 32;

/** fuse_interrupt_in: unique. It has no reply of its own. */
function interrupt(d: Dispatcher): Answer {
  d.waiting.interrupt(d.request.word(0), d.request.word(1));
  return NO_REPLY;
}

const statfs = (d: Dispatcher): Answer => d.reply.statfs(d.fs.statfs());
const noReply = (): Answer => NO_REPLY;
const done = (): Answer => 0;
const readOnly = (): Answer => EROFS;
/** The kernel remembers that this is not implemented, and does without it. */
const notImplemented = (): Answer => ENOSYS;

/**
 * ENOSYS has a special meaning for some opcodes. For OPENDIR the kernel then caches directories and opens them without
 * asking (fs/fuse/dir.c, fuse_dir_open), for ACCESS the check is left to default_permissions, and for LSEEK of an image
 * without holes the kernel then seeks by itself.
 */
const ROWS: Readonly<Record<number, Row>> = {
  [abi.FUSE_LOOKUP]: { name: 'LOOKUP', answer: lookup },
  [abi.FUSE_FORGET]: { name: 'FORGET', answer: noReply },
  [abi.FUSE_BATCH_FORGET]: { name: 'BATCH_FORGET', answer: noReply },
  [abi.FUSE_GETATTR]: { name: 'GETATTR', answer: getattr },
  [abi.FUSE_STATX]: { name: 'STATX', answer: statx },
  [abi.FUSE_READLINK]: { name: 'READLINK', answer: readlink },
  [abi.FUSE_OPEN]: { name: 'OPEN', answer: open },
  [abi.FUSE_READ]: { name: 'READ', answer: read },
  [abi.FUSE_RELEASE]: { name: 'RELEASE', answer: release },
  [abi.FUSE_READDIR]: { name: 'READDIR', answer: (d) => readEntries(d, false) },
  [abi.FUSE_READDIRPLUS]: { name: 'READDIRPLUS', answer: (d) => readEntries(d, true) },
  [abi.FUSE_STATFS]: { name: 'STATFS', answer: statfs },
  [abi.FUSE_GETXATTR]: { name: 'GETXATTR', answer: getxattr },
  [abi.FUSE_LISTXATTR]: { name: 'LISTXATTR', answer: listxattr },
  [abi.FUSE_DESTROY]: { name: 'DESTROY', answer: done },
  [abi.FUSE_SYNCFS]: { name: 'SYNCFS', answer: done },
  [abi.FUSE_FSYNC]: { name: 'FSYNC', answer: done },
  [abi.FUSE_FSYNCDIR]: { name: 'FSYNCDIR', answer: done },
  [abi.FUSE_INTERRUPT]: { name: 'INTERRUPT', answer: interrupt },
  [abi.FUSE_FLUSH]: { name: 'FLUSH', answer: notImplemented },
  [abi.FUSE_OPENDIR]: { name: 'OPENDIR', answer: notImplemented },
  [abi.FUSE_RELEASEDIR]: { name: 'RELEASEDIR', answer: done },
  [abi.FUSE_ACCESS]: { name: 'ACCESS', answer: notImplemented },
  [abi.FUSE_LSEEK]: { name: 'LSEEK', answer: seek },
  [abi.FUSE_POLL]: { name: 'POLL', answer: notImplemented },
  [abi.FUSE_IOCTL]: { name: 'IOCTL', answer: ioctl },
  [abi.FUSE_SETATTR]: { name: 'SETATTR', answer: readOnly },
  [abi.FUSE_SYMLINK]: { name: 'SYMLINK', answer: readOnly },
  [abi.FUSE_MKNOD]: { name: 'MKNOD', answer: readOnly },
  [abi.FUSE_MKDIR]: { name: 'MKDIR', answer: readOnly },
  [abi.FUSE_UNLINK]: { name: 'UNLINK', answer: readOnly },
  [abi.FUSE_RMDIR]: { name: 'RMDIR', answer: readOnly },
  [abi.FUSE_RENAME]: { name: 'RENAME', answer: readOnly },
  [abi.FUSE_RENAME2]: { name: 'RENAME2', answer: readOnly },
  [abi.FUSE_LINK]: { name: 'LINK', answer: readOnly },
  [abi.FUSE_WRITE]: { name: 'WRITE', answer: readOnly },
  [abi.FUSE_SETXATTR]: { name: 'SETXATTR', answer: readOnly },
  [abi.FUSE_REMOVEXATTR]: { name: 'REMOVEXATTR', answer: readOnly },
  [abi.FUSE_CREATE]: { name: 'CREATE', answer: readOnly },
  [abi.FUSE_TMPFILE]: { name: 'TMPFILE', answer: readOnly },
  [abi.FUSE_FALLOCATE]: { name: 'FALLOCATE', answer: readOnly },
  [abi.FUSE_COPY_FILE_RANGE]: { name: 'COPY_FILE_RANGE', answer: readOnly },
  [abi.FUSE_INIT]: { name: 'INIT', answer: () => EIO },
};
