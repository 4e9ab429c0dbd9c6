/**
 * Modes of the files in a repository that processes lock. flock(2) needs only read permission: a user that may read
 * such a file can block its owner. So they are readable only with write permission on the repository.
 */

import { fchownSync, fstatSync } from 'node:fs';
import { isErrno } from '../base/errno.ts';
import { S_IWGRP, S_IWOTH } from '../base/stat-bits.ts';
import { fchmodSync } from '../system/file-calls.ts';
import { statFd } from '../system/file-status.ts';
import type { StoreDirectory } from './store-directory.ts';

const GROUP = 0o060;
const OTHERS = 0o006;

/** The users that may write to a repository, as mode and owner of a file that they may lock. */
export interface Lockers {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

/** @param root the repository's directory */
export function lockersOf(root: StoreDirectory): Lockers {
  const own = statFd(root.fd);
  if (isErrno(own)) return { mode: 0o600, uid: process.geteuid?.() ?? 0, gid: process.getegid?.() ?? 0 };
  // the lock's mode counts, too: a repository can be shared by making only its writable parts group-writable
  const mode = own.mode | (root.stat('lock')?.mode ?? 0);
  const group = (mode & S_IWGRP) === 0 ? 0 : GROUP;
  return { mode: 0o600 | group | ((mode & S_IWOTH) === 0 ? 0 : OTHERS), uid: own.uid, gid: own.gid };
}

/**
 * For a new file: a file that root creates in another user's repository is given to that user. @param mask the allowed
 * mode bits
 */
export function giveTo(fd: number, { mode, uid, gid }: Lockers, mask = 0o666): void {
  if (process.geteuid?.() === 0 && uid !== 0) fchownSync(fd, uid, gid);
  else if ((mode & GROUP) !== 0 && fstatSync(fd).gid !== gid) giveToGroup(fd, gid);
  fchmodSync(fd, mode & mask);
}

/** The group of the repository, if it has no set-group-ID bit. */
function giveToGroup(fd: number, gid: number): void {
  try {
    fchownSync(fd, fstatSync(fd).uid, gid);
  } catch {
    // this user is not in the group, and has write permission by other means
  }
}

/**
 * Removes read permission for users without write permission on the repository, from a file of this user that an older
 * version created.
 */
export function narrow(fd: number, { mode: allowed }: Lockers): void {
  const { mode, uid } = fstatSync(fd);
  if (uid === process.geteuid?.() && (mode & 0o066 & ~allowed) !== 0) fchmodSync(fd, mode & (0o7700 | allowed));
}
