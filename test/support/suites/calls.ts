/**
 * System calls whose details only these suites examine: pieces of a directory, buffers that are too small, remounting.
 */
import koffi from 'koffi';
import type { Errno } from '../../../src/base/errno.ts';
import { systemError } from '../../../src/system/libc.ts';
import { mount } from '../../../src/system/mount-calls.ts';

const libc = koffi.load('libc.so.6');
const getdentsFn = libc.func('int64_t getdents64(int fd, _Out_ uint8_t *buffer, size_t length)');
const lseekFn = libc.func('int64_t lseek(int fd, int64_t offset, int whence)');
const lgetxattrFn = libc.func(
  'int64_t lgetxattr(const char *path, const char *name, _Out_ uint8_t *value, size_t size)',
);
const llistxattrFn = libc.func('int64_t llistxattr(const char *path, _Out_ uint8_t *list, size_t size)');

/** The result, or a negative errno. */
const outcome = (result: unknown): number => (Number(result) === -1 ? -koffi.errno() : Number(result));

/** lgetxattr(2) into `size` bytes: the length of the value, or a negative errno. */
export function getXattrInto(path: string, name: string, size: number): number {
  return outcome(lgetxattrFn(path, name, size === 0 ? null : Buffer.alloc(size), size));
}

/** llistxattr(2) into `size` bytes: the length of the list, or a negative errno. */
export function listXattrsInto(path: string, size: number): number {
  return outcome(llistxattrFn(path, size === 0 ? null : Buffer.alloc(size), size));
}

/** An entry as getdents64(2) returns it. */
export interface Dirent {
  readonly ino: number;
  /** The position of the next entry, for lseek(2). */
  readonly offset: bigint;
  /** DT_*: the type bits of st_mode, shifted. */
  readonly type: number;
  readonly name: Buffer;
}

/** The next entries of an open directory that fit into `size` bytes; none at its end. */
export function readEntries(fd: number, size: number): Dirent[] {
  const buffer = Buffer.alloc(size);
  const length = outcome(getdentsFn(fd, buffer, size));
  if (length < 0) throw systemError(length as Errno, 'getdents64', String(fd));
  const entries: Dirent[] = [];
  for (let at = 0; at < length; ) {
    const recordLength = buffer.readUInt16LE(at + 16);
    const name = buffer.subarray(at + 19, at + recordLength);
    entries.push({
      ino: Number(buffer.readBigUInt64LE(at)),
      offset: buffer.readBigInt64LE(at + 8),
      type: buffer.readUInt8(at + 18),
      name: Buffer.from(name.subarray(0, name.indexOf(0))),
    });
    at += recordLength;
  }
  return entries;
}

/** All entries from the current position of the directory, read in pieces of `size` bytes. */
export function readAllEntries(fd: number, size: number): Dirent[] {
  const all: Dirent[] = [];
  for (;;) {
    const piece = readEntries(fd, size);
    if (piece.length === 0) return all;
    all.push(...piece);
  }
}

/** lseek(2) from the start. */
export function seekTo(fd: number, offset: bigint): void {
  const result = outcome(lseekFn(fd, offset, 0));
  if (result < 0) throw systemError(result as Errno, 'lseek', String(fd));
}

const MS_REMOUNT = 32;
const MS_RDONLY = 1;

/** Makes a mount writable for the kernel, or read-only again. */
export function remount(mountpoint: string, how: 'rw' | 'ro'): void {
  const result = mount('none', mountpoint, 'none', MS_REMOUNT | (how === 'ro' ? MS_RDONLY : 0), '');
  if (result !== 0) throw systemError(result, 'mount', mountpoint);
}
