/**
 * System calls that only tests need: making devices and sockets, times to the nanosecond, writing attributes. The
 * product writes none of these; its own calls are in src/system.
 */
import koffi from 'koffi';
import type { Errno } from '../../src/base/errno.ts';
import { systemError } from '../../src/system/libc.ts';

const libc = koffi.load('libc.so.6');
const mknodFn = libc.func('int mknod(const void *path, unsigned int mode, uint64_t device)');
const utimensatFn = libc.func('int utimensat(int dir, const void *path, const void *times, int flags)');
const lsetxattrFn = libc.func(
  'int lsetxattr(const void *path, const void *name, const void *value, size_t size, int flags)',
);
const lremovexattrFn = libc.func('int lremovexattr(const void *path, const void *name)');

const AT_FDCWD = -100;
const AT_SYMLINK_NOFOLLOW = 0x100;

/** A path or name as bytes; a string is taken as UTF-8. */
export type Bytes = string | Uint8Array;

const cString = (text: Bytes): Buffer => Buffer.concat([Buffer.from(text as string), Buffer.alloc(1)]);

function check(result: number, call: string, path: Bytes): void {
  if (result === -1) throw systemError(-koffi.errno() as Errno, call, Buffer.from(path as string).toString());
}

/** A device number as the kernel and, for majors below 4096, dev_t have it (new_encode_dev of the kernel). */
export function makeDevice(major: number, minor: number): number {
  return ((minor & 0xff) | (major << 8) | ((minor & 0xfff00) << 12)) >>> 0;
}

/** mknod(2): `mode` holds the type, S_IFIFO, S_IFSOCK, S_IFCHR or S_IFBLK. */
export function mknod(path: Bytes, mode: number, device = 0): void {
  check(mknodFn(cString(path), mode, device) as number, 'mknod', path);
}

/** Sets mtime and atime; symbolic links are not followed. */
export function setTime(path: Bytes, seconds: number, nanoseconds: number): void {
  const times = Buffer.alloc(32);
  for (const at of [0, 16]) {
    times.writeBigInt64LE(BigInt(seconds), at);
    times.writeBigInt64LE(BigInt(nanoseconds), at + 8);
  }
  check(utimensatFn(AT_FDCWD, cString(path), times, AT_SYMLINK_NOFOLLOW) as number, 'utimensat', path);
}

/** lsetxattr(2). */
export function setXattr(path: Bytes, name: string, value: Uint8Array): void {
  check(lsetxattrFn(cString(path), cString(name), Buffer.from(value), value.length, 0) as number, 'lsetxattr', path);
}

/** lremovexattr(2). */
export function removeXattr(path: Bytes, name: string): void {
  check(lremovexattrFn(cString(path), cString(name)) as number, 'lremovexattr', path);
}
