/**
 * Open files on their way from one process to another, in the queue of a Unix socket (SCM_RIGHTS of unix(7)). The
 * socket is borrowed from its process, and the first message looked at without taking it. Of later messages only the
 * process itself could look, because that would move the position from which it looks itself.
 */
import { readFileSync } from 'node:fs';
import { isErrno } from '../base/errno.ts';
import { receiveDescriptors } from '../system/descriptor-passing.ts';
import { closeFd } from '../system/descriptors.ts';
import { takeDescriptor } from '../system/other-process.ts';

/** More than a datagram may have by default. */
const LONGEST_MESSAGE = 1 << 19;

export interface FileInFlight {
  /** The receiving socket. */
  readonly socket: SocketOfProcess;
  /** A descriptor of this process, for the caller to close. */
  readonly fd: number;
}

/** A socket of a process, or of a thread with descriptors of its own: the number of the descriptor, and its inode's. */
export interface SocketOfProcess {
  readonly thread?: number | undefined;
  readonly fd: number;
  readonly inode: string;
}

/** Files in the queues of sockets of a process; none if it may not be looked into, or has ended. */
export function filesInFlight(pid: number, sockets: readonly SocketOfProcess[]): FileInFlight[] {
  return unixSockets(pid, sockets).flatMap((socket) => {
    const borrowed = takeDescriptor({ process: pid, thread: socket.thread }, socket.fd);
    if (isErrno(borrowed)) return [];
    const received = receiveDescriptors(borrowed, LONGEST_MESSAGE, { peek: true, dontWait: true });
    closeFd(borrowed);
    return isErrno(received) ? [] : received.fds.map((fd) => ({ socket, fd }));
  });
}

function unixSockets(pid: number, sockets: readonly SocketOfProcess[]): SocketOfProcess[] {
  if (sockets.length === 0) return [];
  try {
    const rows = readFileSync(`/proc/${pid}/net/unix`, 'latin1').split('\n');
    // Num, RefCount, Protocol, Flags, Type, St, Inode, Path
    const inodes = new Set(rows.map((row) => row.split(/\s+/)[6]));
    return sockets.filter(({ inode }) => inodes.has(inode));
  } catch {
    return [];
  }
}
