/**
 * Opening, closing and setting up file descriptors, for which node has no function, or a slow one. Linux only.
 *
 * Each function returns the call's result, or a negative errno; none throws for a system error. Names are bytes.
 * Blocking calls block the calling thread.
 */

import type { Errno } from '../base/errno.ts';
import { O_CLOEXEC } from '../base/open-flags.ts';
import { asErrno, type NativeFunction, nameBuffer, native } from './libc.ts';

const openatFn = native('int openat(int dir, const void *name, int flags, unsigned int mode)');

/**
 * openat(2), close-on-exec: opens `name` in the open directory `dir`. A third of the cost of node's open through
 * /proc/self/fd.
 */
export function openAt(dir: number, name: Uint8Array, flags: number, mode = 0): number | Errno {
  return openatFn(dir, nameBuffer(name), flags | O_CLOEXEC, mode);
}

const O_RDWR = 2;
const O_TMPFILE = 0o20200000;
const DOT: Uint8Array = Uint8Array.of(0x2e);

/**
 * open(2) with O_TMPFILE: a new file without a name on the file system of the open directory `dir`. EOPNOTSUPP or
 * EISDIR if it does not support them.
 */
export function openNameless(dir: number, mode: number): number | Errno {
  return openAt(dir, DOT, O_RDWR | O_TMPFILE, mode);
}

const closeFn = native('int close(int fd)');

/** close(2), for descriptors that node does not know. */
export function closeFd(fd: number): void {
  closeFn(fd);
}

const dup2Fn = native('int dup2(int from, int to)');

/** dup2(2): makes `to` a copy of `from`, in one step for all threads. */
export function dup2(from: number, to: number): number | Errno {
  return dup2Fn(from, to);
}

const fcntlFn = native('int fcntl(int fd, int command, int argument)');
const F_GETFD = 1;
const F_SETFD = 2;
const FD_CLOEXEC = 1;

/** Keeps `fd` open across exec (`inherit`), or closes it then. */
export function setInherit(fd: number, inherit: boolean): 0 | Errno {
  return asErrno(fcntlFn(fd, F_SETFD, inherit ? 0 : FD_CLOEXEC));
}

/** Whether `fd` is open and would stay open across exec. */
export function isInherited(fd: number): boolean {
  return fcntlFn(fd, F_GETFD, 0) === 0;
}

const F_GETFL = 3;
const F_SETFL = 4;
const O_NONBLOCK = 0o4000;

/** Makes read(2) return EAGAIN instead of waiting. */
export function setNonblocking(fd: number): 0 | Errno {
  return asErrno(Math.min(fcntlFn(fd, F_SETFL, fcntlFn(fd, F_GETFL, 0) | O_NONBLOCK), 0));
}

const pollFn = native('int poll(_Inout_ uint8_t *fds, unsigned long count, int timeout)');
export const POLLIN = 1;
const POLLOUT = 4;
const pollfd: Buffer = Buffer.alloc(8);

/** poll(2): waits until `fd` can be read, or fails. */
export function waitReadable(fd: number): void {
  poll(fd, -1);
}

/** poll(2): whether `fd` can be read now, or fails. */
export function isReadable(fd: number): boolean {
  return poll(fd, 0) > 0;
}

/** poll(2): waits until `fd` takes at least a byte, or fails. */
export function waitWritable(fd: number): void {
  poll(fd, -1, POLLOUT);
}

function poll(fd: number, timeoutMs: number, events = POLLIN): number {
  pollfd.writeInt32LE(fd, 0);
  pollfd.writeInt32LE(events, 4);
  return pollFn(pollfd, 1, timeoutMs);
}

const ioctlFn = native('int ioctl(int fd, unsigned long request, _Inout_ void *argument)');

/** ioctl(2) with a pointer argument that the kernel reads and writes. */
export function ioctl(fd: number, request: number, argument: Uint8Array): number | Errno {
  return ioctlFn(fd, request, argument);
}

/** ioctl(2) with an integer argument. */
export function ioctlInteger(fd: number, request: number, argument: number): number | Errno {
  ioctlIntegerFn ??= native('int ioctl(int fd, unsigned long request, unsigned long argument)');
  return ioctlIntegerFn(fd, request, argument);
}
let ioctlIntegerFn: NativeFunction | undefined;
