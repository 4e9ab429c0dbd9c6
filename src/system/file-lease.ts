/**
 * Leases on files, F_SETLEASE of fcntl(2): a process that is about to write to the file waits until the holder releases
 * it, for at most /proc/sys/fs/lease-break-time (45 s); the holder gets SIGIO. A lease belongs to the open file, not to
 * the process.
 */
import type { Errno } from '../base/errno.ts';
import { asErrno, native } from './libc.ts';

const fcntlFn = native('int fcntl(int fd, int command, int argument)');
const F_SETOWN = 8;
const F_SETLEASE = 1024;
const F_GETLEASE = 1025;
const F_RDLCK = 0;
const F_UNLCK = 2;

/**
 * Takes a lease: no process begins to write to the file of `fd`, which is open for reading, without SIGIO to this
 * process. Install the signal handler first. EAGAIN if a process has it open for writing, EACCES if it is another
 * user's, EINVAL if the file system has no leases.
 */
export function takeFileLease(fd: number): 0 | Errno {
  return asErrno(fcntlFn(fd, F_SETLEASE, F_RDLCK));
}

/** Redirects the signals of a lease that another process took to this one. */
export function ownFileLease(fd: number): 0 | Errno {
  return asErrno(fcntlFn(fd, F_SETOWN, process.pid));
}

/** Whether the open file has a lease that no writer waits for. */
export const hasFileLease = (fd: number): boolean => fcntlFn(fd, F_GETLEASE, 0) === F_RDLCK;

/** Releases the waiting writer. */
export function endFileLease(fd: number): void {
  fcntlFn(fd, F_SETLEASE, F_UNLCK);
}
