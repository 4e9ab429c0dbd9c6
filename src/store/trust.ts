/**
 * Whether root may write into a repository. Its writers control what root finds there. No symbolic link in it is
 * followed and no fifo waited for, but root's writing into another user's directory still needs consent, like git's
 * safe.directory.
 */

import { statSync } from 'node:fs';
import { isErrno } from '../base/errno.ts';
import { CfsError } from '../base/error.ts';
import { S_IWGRP, S_IWOTH } from '../base/stat-bits.ts';
import { statFd } from '../system/file-status.ts';
import { isDirectory, StoreDirectory } from './store-directory.ts';

/** One path per line; "#" begins a comment, and "*" matches every repository. */
const SAFE_STORES = '/etc/cfs/safe-stores';
const SAFE_STORES_LIMIT = 64 << 10;

/**
 * Why this process, if it is root's, must not write into a repository; undefined if it may. A repository that is owned
 * by root and group-writable is shared on purpose.
 * @param root the repository's directory
 */
export function distrust(root: StoreDirectory): string | undefined {
  if (process.geteuid?.() !== 0) return undefined;
  const reason = writerOf(root);
  return reason === undefined || isNamedSafe(root) ? undefined : reason;
}

/**
 * Refuses a repository of another user if this process is root's.
 * @throws CfsError (store) that says how to proceed
 */
export function requireTrust(root: StoreDirectory): void {
  const reason = distrust(root);
  if (reason === undefined) return;
  throw new CfsError('store', `Cannot write to repository ${root.path} as root: ${reason}`, {
    hint: `Do it as that user, or trust the repository by naming it in CFS_SAFE_STORES or on a line of ${SAFE_STORES}.`,
  });
}

/** The other users that may write to it, unless root decided so. */
function writerOf(root: StoreDirectory): string | undefined {
  const own = statFd(root.fd);
  if (isErrno(own)) return undefined;
  if (own.uid !== 0) return `user ${own.uid} owns it`;
  if ((own.mode & S_IWOTH) !== 0) return 'everybody may write to it';
  for (const name of ['objects', 'tmp']) {
    const stat = root.stat(name);
    if (stat === undefined || !isDirectory(stat)) continue;
    if ((stat.mode & S_IWOTH) !== 0) return `everybody may write to its ${name}`;
    if (stat.uid !== 0 && (own.mode & S_IWGRP) === 0) return `user ${stat.uid} owns its ${name}`;
  }
  return undefined;
}

function isNamedSafe(root: StoreDirectory): boolean {
  const { dev, ino } = root.place;
  const named = [...(process.env['CFS_SAFE_STORES'] ?? '').split(':'), ...linesOf(SAFE_STORES)];
  return named.some((word) => {
    const path = word.trim();
    if (path === '*') return true;
    if (!path.startsWith('/')) return false;
    try {
      const stat = statSync(path, { throwIfNoEntry: false });
      return stat !== undefined && stat.dev === dev && stat.ino === ino;
    } catch {
      return false;
    }
  });
}

function linesOf(path: string): readonly string[] {
  try {
    const directory = StoreDirectory.at(path.slice(0, path.lastIndexOf('/')));
    try {
      const text = directory.readText(path.slice(path.lastIndexOf('/') + 1), SAFE_STORES_LIMIT);
      return text.split('\n').map((line) => line.replace(/#.*/, ''));
    } finally {
      directory.close();
    }
  } catch {
    return []; // most machines have no such file
  }
}
