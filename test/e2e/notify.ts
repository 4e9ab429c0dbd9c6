/** The parts of inotify(7) and fanotify(7) that the tests of watches need, through libc. */
import { closeSync, readFileSync, readSync } from 'node:fs';
import koffi from 'koffi';
import { type Errno, errnoName, errnoOf } from '../../src/base/errno.ts';
import type { FileHandle } from '../../src/base/handle-format.ts';
import { systemError } from '../../src/system/libc.ts';

const libc = koffi.load('libc.so.6');
const inotifyInitFn = libc.func('int inotify_init1(int flags)');
const inotifyAddWatchFn = libc.func('int inotify_add_watch(int fd, const char *path, uint32_t mask)');
const fanotifyInitFn = libc.func('int fanotify_init(unsigned int flags, unsigned int eventFlags)');
const fanotifyMarkFn = libc.func(
  'int fanotify_mark(int fd, unsigned int flags, uint64_t mask, int dir, const char *path)',
);

const AT_FDCWD = -100;
const IN_NONBLOCK = 0o4000;
export const IN_ACCESS = 0x1;
export const IN_MODIFY = 0x2;
export const IN_ATTRIB = 0x4;
export const IN_CLOSE_WRITE = 0x8;
export const IN_CLOSE_NOWRITE = 0x10;
export const IN_OPEN = 0x20;
export const IN_MOVED_FROM = 0x40;
export const IN_MOVED_TO = 0x80;
export const IN_CREATE = 0x100;
export const IN_DELETE = 0x200;
export const IN_DELETE_SELF = 0x400;
export const IN_MOVE_SELF = 0x800;
export const IN_IGNORED = 0x8000;
export const IN_ISDIR = 0x4000_0000;

const FAN_NONBLOCK = 0x2;
export const FAN_REPORT_FID = 0x200;
export const FAN_REPORT_DFID_NAME = 0xc00;
const FAN_MARK_ADD = 0x1;
export const FAN_MARK_INODE = 0;
export const FAN_MARK_MOUNT = 0x10;
export const FAN_MARK_FILESYSTEM = 0x100;
export const FAN_ACCESS = 0x1;
export const FAN_MODIFY = 0x2;
export const FAN_ATTRIB = 0x4;
export const FAN_CLOSE_WRITE = 0x8;
export const FAN_CLOSE_NOWRITE = 0x10;
export const FAN_OPEN = 0x20;
export const FAN_MOVED_FROM = 0x40;
export const FAN_MOVED_TO = 0x80;
export const FAN_CREATE = 0x100;
export const FAN_DELETE = 0x200;
export const FAN_ONDIR = 0x4000_0000;
export const FAN_EVENT_ON_CHILD = 0x0800_0000;

function check(result: number, call: string, subject: string): number {
  if (result < 0) throw systemError(-koffi.errno() as Errno, call, subject);
  return result;
}

/** The bytes that can be read now, without waiting. */
function readAvailable(fd: number): Buffer {
  const buffer = Buffer.alloc(65_536);
  try {
    return buffer.subarray(0, readSync(fd, buffer));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EAGAIN') return buffer.subarray(0, 0);
    throw error;
  }
}

/** A handle in a line of /proc/PID/fdinfo/N: "… fhandle-type:81 f_handle:f8aa…". */
export function handlesInFdinfo(fd: number, pid: number | 'self' = 'self'): FileHandle[] {
  const text = readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'utf8');
  return [...text.matchAll(/fhandle-bytes:([0-9a-f]+) fhandle-type:([0-9a-f]+) f_handle:([0-9a-f]+)/g)].map(
    ([, length = '', type = '', bytes = '']) => ({
      type: Number.parseInt(type, 16),
      bytes: Uint8Array.from(Buffer.from(bytes, 'hex').subarray(0, Number.parseInt(length, 16))),
    }),
  );
}

export interface InotifyEvent {
  readonly watch: number;
  readonly mask: number;
  /** The same for both parts of a rename; else 0. */
  readonly cookie: number;
  /** The name of the entry, if the watch is on a directory. */
  readonly name: string;
}

export class Inotify {
  readonly fd: number = check(inotifyInitFn(IN_NONBLOCK) as number, 'inotify_init1', '');

  watch(path: string, mask: number): number {
    return check(inotifyAddWatchFn(this.fd, path, mask) as number, 'inotify_add_watch', path);
  }

  /** struct inotify_event: watch, mask, cookie, length, name. */
  events(): InotifyEvent[] {
    const data = readAvailable(this.fd);
    const events: InotifyEvent[] = [];
    for (let at = 0; at < data.length; ) {
      const length = data.readUInt32LE(at + 12);
      const name = data.toString('utf8', at + 16, at + 16 + length).replace(/\0+$/, '');
      const [watch, mask, cookie] = [data.readInt32LE(at), data.readUInt32LE(at + 4), data.readUInt32LE(at + 8)];
      events.push({ watch, mask, cookie, name });
      at += 16 + length;
    }
    return events;
  }

  close(): void {
    closeSync(this.fd);
  }
}

export interface FanotifyEvent {
  readonly mask: number;
  /** An open file, if the group reports files; else -1. */
  readonly fd: number;
  /** The handle of the file itself. */
  readonly handle?: FileHandle;
  readonly directory?: { readonly handle: FileHandle; readonly name: string };
}

const INFO_FID = 1;
const INFO_DFID_NAME = 2;

export class Fanotify {
  readonly fd: number;

  /** @param report FAN_REPORT_* */
  constructor(report: number) {
    this.fd = check(fanotifyInitFn(FAN_NONBLOCK | report, 0) as number, 'fanotify_init', '');
  }

  /** @param what FAN_MARK_INODE, _MOUNT or _FILESYSTEM. Returns "ok", or the name of the error. */
  mark(path: string, what: number, mask: number): string {
    try {
      check(fanotifyMarkFn(this.fd, FAN_MARK_ADD | what, mask, AT_FDCWD, path) as number, 'fanotify_mark', path);
      return 'ok';
    } catch (error) {
      return errnoName(errnoOf(error) as Errno);
    }
  }

  /** struct fanotify_event_metadata, each followed by its struct fanotify_event_info_fid: linux/fanotify.h. */
  events(): FanotifyEvent[] {
    const data = readAvailable(this.fd);
    const events: FanotifyEvent[] = [];
    for (let at = 0; at < data.length; ) {
      const end = at + data.readUInt32LE(at);
      const metadata = data.readUInt16LE(at + 6);
      const event = { mask: data.readUInt32LE(at + 8), fd: data.readInt32LE(at + 16) };
      events.push(Object.assign(event, readInfos(data.subarray(at + metadata, end))));
      at = end;
    }
    return events;
  }

  close(): void {
    closeSync(this.fd);
  }
}

function readInfos(data: Buffer): Pick<FanotifyEvent, 'handle' | 'directory'> {
  let infos: Pick<FanotifyEvent, 'handle' | 'directory'> = {};
  for (let at = 0; at < data.length; at += data.readUInt16LE(at + 2)) {
    // info type, pad, length; fsid; struct file_handle; name
    const length = data.readUInt32LE(at + 12);
    const handle = {
      type: data.readInt32LE(at + 16),
      bytes: Uint8Array.from(data.subarray(at + 20, at + 20 + length)),
    };
    const from = at + 20 + length;
    if (data[at] === INFO_FID) infos = { ...infos, handle };
    if (data[at] === INFO_DFID_NAME) {
      infos = { ...infos, directory: { handle, name: data.toString('utf8', from, data.indexOf(0, from)) } };
    }
  }
  return infos;
}
