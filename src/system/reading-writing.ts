/** Reading, writing and copying the content of open files. As in descriptors.ts: a result or a negative errno. */
import type { Errno } from '../base/errno.ts';
import { ioctlInteger } from './descriptors.ts';
import { asErrno, native } from './libc.ts';

const readFn = native('int64_t read(int fd, _Out_ uint8_t *buffer, size_t length)');

/** read(2) into all of `buffer`, at the file's own position. Half the cost of node's, and errors are returned. */
export function read(fd: number, buffer: Uint8Array): number | Errno {
  return readFn(fd, buffer, buffer.length);
}

const writeFn = native('int64_t write(int fd, const void *buffer, size_t length)');

/** write(2) of the first `length` bytes of `buffer`. */
export function write(fd: number, buffer: Uint8Array, length: number): number | Errno {
  return writeFn(fd, buffer, length);
}

const preadFn = native('int64_t pread(int fd, void *buffer, size_t length, int64_t offset)');

/** pread(2) into the beginning of `buffer`. Returns the bytes read, 0 at the end of the file. */
export function pread(fd: number, buffer: Uint8Array, length: number, position: number): number | Errno {
  if (length > buffer.length) throw new RangeError(`${length} bytes into a buffer of ${buffer.length}`);
  return preadFn(fd, buffer, length, position);
}

const pwriteFn = native('int64_t pwrite(int fd, const void *buffer, size_t length, int64_t offset)');

/** pwrite(2). Returns the bytes written, which may be fewer. */
export function pwrite(fd: number, bytes: Uint8Array, position: number): number | Errno {
  return pwriteFn(fd, bytes, bytes.length, position);
}

const lseekFn = native('int64_t lseek(int fd, int64_t offset, int whence)');
export const SEEK_DATA = 3;
export const SEEK_HOLE = 4;

/** lseek(2) with SEEK_DATA or SEEK_HOLE. ENXIO (-6) if no data follows `offset`. */
export function seek(fd: number, offset: number, whence: typeof SEEK_DATA | typeof SEEK_HOLE): number | Errno {
  return lseekFn(fd, offset, whence);
}

const readaheadFn = native('int64_t readahead(int fd, int64_t offset, size_t length)');

/** readahead(2): makes the kernel read a part of a file into the page cache. Waits until the reading has begun. */
export function readahead(fd: number, offset: number, length: number): 0 | Errno {
  return asErrno(readaheadFn(fd, offset, length));
}

const copyFileRangeFn = native(
  'int64_t copy_file_range(int in, _Inout_ int64_t *inOffset, int out, _Inout_ int64_t *outOffset, size_t length, unsigned int flags)',
);

/** copy_file_range(2) from and to explicit offsets. Returns the bytes copied, 0 at the end of the file. */
export function copyFileRange(
  input: number,
  inOffset: number,
  output: number,
  outOffset: number,
  length: number,
): number | Errno {
  return copyFileRangeFn(input, [inOffset], output, [outOffset], length, 0);
}

/**
 * FICLONE, ioctl_ficlone(2): makes `output` share all blocks of `input`. EOPNOTSUPP, EXDEV or EINVAL if that is not
 * possible.
 */
export function cloneFile(input: number, output: number): 0 | Errno {
  return asErrno(ioctlInteger(output, 0x40049409, input));
}

const syncfsFn = native('int syncfs(int fd)');

/** syncfs(2): waits until everything written to the file system of `fd` is on its device. */
export function syncfs(fd: number): 0 | Errno {
  return asErrno(syncfsFn(fd));
}
