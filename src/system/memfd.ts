/** Files in memory, and sealing them. As in descriptors.ts: a result or a negative errno. */
import type { Errno } from '../base/errno.ts';
import { asErrno, cString, native } from './libc.ts';

const memfdCreateFn = native('int memfd_create(const void *name, unsigned int flags)');
const MFD_CLOEXEC = 1;
const MFD_ALLOW_SEALING = 2;

/**
 * memfd_create(2), close-on-exec: a file in memory that lives as long as a process has it open. `name` is shown in
 * /proc.
 */
export function memfdCreate(name: string): number | Errno {
  return memfdCreateFn(cString(name), MFD_CLOEXEC | MFD_ALLOW_SEALING);
}

const fcntlFn = native('int fcntl(int fd, int command, int argument)');
const F_ADD_SEALS = 1033;
const F_GET_SEALS = 1034;
/** F_SEAL_SEAL, _SHRINK, _GROW, _WRITE: the file can no longer change. */
const ALL_SEALS = 0b1111;

/** Seals a file in memory: from then on it cannot be changed. */
export function sealMemfd(fd: number): 0 | Errno {
  return asErrno(fcntlFn(fd, F_ADD_SEALS, ALL_SEALS));
}

/** Whether `fd` is a file in memory that was sealed in this way. */
export const isSealedMemfd = (fd: number): boolean => fcntlFn(fd, F_GET_SEALS, 0) === ALL_SEALS;
