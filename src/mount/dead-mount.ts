/** A mount whose server is gone: it stays in the tree, and everything in it answers ENOTCONN. */
import { statSync } from 'node:fs';
import { resolve } from 'node:path';
import { ENOTCONN, errnoOf } from '../base/errno.ts';
import type { Log } from '../base/log.ts';
import { MNT_DETACH, umount2 } from '../system/mount-calls.ts';
import { mountAt } from '../system/mount-table.ts';

/** Takes a dead mount of cfs away from `mountpoint`; leaves everything else. */
export function detachDead(mountpoint: string, log: Log): void {
  if (mountAt(resolve(mountpoint))?.type !== 'fuse.cfs' || !isDead(mountpoint)) return;
  log(`${mountpoint}: unmounted the dead mount of an earlier server`, 'notice', undefined, 'dead-mount-removed');
  umount2(mountpoint, MNT_DETACH);
}

function isDead(mountpoint: string): boolean {
  try {
    statSync(mountpoint);
    return false;
  } catch (error) {
    return errnoOf(error) === ENOTCONN;
  }
}
