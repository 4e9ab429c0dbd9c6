/** The last maintenance of a repository. Part of the entry point `store`. */
import { lastRun } from '../store/last-runs.ts';
import { localOf } from './arguments.ts';
import type { Repository } from './repository.ts';

/**
 * The last run of `checkRepository` or `cfs-repo fsck`. `dryRun` and `--dry-run` record nothing.
 * @example
 * import { type LastCheck, lastRuns } from '@cfs-images/cfs/store';
 *
 * const isGood = ({ damaged, repaired, badRoots }: LastCheck): boolean => damaged === repaired && badRoots === 0;
 * const { check } = lastRuns('/srv/store');
 * console.log(check === undefined ? 'never checked' : isGood(check));
 */
export interface LastCheck {
  /** When it ended, and how many milliseconds it took. */
  readonly time: Date;
  readonly ms: number;
  /** Objects that were checked, and their bytes. */
  readonly objects: number;
  readonly bytes: number;
  /** Objects that were damaged or missing. */
  readonly damaged: number;
  /** Of these, objects that a good copy has replaced. */
  readonly repaired: number;
  /** Damaged lists of registered images. */
  readonly badRoots: number;
}

/**
 * The last run of `collectGarbage` or `cfs-repo gc`. `dryRun` and `--dry-run` record nothing.
 * @example
 * import { type LastGc, lastRuns } from '@cfs-images/cfs/store';
 *
 * const freed = ({ freedDiskBytes }: LastGc): number => freedDiskBytes;
 * const { gc } = lastRuns('/srv/store');
 * if (gc !== undefined) console.log(gc.time, freed(gc));
 */
export interface LastGc {
  /** When it ended, and how many milliseconds it took. */
  readonly time: Date;
  readonly ms: number;
  /** Deleted objects, their bytes, and the bytes that they took on the disk. */
  readonly freedObjects: number;
  readonly freedBytes: number;
  readonly freedDiskBytes: number;
  /** The objects that stayed. */
  readonly keptObjects: number;
  readonly keptBytes: number;
  readonly keptDiskBytes: number;
}

/**
 * The results of the last check and the last garbage collection of a repository; undefined if none is recorded. They
 * are notes in the repository: a user that may write there can change them.
 * @throws CfsError (store) if there is no repository
 * @example
 * import { lastRuns } from '@cfs-images/cfs/store';
 *
 * const week = 7 * 24 * 3_600_000;
 * const { check } = lastRuns('/srv/store');
 * if (check === undefined || Date.now() - check.time.getTime() > week) console.log('check it again');
 */
export function lastRuns(repository: string | Repository): {
  readonly check: LastCheck | undefined;
  readonly gc: LastGc | undefined;
} {
  const local = localOf(repository);
  const [check, gc] = [lastRun(local, 'fsck'), lastRun(local, 'gc')];
  return { check: check && { ...check, time: new Date(check.time) }, gc: gc && { ...gc, time: new Date(gc.time) } };
}
