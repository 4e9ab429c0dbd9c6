/** The rows of a writable mount. The only I/O here is that of the file system itself. */

import { EIO } from '../base/errno.ts';
import type { Log } from '../base/log.ts';
import { emptyWritableAttributes, type WritableFilesystem } from '../fs/writable-filesystem.ts';
import * as abi from './abi.ts';
import * as content from './content-rows.ts';
import {
  Dispatcher,
  NO_REPLY,
  NO_WAITING,
  type RequestCounters,
  type RequestServer,
  type Rows,
  type Waiting,
} from './dispatcher.ts';
import * as names from './name-rows.ts';
import * as reading from './reading-rows.ts';
import { WritableReply } from './reply-writable.ts';
import { RequestBuffer } from './request.ts';
import { type IntentLog, RequestWriter, type WritableContext } from './writable-context.ts';
import type { WritableOpenFiles } from './writable-open-files.ts';

/** Serves requests from `fs`, of which INIT was answered as `init.ts` does for a writable mount. One per thread. */
export function writableDispatcher(
  fs: WritableFilesystem,
  openFiles: WritableOpenFiles,
  intents: IntentLog,
  log: Log,
  waiting: Waiting = NO_WAITING,
  counters?: RequestCounters,
): RequestServer {
  const request = new RequestBuffer(abi.LARGE_REQUEST_BUFFER_SIZE);
  const context: WritableContext = {
    fs,
    openFiles,
    request,
    reply: new WritableReply(abi.REPLY_BUFFER_SIZE),
    attributes: emptyWritableAttributes(),
    writer: new RequestWriter(request, intents),
    waiting,
  };
  return new Dispatcher(ROWS, context, log, counters);
}

const withoutReply =
  (work: (d: WritableContext) => void) =>
  (d: WritableContext): typeof NO_REPLY => {
    work(d);
    return NO_REPLY;
  };

const { undoEntry } = names;

/**
 * For the meaning of ENOSYS see dispatch.ts. FLUSH is not needed, because a write is complete when it is answered.
 * Entries of READDIRPLUS are counted, and not undone: only requests that notified `waiting` may go unanswered.
 */
const ROWS: Rows<WritableContext> = {
  [abi.FUSE_LOOKUP]: { name: 'LOOKUP', answer: reading.lookup, undo: undoEntry },
  [abi.FUSE_FORGET]: { name: 'FORGET', answer: withoutReply(names.forget) },
  [abi.FUSE_BATCH_FORGET]: { name: 'BATCH_FORGET', answer: withoutReply(names.batchForget) },
  [abi.FUSE_GETATTR]: { name: 'GETATTR', answer: reading.getattr },
  [abi.FUSE_STATX]: { name: 'STATX', answer: reading.statx },
  [abi.FUSE_SETATTR]: { name: 'SETATTR', answer: content.setattr },
  [abi.FUSE_READLINK]: { name: 'READLINK', answer: reading.readlink },
  [abi.FUSE_SYMLINK]: { name: 'SYMLINK', answer: names.symlink, undo: undoEntry },
  [abi.FUSE_MKNOD]: { name: 'MKNOD', answer: names.mknod, undo: undoEntry },
  [abi.FUSE_MKDIR]: { name: 'MKDIR', answer: names.mkdir, undo: undoEntry },
  [abi.FUSE_UNLINK]: { name: 'UNLINK', answer: names.unlink },
  [abi.FUSE_RMDIR]: { name: 'RMDIR', answer: names.rmdir },
  [abi.FUSE_RENAME]: { name: 'RENAME', answer: names.rename },
  [abi.FUSE_RENAME2]: { name: 'RENAME2', answer: names.rename2 },
  [abi.FUSE_LINK]: { name: 'LINK', answer: names.link, undo: undoEntry },
  [abi.FUSE_OPEN]: { name: 'OPEN', answer: content.open, undo: content.undoOpen },
  [abi.FUSE_CREATE]: { name: 'CREATE', answer: content.create, undo: content.undoCreated },
  [abi.FUSE_TMPFILE]: { name: 'TMPFILE', answer: content.tmpfile, undo: content.undoCreated },
  [abi.FUSE_READ]: { name: 'READ', answer: content.read },
  [abi.FUSE_WRITE]: { name: 'WRITE', answer: content.write },
  [abi.FUSE_RELEASE]: { name: 'RELEASE', answer: content.release },
  [abi.FUSE_LSEEK]: { name: 'LSEEK', answer: reading.seek },
  [abi.FUSE_FALLOCATE]: { name: 'FALLOCATE', answer: content.fallocate },
  [abi.FUSE_COPY_FILE_RANGE]: { name: 'COPY_FILE_RANGE', answer: content.copyRange },
  [abi.FUSE_COPY_FILE_RANGE_64]: { name: 'COPY_FILE_RANGE_64', answer: content.copyRange64 },
  [abi.FUSE_FSYNC]: { name: 'FSYNC', answer: content.fsync },
  [abi.FUSE_FSYNCDIR]: { name: 'FSYNCDIR', answer: content.fsync },
  [abi.FUSE_SYNCFS]: { name: 'SYNCFS', answer: content.syncfs },
  [abi.FUSE_FLUSH]: { name: 'FLUSH', answer: reading.notImplemented },
  [abi.FUSE_OPENDIR]: { name: 'OPENDIR', answer: reading.notImplemented },
  [abi.FUSE_READDIR]: { name: 'READDIR', answer: (d) => names.readEntries(d, false) },
  [abi.FUSE_READDIRPLUS]: { name: 'READDIRPLUS', answer: (d) => names.readEntries(d, true) },
  [abi.FUSE_RELEASEDIR]: { name: 'RELEASEDIR', answer: content.releaseDirectory },
  [abi.FUSE_GETXATTR]: { name: 'GETXATTR', answer: reading.getxattr },
  [abi.FUSE_LISTXATTR]: { name: 'LISTXATTR', answer: reading.listxattr },
  [abi.FUSE_SETXATTR]: { name: 'SETXATTR', answer: content.setxattr },
  [abi.FUSE_REMOVEXATTR]: { name: 'REMOVEXATTR', answer: content.removexattr },
  [abi.FUSE_IOCTL]: { name: 'IOCTL', answer: reading.ioctl },
  [abi.FUSE_POLL]: { name: 'POLL', answer: reading.notImplemented },
  [abi.FUSE_ACCESS]: { name: 'ACCESS', answer: reading.notImplemented },
  [abi.FUSE_STATFS]: { name: 'STATFS', answer: reading.statfs },
  [abi.FUSE_INTERRUPT]: { name: 'INTERRUPT', answer: reading.interrupt },
  [abi.FUSE_DESTROY]: { name: 'DESTROY', answer: reading.done },
  [abi.FUSE_INIT]: { name: 'INIT', answer: () => EIO },
};
