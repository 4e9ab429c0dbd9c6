/** The rows of a mount that is read-only. The only I/O here is that of the file system itself. */

import { EINVAL, EIO, ENOENT, ENOSYS, EROFS, type Errno, isErrno } from '../base/errno.ts';
import type { Log } from '../base/log.ts';
import { O_ACCMODE, O_RDONLY } from '../base/open-flags.ts';
import { type Attributes, emptyAttributes, type Filesystem } from '../fs/filesystem.ts';
import * as abi from './abi.ts';
import {
  type Answer,
  Dispatcher,
  NO_WAITING,
  type RequestCounters,
  type RequestServer,
  type Rows,
  type Waiting,
} from './dispatcher.ts';
import type { Opened, OpenFiles } from './open-files.ts';
import * as reading from './reading-rows.ts';
import { ReplyBuffer } from './reply.ts';
import { RequestBuffer } from './request.ts';

interface ImageContext extends reading.ReadingContext<Attributes> {
  readonly fs: Filesystem;
  readonly openFiles: OpenFiles;
}

/** Serves requests from `fs`. One per thread. */
export function imageDispatcher(
  fs: Filesystem,
  openFiles: OpenFiles,
  log: Log,
  waiting: Waiting = NO_WAITING,
  counters?: RequestCounters,
): RequestServer {
  const context: ImageContext = {
    fs,
    openFiles,
    request: new RequestBuffer(abi.REQUEST_BUFFER_SIZE),
    reply: new ReplyBuffer(abi.REPLY_BUFFER_SIZE),
    attributes: emptyAttributes(),
    waiting,
  };
  return new Dispatcher(ROWS, context, log, counters);
}

/** fuse_open_in: flags, open_flags */
function open(d: ImageContext): Answer {
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

function openSlowly(d: ImageContext, slot: number): Opened | Errno {
  d.waiting.beforeWork(d.fs.sizeOf(slot));
  return d.openFiles.open(slot);
}

function undoOpen(d: ImageContext): void {
  const [low, high] = d.reply.openedHandle;
  d.openFiles.release(low, high);
}

/** fuse_read_in: fh, offset, size, … */
function read(d: ImageContext): Answer {
  const { request, reply } = d;
  const size = Math.min(request.word(4), reply.capacity);
  d.waiting.begin(request);
  d.waiting.beforeWork(size);
  return d.openFiles.read(request.nodeid, request.word(0), request.long(2), reply.payload(size));
}

/** fuse_release_in: fh, … */
function release(d: ImageContext): Answer {
  const { request } = d;
  d.openFiles.release(request.word(0), request.word(1), request.isResent);
  return 0;
}

/** fuse_read_in, as for READ: offset is a cookie of `Filesystem.readdir`. */
function readEntries(d: ImageContext, plus: boolean): Answer {
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

const readOnly = (): Answer => EROFS;

/**
 * ENOSYS has a special meaning for some opcodes. For OPENDIR the kernel then caches directories and opens them without
 * asking (fs/fuse/dir.c, fuse_dir_open), for ACCESS the check is left to default_permissions, and for LSEEK of an image
 * without holes the kernel then seeks by itself.
 */
const ROWS: Rows<ImageContext> = {
  [abi.FUSE_LOOKUP]: { name: 'LOOKUP', answer: reading.lookup },
  [abi.FUSE_FORGET]: { name: 'FORGET', answer: reading.noReply },
  [abi.FUSE_BATCH_FORGET]: { name: 'BATCH_FORGET', answer: reading.noReply },
  [abi.FUSE_GETATTR]: { name: 'GETATTR', answer: reading.getattr },
  [abi.FUSE_STATX]: { name: 'STATX', answer: reading.statx },
  [abi.FUSE_READLINK]: { name: 'READLINK', answer: reading.readlink },
  [abi.FUSE_OPEN]: { name: 'OPEN', answer: open, undo: undoOpen },
  [abi.FUSE_READ]: { name: 'READ', answer: read },
  [abi.FUSE_RELEASE]: { name: 'RELEASE', answer: release },
  [abi.FUSE_READDIR]: { name: 'READDIR', answer: (d) => readEntries(d, false) },
  [abi.FUSE_READDIRPLUS]: { name: 'READDIRPLUS', answer: (d) => readEntries(d, true) },
  [abi.FUSE_STATFS]: { name: 'STATFS', answer: reading.statfs },
  [abi.FUSE_GETXATTR]: { name: 'GETXATTR', answer: reading.getxattr },
  [abi.FUSE_LISTXATTR]: { name: 'LISTXATTR', answer: reading.listxattr },
  [abi.FUSE_DESTROY]: { name: 'DESTROY', answer: reading.done },
  [abi.FUSE_SYNCFS]: { name: 'SYNCFS', answer: reading.done },
  [abi.FUSE_FSYNC]: { name: 'FSYNC', answer: reading.done },
  [abi.FUSE_FSYNCDIR]: { name: 'FSYNCDIR', answer: reading.done },
  [abi.FUSE_INTERRUPT]: { name: 'INTERRUPT', answer: reading.interrupt },
  [abi.FUSE_FLUSH]: { name: 'FLUSH', answer: reading.notImplemented },
  [abi.FUSE_OPENDIR]: { name: 'OPENDIR', answer: reading.notImplemented },
  [abi.FUSE_RELEASEDIR]: { name: 'RELEASEDIR', answer: reading.done },
  [abi.FUSE_ACCESS]: { name: 'ACCESS', answer: reading.notImplemented },
  [abi.FUSE_LSEEK]: { name: 'LSEEK', answer: reading.seek },
  [abi.FUSE_POLL]: { name: 'POLL', answer: reading.notImplemented },
  [abi.FUSE_IOCTL]: { name: 'IOCTL', answer: reading.ioctl },
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
  [abi.FUSE_COPY_FILE_RANGE_64]: { name: 'COPY_FILE_RANGE_64', answer: readOnly },
  [abi.FUSE_INIT]: { name: 'INIT', answer: () => EIO },
};
