/** Answers that are the same whether or not a mount can be written. */
import { EINVAL, ENOENT, ENOSYS, ERANGE, type Errno, isErrno } from '../base/errno.ts';
import { isPrivateXattr } from '../base/private-xattrs.ts';
import type { Attributes, Filesystem } from '../fs/filesystem.ts';
import { type Answer, type Context, NO_REPLY } from './dispatcher.ts';
import type { ReplyBuffer } from './reply.ts';

/** The objects that they need, for a file system whose attributes are `A`. */
export interface Readable<A extends Attributes>
  extends Pick<Filesystem, 'readlink' | 'seek' | 'getxattr' | 'listxattr' | 'ioctl' | 'statfs'> {
  lookup(parent: number, name: Uint8Array, out: A): Errno | 0;
  getattr(ino: number, out: A): Errno | 0;
}

export interface ReadingContext<A extends Attributes> extends Context {
  readonly fs: Readable<A>;
  readonly attributes: A;
  readonly reply: ReplyBuffer<A>;
}

export function lookup<A extends Attributes>(d: ReadingContext<A>): Answer {
  const name = d.request.name(0);
  if (name === undefined) return EINVAL;
  const result = d.fs.lookup(d.request.nodeid, name, d.attributes);
  // "not found" is worth remembering too: nothing can appear without the kernel's knowledge
  if (result === ENOENT) return d.reply.negativeEntry();
  return isErrno(result) ? result : d.reply.entry(d.attributes);
}

export function getattr<A extends Attributes>(d: ReadingContext<A>): Answer {
  const result = d.fs.getattr(d.request.nodeid, d.attributes);
  return isErrno(result) ? result : d.reply.attr(d.attributes);
}

export function statx<A extends Attributes>(d: ReadingContext<A>): Answer {
  const result = d.fs.getattr(d.request.nodeid, d.attributes);
  return isErrno(result) ? result : d.reply.statx(d.attributes);
}

export function readlink<A extends Attributes>(d: ReadingContext<A>): Answer {
  const target = d.fs.readlink(d.request.nodeid);
  return isErrno(target) ? target : d.reply.data(target);
}

/** fuse_lseek_in: fh, offset, whence; the kernel itself handles everything but data and holes */
export function seek<A extends Attributes>(d: ReadingContext<A>): Answer {
  const whence = d.request.word(4);
  if (whence !== SEEK_DATA && whence !== SEEK_HOLE) return EINVAL;
  const found = d.fs.seek(d.request.nodeid, d.request.long(2), whence === SEEK_HOLE);
  return isErrno(found) ? found : d.reply.seek(found);
}
const SEEK_DATA = 3;
const SEEK_HOLE = 4;

/** fuse_getxattr_in (size, padding), then the name */
export function getxattr<A extends Attributes>(d: ReadingContext<A>): Answer {
  const name = d.request.name(8);
  if (name === undefined) return EINVAL;
  // these access repositories
  if (isPrivateXattr(name)) d.waiting.begin(d.request);
  return xattrAnswer(d, d.fs.getxattr(d.request.nodeid, name, d.request));
}

export function listxattr<A extends Attributes>(d: ReadingContext<A>): Answer {
  return xattrAnswer(d, d.fs.listxattr(d.request.nodeid, d.request));
}

/** Size 0 queries the length of the value. */
function xattrAnswer<A extends Attributes>(d: ReadingContext<A>, value: Uint8Array | Errno): Answer {
  if (isErrno(value)) return value;
  const room = d.request.word(0);
  if (room === 0) return d.reply.xattrSize(value.length);
  return value.length > room ? ERANGE : d.reply.data(value);
}

/** fuse_ioctl_in (fh, flags, cmd, arg, in_size, out_size), then in_size bytes */
export function ioctl<A extends Attributes>(d: ReadingContext<A>): Answer {
  const { request, reply } = d;
  d.waiting.begin(request);
  const input = request.bytesAt(IOCTL_IN_SIZE, request.word(6));
  if (input === undefined) return EINVAL;
  const result = d.fs.ioctl(request.nodeid, request.word(3), input, request.word(7), request);
  return isErrno(result) ? result : reply.ioctl(result);
}
const IOCTL_IN_SIZE = 32;

export const statfs = <A extends Attributes>(d: ReadingContext<A>): Answer => d.reply.statfs(d.fs.statfs());

/** fuse_interrupt_in: unique. It has no reply of its own. */
export function interrupt(d: Context): Answer {
  d.waiting.interrupt(d.request.word(0), d.request.word(1));
  return NO_REPLY;
}

export const noReply = (): Answer => NO_REPLY;
export const done = (): Answer => 0;
/** The kernel remembers that this is not implemented, and does without it. */
export const notImplemented = (): Answer => ENOSYS;
