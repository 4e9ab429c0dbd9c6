/**
 * flock(2), which node does not have. A lock belongs to the open file, not to the process, and ends with its last
 * descriptor.
 */
import { createRequire } from 'node:module';
import { EAGAIN, type Errno, errnoOf, isErrno } from '../base/errno.ts';
import { throwing } from './fail-points.ts';
import { asErrno, native, systemError } from './libc.ts';

const flockFn = native('int flock(int fd, int operation)');
export const LOCK_SH = 1;
export const LOCK_EX = 2;
export const LOCK_NB = 4;

/** flock(2) through libc. `operation`: LOCK_SH or LOCK_EX, or'ed with LOCK_NB. */
export function flock(fd: number, operation: number): 0 | Errno {
  return asErrno(flockFn(fd, operation));
}

/** Shared or exclusive, without waiting. */
export type FlockMode = 'shnb' | 'exnb';

/** Takes the lock, or throws the error of node:fs. */
export type FlockSync = (fd: number, mode: FlockMode) => void;

const OPERATIONS: Readonly<Record<FlockMode, number>> = { shnb: LOCK_SH | LOCK_NB, exnb: LOCK_EX | LOCK_NB };

/** The same through libc. */
const libcFlock: FlockSync = (fd, mode) => {
  const result = flock(fd, OPERATIONS[mode]);
  if (isErrno(result)) throw systemError(result, 'flock', `file descriptor ${fd}`);
};

/** The native module; it is compiled for one major version of node, and loads in no other. */
const loadFsExt = (): FlockSync => (createRequire(import.meta.url)('fs-ext') as { flockSync: FlockSync }).flockSync;

/** The function of fs-ext, or that of libc if `load` cannot load it. */
export function flockOf(load: () => FlockSync = loadFsExt): FlockSync {
  let flockSync: FlockSync;
  try {
    flockSync = load();
  } catch {
    return libcFlock;
  }
  return (fd, mode) => {
    try {
      flockSync(fd, mode);
    } catch (error) {
      // its numbers are positive
      const { errno } = error as NodeJS.ErrnoException;
      throw errno === undefined ? error : systemError(-Math.abs(errno) as Errno, 'flock', `file descriptor ${fd}`);
    }
  };
}

let flockSync: FlockSync | undefined;

const takeLock = throwing('flock', (fd: number, mode: FlockMode): void => {
  // loaded at the first lock: a process that only reads objects takes none
  flockSync ??= flockOf();
  flockSync(fd, mode);
});

/**
 * Takes the lock, or changes the one that `fd` has.
 * @returns false if another process holds it
 * @throws the error of node:fs, e.g. ENOLCK on a file system without locks
 */
export function tryLock(fd: number, mode: FlockMode): boolean {
  try {
    takeLock(fd, mode);
    return true;
  } catch (error) {
    if (errnoOf(error) === EAGAIN) return false;
    throw error;
  }
}
