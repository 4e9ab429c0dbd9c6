/**
 * Leases on files, F_SETLEASE of fcntl(2): who is about to write to the file waits until the holder lets it, for at most
 * /proc/sys/fs/lease-break-time (45 s); the holder gets SIGIO. A lease belongs to the open file, not to the process.
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
 * Takes a lease: nobody begins to write to the file of `fd`, open for reading, without SIGIO to this process. The signal
 * must be listened for before. EAGAIN where somebody has it open for writing, EACCES where it is another user's, EINVAL
 * where the file system has no leases.
 */
export function takeFileLease(fd: number): 0 | Errno {
  return asErrno(fcntlFn(fd, F_SETLEASE, F_RDLCK));
}

/** Has the signals of a lease that another process took come to this one. */
export function ownFileLease(fd: number): 0 | Errno {
  return asErrno(fcntlFn(fd, F_SETOWN, process.pid));
}

/** Whether the open file has a lease for which nobody waits. */
export const hasFileLease = (fd: number): boolean => fcntlFn(fd, F_GETLEASE, 0) === F_RDLCK;

/** Lets go whoever waits. */
export function endFileLease(fd: number): void {
  fcntlFn(fd, F_SETLEASE, F_UNLCK);
}
