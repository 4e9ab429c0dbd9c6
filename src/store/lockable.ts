/**
 * Modes of the files in a store that processes lock. flock(2) needs no more than the right to read: a user that may read such a file
 * can hold up its owner. So they may be read by those alone that may write to the store.
 */
import { fchownSync, fstatSync } from 'node:fs';
import { isErrno } from '../base/errno.ts';
import { fchmodSync } from '../system/file-calls.ts';
import { statFd } from '../system/file-status.ts';
import type { StoreDirectory } from './store-directory.ts';

const GROUP = 0o060;
const OTHERS = 0o006;
const GROUP_WRITES = 0o020;
const OTHERS_WRITE = 0o002;

/** Who may write to a store, as the mode and the owner of a file that they may lock. */
export interface Lockers {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

/** @param root the store's directory */
export function lockersOf(root: StoreDirectory): Lockers {
  const own = statFd(root.fd);
  if (isErrno(own)) return { mode: 0o600, uid: process.geteuid?.() ?? 0, gid: process.getegid?.() ?? 0 };
  // the lock's mode counts, too: somebody may have shared the store by what must be writable alone
  const mode = own.mode | (root.stat('lock')?.mode ?? 0);
  const group = (mode & GROUP_WRITES) === 0 ? 0 : GROUP;
  return { mode: 0o600 | group | ((mode & OTHERS_WRITE) === 0 ? 0 : OTHERS), uid: own.uid, gid: own.gid };
}

/** For a file that was made here: what root makes in somebody's store is that user's. @param mask what the mode may have */
export function giveTo(fd: number, { mode, uid, gid }: Lockers, mask = 0o666): void {
  if (process.geteuid?.() === 0 && uid !== 0) fchownSync(fd, uid, gid);
  else if ((mode & GROUP) !== 0 && fstatSync(fd).gid !== gid) giveToGroup(fd, gid);
  fchmodSync(fd, mode & mask);
}

/** Of the store's group, where it has no set-group-ID bit. */
function giveToGroup(fd: number, gid: number): void {
  try {
    fchownSync(fd, fstatSync(fd).uid, gid);
  } catch {
    // this user is not in it, and has the right to write by other means
  }
}

/** Takes the right to read from those that may not write to the store, in a file of this user that an older version made. */
export function narrow(fd: number, { mode: allowed }: Lockers): void {
  const { mode, uid } = fstatSync(fd);
  if (uid === process.geteuid?.() && (mode & 0o066 & ~allowed) !== 0) fchmodSync(fd, mode & (0o7700 | allowed));
}
