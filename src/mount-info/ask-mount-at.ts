/** Queries the mount of a path on the command line. */
import { closeSync, constants, openSync } from 'node:fs';
import { ENOTCONN, ENOTTY, type Errno, errnoOf, isErrno } from '../base/errno.ts';
import { CfsError, reasonOf } from '../base/error.ts';
import { pathText } from '../base/path-text.ts';
import { errnoText } from '../system/libc.ts';
import { listMounts } from '../system/mount-table.ts';
import { askMount, askSource } from './ask-mount.ts';
import type { MountRecord } from './mount-record.ts';
import { mountOfFd } from './open-path.ts';
import type { SourceRecord } from './source-record.ts';

export interface MountAnswer {
  readonly mount: MountRecord;
  readonly sources: readonly SourceRecord[];
}

/**
 * Queries the mount that contains the directory `path`.
 * @throws CfsError: `usage` if it is not in a mount of cfs, `system` if it cannot be queried
 */
export function askMountAt(path: string | Uint8Array): MountAnswer {
  const shown = typeof path === 'string' ? path : pathText(path);
  const answer = tryMountAt(path, shown);
  if (!isErrno(answer)) return answer;
  if (answer === ENOTTY) {
    throw new CfsError('usage', `${shown} is not in a mount of cfs`, {
      hint: '`listMounts` lists those of this machine.',
    });
  }
  const isDead = answer === ENOTCONN;
  throw new CfsError(
    'system',
    `Cannot ask the mount at ${shown}: ${isDead ? 'its daemon is dead' : errnoText(answer)}`,
    {
      hint: isDead ? `'umount ${shown}' removes it.` : undefined,
    },
  );
}

function tryMountAt(path: string | Uint8Array, shown: string): MountAnswer | Errno {
  let fd: number;
  try {
    fd = openSync(typeof path === 'string' ? path : Buffer.from(path), constants.O_RDONLY | constants.O_DIRECTORY);
  } catch (error) {
    if (errnoOf(error) === ENOTCONN) return ENOTCONN;
    throw new CfsError('system', `Cannot open ${shown}: ${reasonOf(error)}`, { cause: error });
  }
  try {
    return askFd(fd);
  } finally {
    closeSync(fd);
  }
}

/** @param fd an open directory of a mount */
export function askFd(fd: number): MountAnswer | Errno {
  const mount = askMount(fd);
  if (isErrno(mount)) return mount;
  const sources: SourceRecord[] = [];
  for (let i = 0; i < mount.sources; i++) {
    const source = askSource(fd, i);
    if (isErrno(source)) return source;
    sources.push(source);
  }
  return { mount, sources };
}

/** The current path of the mount, which may have been moved; undefined if this process cannot see it. */
export function mountpointOf(path: string): Uint8Array | undefined {
  const fd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    return mountOfFd(fd, listMounts())?.mountpointBytes;
  } finally {
    closeSync(fd);
  }
}
