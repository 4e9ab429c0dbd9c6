/** flock(2), which node does not have. A lock belongs to the open file, not to the process, and ends with its last descriptor. */
import { createRequire } from 'node:module';
import { EAGAIN, errnoOf } from '../base/errno.ts';
import { throwing } from './fail-points.ts';

/** Shared or exclusive, without waiting. */
export type FlockMode = 'shnb' | 'exnb';

const flockSync = throwing('flock', (fd: number, mode: FlockMode): void => {
  // loaded at the first lock: whoever only reads objects takes none
  fsExt ??= createRequire(import.meta.url)('fs-ext') as { flockSync: (fd: number, mode: FlockMode) => void };
  fsExt.flockSync(fd, mode);
});
let fsExt: { flockSync: (fd: number, mode: FlockMode) => void } | undefined;

/**
 * Takes the lock, or changes the one that `fd` has.
 * @returns false where somebody else holds it
 * @throws what node:fs would throw, e.g. ENOLCK on a file system without locks
 */
export function tryLock(fd: number, mode: FlockMode): boolean {
  try {
    flockSync(fd, mode);
    return true;
  } catch (error) {
    if (errnoOf(error) === EAGAIN || (error as NodeJS.ErrnoException).code === 'EAGAIN') return false;
    throw error;
  }
}
