/**
 * Answers to requests that make, remove and rename entries. Their structures are those of include/uapi/linux/fuse.h.
 */

import { EINVAL, type Errno, isErrno } from '../base/errno.ts';
import { PERMISSIONS } from '../base/stat-bits.ts';
import * as abi from './abi.ts';
import type { Answer } from './dispatcher.ts';
import type { WritableContext } from './writable-context.ts';

/** The entry that was made: `result` is 0. */
const entryOr = (d: WritableContext, result: Errno | 0): Answer =>
  isErrno(result) ? result : d.reply.entry(d.attributes);

/** fuse_mknod_in (mode, rdev, umask, padding), then the name */
export function mknod(d: WritableContext): Answer {
  const { request } = d;
  const name = request.entryName(abi.MKNOD_IN_SIZE);
  if (name === undefined) return EINVAL;
  const writer = d.writer.begin(request.word(2));
  return entryOr(d, d.fs.mknod(request.nodeid, name, request.word(0), request.word(1), writer, d.attributes));
}

/** fuse_mkdir_in (mode, umask), then the name */
export function mkdir(d: WritableContext): Answer {
  const { request } = d;
  const name = request.entryName(abi.MKDIR_IN_SIZE);
  if (name === undefined) return EINVAL;
  const writer = d.writer.begin(request.word(1));
  return entryOr(d, d.fs.mkdir(request.nodeid, name, request.word(0) & PERMISSIONS, writer, d.attributes));
}

/** The name, then the target */
export function symlink(d: WritableContext): Answer {
  const { request } = d;
  const name = request.entryName(0);
  const target = name === undefined ? undefined : request.name(name.length + 1);
  if (name === undefined || target === undefined || target.length === 0) return EINVAL;
  return entryOr(d, d.fs.symlink(request.nodeid, name, target, d.writer.begin(), d.attributes));
}

/** fuse_link_in (oldnodeid), then the name in the directory that the request is for */
export function link(d: WritableContext): Answer {
  const { request } = d;
  const name = request.entryName(abi.LINK_IN_SIZE);
  if (name === undefined) return EINVAL;
  return entryOr(d, d.fs.link(request.long(0), request.nodeid, name, d.writer.begin(), d.attributes));
}

export function unlink(d: WritableContext): Answer {
  const name = d.request.entryName(0);
  return name === undefined ? EINVAL : d.fs.unlink(d.request.nodeid, name, d.writer.begin());
}

export function rmdir(d: WritableContext): Answer {
  const name = d.request.entryName(0);
  return name === undefined ? EINVAL : d.fs.rmdir(d.request.nodeid, name, d.writer.begin());
}

/** fuse_rename_in: newdir */
export const rename = (d: WritableContext): Answer => renameWith(d, abi.RENAME_IN_SIZE, 0);
/** fuse_rename2_in: newdir, flags, padding */
export const rename2 = (d: WritableContext): Answer => renameWith(d, abi.RENAME2_IN_SIZE, d.request.word(2));

/** The structure, then the old name, then the new one */
function renameWith(d: WritableContext, size: number, flags: number): Answer {
  const { request } = d;
  const name = request.entryName(size);
  const newName = name === undefined ? undefined : request.entryName(size + name.length + 1);
  if (name === undefined || newName === undefined) return EINVAL;
  return d.fs.rename(request.nodeid, name, request.long(0), newName, flags, d.writer.begin());
}

/** An entry that is not sent is not counted by the kernel. */
export function undoEntry(d: WritableContext): void {
  const nodeid = d.reply.entryNodeid;
  if (nodeid !== 0) d.fs.forget(nodeid, 1);
}

/** fuse_forget_in: nlookup */
export function forget(d: WritableContext): void {
  const count = d.request.long(0);
  if (count > 0) d.fs.forget(d.request.nodeid, count);
}

/** fuse_batch_forget_in (count, dummy), then fuse_forget_one (nodeid, nlookup) for each */
export function batchForget(d: WritableContext): void {
  const { request } = d;
  const count = Math.min(request.word(0), Math.floor((request.bodyLength - 8) / 16));
  for (let word = 2; word < 2 + count * 4; word += 4) {
    const lookups = request.long(word + 2);
    if (lookups > 0) d.fs.forget(request.long(word), lookups);
  }
}

/** fuse_read_in, as for READ: offset is a cookie of `WritableFilesystem.readdir`. */
export function readEntries(d: WritableContext, plus: boolean): Answer {
  const { request, reply, attributes } = d;
  const limit = Math.min(request.word(4), reply.capacity);
  let length = 0;
  let full = false;
  const result = d.fs.readdir(request.nodeid, request.long(2), plus, attributes, (name, next) => {
    const end = reply.dirent(length, limit, name, next, attributes, plus);
    full = end < 0;
    if (!full) length = end;
    return !full;
  });
  // entries that were counted must be sent
  if (isErrno(result)) return length > 0 ? length : result;
  // an empty reply would mean the end of the directory
  return full && length === 0 ? EINVAL : length;
}
