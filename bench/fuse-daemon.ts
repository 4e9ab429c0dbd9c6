/** The daemon behind a FUSE mount: its process, and its end. */
import { accessSync, constants } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { CfsError, reasonOf } from '../src/base/error.ts';
import { unmount } from './mounts.ts';
import { commandLine } from './processes.ts';

/** How long a daemon may live after its mount is gone, before it is killed: it would disturb the next sample. */
const END_TRIES = 400;
const END_WAIT_MS = 50;

/** The reason why nothing can be mounted through FUSE here; undefined if it can. */
export function fuseUnavailable(): string | undefined {
  try {
    accessSync('/dev/fuse', constants.R_OK | constants.W_OK);
    return undefined;
  } catch (error) {
    return `/dev/fuse cannot be opened: ${reasonOf(error)}`;
  }
}

/**
 * Unmounts, and waits until the daemon is gone. One that stays is killed, and an error reports that.
 * @param program a part of its command line: the number may belong to another process by then
 */
export async function unmountDaemon(mountpoint: string, pid: number | undefined, program: string): Promise<void> {
  await unmount(mountpoint);
  if (pid === undefined) return;
  for (let attempt = 0; attempt < END_TRIES; attempt++) {
    if (!commandLine(pid).includes(program)) return;
    await sleep(END_WAIT_MS);
  }
  process.kill(pid, 'SIGKILL');
  throw new CfsError(
    'system',
    `the daemon ${pid} of ${mountpoint} did not end after the unmount (does another mount namespace hold the mount?), and was killed`,
  );
}
