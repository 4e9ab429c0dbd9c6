/** The end of processes: waiting for those that are not children (Linux 5.3), and for that of the parent. */
import { type Errno, ESRCH, isErrno } from '../base/errno.ts';
import { closeFd, POLLIN } from './descriptors.ts';
import { asErrno, native } from './libc.ts';

const pidfdOpenFn = native('long syscall(long number, int pid, unsigned int flags)');
const pollFn = native('int poll(_Inout_ uint8_t *fds, unsigned long count, int timeout)');
/** pidfd_open(2); the same number on all architectures. */
const SYS_PIDFD_OPEN = 434;
const POLLFD_SIZE = 8;
/** The maximum time of a poll(2), in case a signal ends it, or the timeout exceeds its range. */
const LONGEST_POLL_MS = 60_000;

/** Descriptors that become readable when their processes end. Those that have ended already are left out. */
export function watchProcesses(pids: readonly number[]): number[] | Errno {
  const fds: number[] = [];
  for (const pid of pids) {
    const fd = asErrno(pidfdOpenFn(SYS_PIDFD_OPEN, pid, 0));
    if (!isErrno(fd)) fds.push(fd);
    else if (fd !== ESRCH) return fd;
  }
  return fds;
}

/**
 * Blocks this thread until all of the processes have ended.
 * @param fds of `watchProcesses`; closed when their processes have ended
 * @returns false if the time ran out first
 */
export function waitForEnds(fds: readonly number[], timeoutMs: number): boolean {
  const end = Date.now() + timeoutMs;
  let left = [...fds];
  while (left.length > 0) {
    const ms = Math.min(end - Date.now(), LONGEST_POLL_MS);
    if (ms <= 0) return false;
    const list = Buffer.alloc(left.length * POLLFD_SIZE);
    for (const [i, fd] of left.entries()) {
      list.writeInt32LE(fd, i * POLLFD_SIZE);
      list.writeInt16LE(POLLIN, i * POLLFD_SIZE + 4);
    }
    pollFn(list, left.length, ms);
    const hasEnded = (i: number): boolean => list.readInt16LE(i * POLLFD_SIZE + 6) !== 0;
    for (const [i, fd] of left.entries()) if (hasEnded(i)) closeFd(fd);
    left = left.filter((_, i) => !hasEnded(i));
  }
  return true;
}

const prctlFn = native('int prctl(int option, unsigned long argument)');
const PR_SET_PDEATHSIG = 1;

/** prctl(2): this process gets `signal` when its parent ends. Call it on the main thread. */
export function signalAtParentsEnd(signal: number): 0 | Errno {
  return asErrno(prctlFn(PR_SET_PDEATHSIG, signal));
}
