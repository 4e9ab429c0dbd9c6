/**
 * A file in memory that several threads, and the next process, share: mmap(2), shared, for reading and writing. A store
 * is in the file at once for every thread and process that maps it, and stays there if this process is killed.
 */
import { constants } from 'node:buffer';
import { EINVAL, ENOMEM, type Errno, isErrno } from '../base/errno.ts';
import { emptyFileStatus, statusOf } from './file-status.ts';
import { asErrno, koffi, libcFunction } from './libc.ts';

const PROT_READ_WRITE = 0x1 | 0x2;
const MAP_SHARED = 0x01;
/** (void *)-1 */
const MAP_FAILED = 0xffff_ffff_ffff_ffffn;

let mmapFn: ((...args: unknown[]) => unknown) | undefined;

/**
 * Maps the first `length` bytes of an open file. Each thread that needs them maps the file itself. The mapping stays
 * until the process ends; `fd` may be closed.
 *
 * `Atomics` work on views of it, except `Atomics.wait` and `notify`, which need a SharedArrayBuffer. Read the stores of
 * another thread by `Atomics.load`: the compiler may move other loads.
 *
 * The kernel kills the process (SIGBUS) at an access to a part that is beyond the end of the file, if it was truncated,
 * or for which no block can be allocated: reserve the blocks first (`fallocateFd`) if the disk may be full.
 * @returns EINVAL if the file is shorter, or the length is 0; ENOMEM if it is larger than an ArrayBuffer can be: 4 GiB
 * in Node 20, and what the kernel can map in later ones
 */
export function mapFile(fd: number, length: number): ArrayBuffer | Errno {
  const status = emptyFileStatus();
  const result = statusOf(fd, status);
  if (isErrno(result)) return result;
  if (!Number.isSafeInteger(length) || length <= 0 || status.size < length) return EINVAL;
  // the process would be aborted
  if (length > constants.MAX_LENGTH) return ENOMEM;
  mmapFn ??= libcFunction(
    'void *mmap(void *address, size_t length, int protection, int flags, int fd, int64_t offset)',
  );
  const address = mmapFn(null, length, PROT_READ_WRITE, MAP_SHARED, fd, 0);
  if (address === MAP_FAILED) return asErrno(-koffi().errno());
  return koffi().view(address, length);
}
