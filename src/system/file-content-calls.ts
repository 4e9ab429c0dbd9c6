/**
 * Calls for the content of open files, for a tree that is changed. As in descriptors.ts: a result or a negative errno.
 * Each call that changes something is a fail point ($CFS_FAIL_UPPER_AT).
 */
import { EDQUOT, EFBIG, EINVAL, EIO, ENOSPC, ENXIO, EROFS, type Errno, isErrno } from '../base/errno.ts';
import { upperFailPoints } from './fail-points.ts';
import { emptyFileStatus, type FileStatus, statusOf } from './file-status.ts';
import { asErrno, native } from './libc.ts';
import * as content from './reading-writing.ts';

const { returning } = upperFailPoints;

const ftruncateFn = native('int ftruncate(int fd, int64_t size)');

/** ftruncate(2). */
export const truncateFd: (fd: number, size: number) => 0 | Errno = returning('ftruncate', (fd, size) =>
  asErrno(wrongPosition(size) ?? ftruncateFn(fd, size)),
);

const fallocateFn = native('int fallocate(int fd, int mode, int64_t offset, int64_t length)');

/** fallocate(2). @param mode FALLOC_FL_* */
export const fallocateFd: (fd: number, mode: number, offset: number, length: number) => 0 | Errno = returning(
  'fallocate',
  (fd, mode, offset, length) =>
    asErrno(wrongPosition(offset) ?? wrongPosition(length) ?? fallocateFn(fd, mode, offset, length)),
);

/**
 * The error for a number that is not a position or length in a file, or undefined. A number that is not exact is too
 * large.
 */
function wrongPosition(position: number): Errno | undefined {
  if (!(position >= 0)) return EINVAL;
  return position > Number.MAX_SAFE_INTEGER ? EFBIG : undefined;
}

/** copy_file_range(2) from and to explicit offsets. Returns the bytes copied, 0 at the end of the file. */
export const copyFileRange: (
  from: number,
  fromOffset: number,
  to: number,
  toOffset: number,
  length: number,
) => number | Errno = returning('copy_file_range', content.copyFileRange);

/** FICLONE, ioctl_ficlone(2): `to` shares all blocks of `from`. EOPNOTSUPP, EXDEV or EINVAL if that is not possible. */
export const cloneFd: (from: number, to: number) => 0 | Errno = returning('FICLONE', content.cloneFile);

const fsyncFn = native('int fsync(int fd)');
const fdatasyncFn = native('int fdatasync(int fd)');

/** fsync(2), or fdatasync(2). */
export const syncFd: (fd: number, dataOnly: boolean) => 0 | Errno = returning('fsync', (fd, dataOnly) =>
  asErrno(dataOnly ? fdatasyncFn(fd) : fsyncFn(fd)),
);

const pwrite: typeof content.pwrite = returning('pwrite', content.pwrite);

/** pwrite(2) of all of `bytes`, or an error. Returns their number. After an error, some may have been written. */
export function writeAll(fd: number, bytes: Uint8Array, offset: number): number | Errno {
  const wrong = wrongPosition(offset);
  if (wrong !== undefined) return wrong;
  const first = pwrite(fd, bytes, offset);
  if (first === bytes.length || isErrno(first)) return first;
  for (let done = first; done < bytes.length; ) {
    const written = pwrite(fd, bytes.subarray(done), offset + done);
    if (isErrno(written)) return written;
    // a file system never does that
    if (written === 0) return EIO;
    done += written;
  }
  return bytes.length;
}

/** The most that the kernel copies at once is a little more. */
const COPY_AT_ONCE = 1 << 30;
const BUFFER_BYTES = 1 << 20;
let copyBuffer: Buffer | undefined;
const sourceStatus: FileStatus = emptyFileStatus();

/**
 * Copies the first `size` bytes of `from` into the empty file `to`: with FICLONE, which shares the blocks; else the
 * parts with data, with copy_file_range(2) or by reading and writing. Holes stay holes.
 * @returns EIO if `from` is shorter; after an error, `to` has an unfinished copy
 */
export function copySparse(from: number, to: number, size: number): 0 | Errno {
  const status = statusOf(from, sourceStatus);
  if (isErrno(status)) return status;
  const length = sourceStatus.size;
  if (length < size) return EIO;
  const cloned = size === 0 ? 0 : cloneFd(from, to);
  if (cloned === 0) return length > size || size === 0 ? truncateFd(to, size) : 0;
  if (isFinal(cloned)) return cloned;
  const truncated = truncateFd(to, size);
  if (isErrno(truncated)) return truncated;

  let copy = copyByKernel;
  for (let at = 0; at < size; ) {
    const start = nextData(from, at);
    if (isErrno(start)) return start === ENXIO ? 0 : start; // nothing but a hole follows
    if (start >= size) return 0;
    const hole = content.seek(from, start, content.SEEK_HOLE);
    const end = isErrno(hole) ? size : Math.min(hole, size);
    at = start;
    while (at < end) {
      const copied = copy(from, to, at, end);
      if (copied > 0) {
        at += copied;
      } else if (copy === copyByKernel && !isFinal(copied)) {
        copy = copyByHand;
      } else {
        // it became shorter in the meantime
        return isErrno(copied) ? copied : EIO;
      }
    }
  }
  return 0;
}

/** Errors that another way of copying would not avoid; all others may only mean that this one is not supported. */
const isFinal = (error: number): boolean => [EIO, ENOSPC, EDQUOT, EFBIG, EROFS].includes(error as Errno);

/** The start of the data; `at` on a file system that does not know. */
function nextData(from: number, at: number): number | Errno {
  const data = content.seek(from, at, content.SEEK_DATA);
  return data === EINVAL ? at : data;
}

const copyByKernel = (from: number, to: number, at: number, end: number): number | Errno =>
  copyFileRange(from, at, to, at, Math.min(end - at, COPY_AT_ONCE));

function copyByHand(from: number, to: number, at: number, end: number): number | Errno {
  copyBuffer ??= Buffer.allocUnsafeSlow(BUFFER_BYTES);
  const read = content.pread(from, copyBuffer, Math.min(end - at, BUFFER_BYTES), at);
  if (read <= 0) return read;
  return writeAll(to, copyBuffer.subarray(0, read), at);
}
