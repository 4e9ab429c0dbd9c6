/**
 * Whether an image file of a cache is in use. A mount has a shared flock(2) on its image file, which ends with the last
 * descriptor of that open file; a file is deleted under an exclusive one. Another user that may read the file can
 * prevent that it is deleted, and nothing else: nobody waits for these locks.
 */
import { closeSync, constants, fstatSync } from 'node:fs';
import { errnoOf } from '../../base/errno.ts';
import { tryLock } from '../../system/flock.ts';
import type { StoreDirectory } from '../store-directory.ts';

const TRIES = 20;
const PAUSE_MS = 5;

/**
 * Keeps an open image file from being deleted, as long as a descriptor of this open file is open. On file systems
 * without locks it does nothing: a mount needs the name of its image only to be repeated.
 * @returns false if the file has been deleted, or is about to be
 */
export function keepInUse(fd: number): boolean {
  try {
    // a process that looks whether it is in use has it locked for a moment
    for (let tries = 0; !tryLock(fd, 'shnb'); tries++) {
      if (tries === TRIES) return false;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, PAUSE_MS);
    }
  } catch (error) {
    if (errnoOf(error) === undefined) throw error;
  }
  return fstatSync(fd).nlink > 0;
}

/** Whether a process has it in use, or that cannot be found out. @throws errors of node:fs */
export const isInUse = (images: StoreDirectory, name: string): boolean => !whileUnused(images, name, () => undefined);

/**
 * Runs `work` while no process has the file in use, nor takes it into use.
 * @returns false if it is in use, or that cannot be found out
 * @throws errors of node:fs if the file cannot be opened, and those of `work`
 */
export function whileUnused(images: StoreDirectory, name: string, work: () => void): boolean {
  // its time of the last use stays
  const fd = images.openFile(name, constants.O_RDONLY);
  try {
    if (!isUnused(fd)) return false;
    work();
    return true;
  } finally {
    closeSync(fd);
  }
}

function isUnused(fd: number): boolean {
  try {
    return tryLock(fd, 'exnb');
  } catch (error) {
    if (errnoOf(error) === undefined) throw error;
    return false;
  }
}
