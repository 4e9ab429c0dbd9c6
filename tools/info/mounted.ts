/** The mount that a path of the command line lies in, and what it says of itself. */
import { closeSync, constants, openSync } from 'node:fs';
import { ENOTCONN, ENOTTY, type Errno, errnoOf, isErrno } from '../../src/base/errno.ts';
import { CfsError, reasonOf } from '../../src/base/error.ts';
import { pathText } from '../../src/base/path-text.ts';
import { askMount, askSource } from '../../src/records/ask-mount.ts';
import type { MountRecord } from '../../src/records/mount-record.ts';
import type { SourceRecord } from '../../src/records/source-record.ts';
import { errnoText } from '../../src/system/libc.ts';

export interface MountAnswer {
  readonly mount: MountRecord;
  readonly sources: readonly SourceRecord[];
}

/**
 * Asks the mount that the directory `path` lies in.
 * @throws CfsError: `usage` where it lies in no mount of cfs, `system` where it cannot be asked
 */
export function askMountAt(path: string | Uint8Array): MountAnswer {
  const shown = typeof path === 'string' ? path : pathText(path);
  const answer = tryMountAt(path, shown);
  if (!isErrno(answer)) return answer;
  if (answer === ENOTTY) {
    throw new CfsError('usage', `${shown} is not in a mount of cfs. 'cfs-info mounts' lists those of this machine.`);
  }
  const reason = answer === ENOTCONN ? `its daemon is dead. 'umount ${shown}' takes it away.` : errnoText(answer);
  throw new CfsError('system', `Cannot ask the mount at ${shown}: ${reason}`);
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
