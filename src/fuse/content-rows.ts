/**
 * Answers to requests for the data of files: content, attributes, extended attributes. Their structures are those of
 * include/uapi/linux/fuse.h. Rows that may take long let another thread have the next request.
 */
import { EEXIST, EFBIG, EINVAL, type Errno, isErrno } from '../base/errno.ts';
import { O_ACCMODE, O_DSYNC, O_EXCL, O_RDONLY, O_TRUNC } from '../base/open-flags.ts';
import { PERMISSIONS, S_IFMT, S_IFREG, S_ISGID } from '../base/stat-bits.ts';
import type { Changes, NewTime, OpenedContent } from '../fs/writable-filesystem.ts';
import * as abi from './abi.ts';
import type { Answer } from './dispatcher.ts';
import type { Opened } from './open-files.ts';
import type { RequestBuffer } from './request.ts';
import { openReply, type WritableContext } from './writable-context.ts';

/** Writing back may take long. */
const MUCH = Number.MAX_SAFE_INTEGER;

/** Beyond the exact range of a number; no file system has such files. */
const isTooFar = (offset: number): boolean => offset > Number.MAX_SAFE_INTEGER;

/** For requests that may wait for a disk or a repository, about `bytes`. */
function startWork(d: WritableContext, bytes: number): void {
  d.waiting.begin(d.request);
  d.waiting.beforeWork(bytes);
}

/** fuse_open_in: flags, open_flags */
export function open(d: WritableContext): Answer {
  const { request } = d;
  if (request.bodyLength < abi.OPEN_IN_SIZE) return EINVAL;
  const flags = request.word(0);
  const isQuick = d.fs.opensAtOnce(request.nodeid, flags);
  if (!isQuick) d.waiting.begin(request);
  const isReading = (flags & (O_ACCMODE | O_TRUNC)) === O_RDONLY;
  const known = isReading ? d.openFiles.reopen(request.nodeid) : undefined;
  if (known !== undefined) return openReply(d, known);
  if (!isQuick) d.waiting.beforeWork(0);
  const opened = openContent(d, request.nodeid, flags, request.word(1));
  return isErrno(opened) ? opened : openReply(d, opened);
}

function openContent(d: WritableContext, ino: number, flags: number, openFlags: number): Opened | Errno {
  const isPrivilegeLost = (openFlags & abi.OPEN_KILL_SUIDGID) !== 0;
  const content = d.fs.open(ino, flags, isPrivilegeLost, d.writer.repeatable());
  return isErrno(content) ? content : count(d, ino, content);
}

function count(d: WritableContext, ino: number, content: OpenedContent): Opened | Errno {
  try {
    return d.openFiles.add(ino, content.fd);
  } finally {
    d.fs.closeContent(content);
  }
}

export function undoOpen(d: WritableContext): void {
  if (d.openFiles.release(d.request.nodeid)) d.fs.closed(d.request.nodeid);
}

/** fuse_release_in: fh, flags, release_flags, lock_owner. The inode alone identifies the open file. */
export function release(d: WritableContext): Answer {
  const { nodeid, isResent } = d.request;
  if (d.openFiles.release(nodeid, isResent)) d.fs.closed(nodeid);
  return 0;
}

/** fuse_create_in (flags, mode, umask, open_flags), then the name */
export function create(d: WritableContext): Answer {
  const { request, attributes, writer } = d;
  const name = request.entryName(abi.CREATE_IN_SIZE);
  if (name === undefined) return EINVAL;
  const parent = request.nodeid;
  const flags = request.word(0);
  const mode = request.word(1) & PERMISSIONS;
  const content = d.fs.create(parent, name, mode, flags, writer.begin(request.word(2)), attributes);
  if (content === EEXIST && (flags & O_EXCL) === 0) return openExisting(d, parent, name, flags);
  if (isErrno(content)) return content;
  const opened = count(d, attributes.ino, content);
  if (!isErrno(opened)) return d.reply.created(attributes, opened);
  // a caller that gets an error tries again, perhaps with O_EXCL
  d.fs.unlink(parent, name, writer);
  d.fs.forget(attributes.ino, 1);
  return opened;
}

/** The kernel has not seen the name, and requests a new file, or the existing one. */
function openExisting(d: WritableContext, parent: number, name: Uint8Array, flags: number): Answer {
  const { attributes } = d;
  const found = d.fs.lookup(parent, name, attributes);
  if (isErrno(found)) return found;
  const { ino, mode } = attributes;
  const opened = (mode & S_IFMT) === S_IFREG ? openContent(d, ino, flags, d.request.word(3)) : EEXIST;
  // O_TRUNC has changed them
  const now = isErrno(opened) ? opened : d.fs.getattr(ino, attributes);
  if (!isErrno(opened) && !isErrno(now)) return d.reply.created(attributes, opened);
  if (!isErrno(opened) && d.openFiles.release(ino)) d.fs.closed(ino);
  d.fs.forget(ino, 1);
  return now as Errno;
}

/** fuse_create_in, then a name that means nothing */
export function tmpfile(d: WritableContext): Answer {
  const { request, attributes } = d;
  if (request.bodyLength < abi.CREATE_IN_SIZE) return EINVAL;
  const writer = d.writer.begin(request.word(2));
  const content = d.fs.tmpfile(request.nodeid, request.word(1) & PERMISSIONS, writer, attributes);
  if (isErrno(content)) return content;
  const opened = count(d, attributes.ino, content);
  if (!isErrno(opened)) return d.reply.created(attributes, opened);
  d.fs.forget(attributes.ino, 1);
  return opened;
}

/** Of CREATE and TMPFILE. */
export function undoCreated(d: WritableContext): void {
  const ino = d.reply.entryNodeid;
  if (d.openFiles.release(ino)) d.fs.closed(ino);
  d.fs.forget(ino, 1);
}

/** fuse_read_in: fh, offset, size, … */
export function read(d: WritableContext): Answer {
  const { request, reply } = d;
  const size = Math.min(request.word(4), reply.capacity);
  startWork(d, size);
  return d.fs.read(request.nodeid, request.long(2), reply.payload(size));
}

/** fuse_write_in (fh, offset, size, write_flags, lock_owner, flags, padding), then the bytes */
export function write(d: WritableContext): Answer {
  const { request } = d;
  const size = request.word(4);
  const offset = request.long(2);
  const bytes = request.bytesAt(abi.WRITE_IN_SIZE, size);
  if (bytes === undefined) return EINVAL;
  if (isTooFar(offset + size)) return EFBIG;
  startWork(d, size);
  const written = d.fs.write(request.nodeid, offset, bytes, (request.word(5) & abi.WRITE_KILL_SUIDGID) !== 0);
  if (isErrno(written)) return written;
  // O_SYNC contains O_DSYNC; kernels differ in whether they send FSYNC for it
  const synced = (request.word(8) & O_DSYNC) === 0 ? 0 : d.fs.sync(request.nodeid, true);
  return isErrno(synced) ? synced : d.reply.written(written);
}

/** fuse_fallocate_in: fh, offset, length, mode, padding */
export function fallocate(d: WritableContext): Answer {
  const { request } = d;
  if (request.bodyLength < abi.FALLOCATE_IN_SIZE) return EINVAL;
  const offset = request.long(2);
  const length = request.long(4);
  if (isTooFar(offset + length)) return EFBIG;
  startWork(d, length);
  return d.fs.fallocate(request.nodeid, request.word(6), offset, length);
}

/** fuse_copy_file_range_in: fh_in, off_in, nodeid_out, fh_out, off_out, len, flags */
function copy(d: WritableContext): number | Errno {
  const { request } = d;
  if (request.bodyLength < abi.COPY_FILE_RANGE_IN_SIZE) return EINVAL;
  if (request.word(12) !== 0 || request.word(13) !== 0) return EINVAL;
  const from = request.long(2);
  const to = request.long(8);
  const length = request.long(10);
  if (isTooFar(from + length) || isTooFar(to + length)) return EFBIG;
  startWork(d, length);
  return d.fs.copyRange(request.nodeid, from, request.long(4), to, length);
}

/** The answer has 32 bits, and so has the length: the kernel cuts it. */
export function copyRange(d: WritableContext): Answer {
  const copied = copy(d);
  return isErrno(copied) ? copied : d.reply.written(copied);
}

export function copyRange64(d: WritableContext): Answer {
  const copied = copy(d);
  return isErrno(copied) ? copied : d.reply.copied(copied);
}

/** fuse_fsync_in: fh, fsync_flags, padding. For FSYNC and FSYNCDIR. */
export function fsync(d: WritableContext): Answer {
  startWork(d, MUCH);
  return d.fs.sync(d.request.nodeid, (d.request.word(2) & abi.FSYNC_FDATASYNC) !== 0);
}

export function syncfs(d: WritableContext): Answer {
  startWork(d, MUCH);
  return d.fs.syncAll();
}

/** fuse_setattr_in */
export function setattr(d: WritableContext): Answer {
  const { request, attributes } = d;
  if (request.bodyLength < abi.SETATTR_IN_SIZE) return EINVAL;
  const changes = changesOf(request);
  if (isTooFar(changes.size ?? 0)) return EFBIG;
  // content may have to be copied
  if (changes.size !== undefined) startWork(d, 0);
  const result = d.fs.setattr(request.nodeid, changes, d.writer.begin(), attributes);
  if (isErrno(result)) return result;
  if ((attributes.mode & S_ISGID) !== 0) d.openFiles.regrouped(request.nodeid);
  return d.reply.attr(attributes);
}

/** valid, padding, fh, size, lock_owner, atime, mtime, ctime, their nanoseconds, mode, unused4, uid, gid, unused5 */
function changesOf(request: RequestBuffer): Changes {
  const valid = request.word(0);
  const given = <T>(flag: number, value: T): T | undefined => ((valid & flag) === 0 ? undefined : value);
  const time = (word: number, nsec: number): NewTime => ({
    low: request.word(word),
    high: request.word(word + 1),
    nsec: request.word(nsec),
  });
  return {
    mode: given(abi.FATTR_MODE, request.word(17) & PERMISSIONS),
    uid: given(abi.FATTR_UID, request.word(19)),
    gid: given(abi.FATTR_GID, request.word(20)),
    size: given(abi.FATTR_SIZE, request.long(4)),
    atime: given(abi.FATTR_ATIME_NOW, 'now') ?? given(abi.FATTR_ATIME, time(8, 14)),
    mtime: given(abi.FATTR_MTIME_NOW, 'now') ?? given(abi.FATTR_MTIME, time(10, 15)),
    ctime: given(abi.FATTR_CTIME, time(12, 16)),
    killPrivileges: (valid & abi.FATTR_KILL_SUIDGID) !== 0,
  };
}

/** fuse_setxattr_in (size, flags, setxattr_flags, padding), then the name, then `size` bytes */
export function setxattr(d: WritableContext): Answer {
  const { request } = d;
  const name = request.name(abi.SETXATTR_IN_SIZE);
  if (name === undefined || name.length === 0) return EINVAL;
  const value = request.bytesAt(abi.SETXATTR_IN_SIZE + name.length + 1, request.word(0));
  if (value === undefined) return EINVAL;
  const isGroupLost = (request.word(2) & abi.SETXATTR_ACL_KILL_SGID) !== 0;
  return d.fs.setxattr(request.nodeid, name, value, request.word(1), isGroupLost, d.writer.begin());
}

export function removexattr(d: WritableContext): Answer {
  const name = d.request.name(0);
  if (name === undefined || name.length === 0) return EINVAL;
  return d.fs.removexattr(d.request.nodeid, name, d.writer.begin());
}

/** The kernel caches directories, and mostly opens and closes them without asking. */
export function releaseDirectory(d: WritableContext): Answer {
  d.fs.releaseDirectory(d.request.nodeid);
  return 0;
}
