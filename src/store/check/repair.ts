/** Moves damaged objects to quarantine, and fetches good copies from other repositories. */
import { randomBytes } from 'node:crypto';
import { closeSync, fstatSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import { fromHex } from '../../base/bytes.ts';
import { errnoOf } from '../../base/errno.ts';
import { CfsError, reasonOf, withHint } from '../../base/error.ts';
import { fchmodSync } from '../../system/file-calls.ts';
import { OBJECT_MODE } from '../layout.ts';
import type { LocalRepository } from '../local-repository.ts';
import { type LockWait, lockForRepair } from '../lock.ts';
import { type FetchedObject, ObjectFetcher } from '../object-fetcher.ts';
import { quarantine } from '../quarantine.ts';
import { checkOne, type Damage } from './check-directory.ts';

/** The result for a damaged object. */
export interface Repaired extends Damage {
  /** The new path of the bad file, from the repository's directory; undefined if it was left, or did not exist. */
  readonly quarantined?: string;
  /** The repository that a good copy came from. */
  readonly from?: string;
  /** Why there is no good copy; undefined if there is one, or no repository was searched for one. */
  readonly hindrance?: string;
}

/**
 * Moves damaged objects away and fetches good ones from the first of `sources` that has them. Killed at any point it
 * leaves each object bad, in quarantine, or good, and files in tmp/.
 * @returns the result for each; objects that have become good are left out
 * @throws the reason that ended the waiting for the lock
 */
export async function repairAll(
  repository: LocalRepository,
  damage: readonly Damage[],
  sources: readonly LocalRepository[],
  wait: LockWait = {},
): Promise<readonly Repaired[]> {
  if (damage.length === 0) return [];
  try {
    const lock = await lockForRepair(repository, wait);
    const fetcher = new ObjectFetcher(repository, sources, `${randomBytes(8).toString('hex')}-`);
    try {
      const repaired: Repaired[] = [];
      for (const each of damage) {
        if (wait.signal?.aborted === true) throw wait.signal.reason;
        const result = repairOne(repository, each, sources.length > 0 ? fetcher : undefined);
        if (result !== undefined) repaired.push(result);
      }
      fetcher.sync();
      return repaired;
    } finally {
      fetcher.close();
      lock.release();
    }
  } catch (error) {
    if (!(error instanceof CfsError) || error.kind !== 'store') throw error;
    // a repository that may only be read is checked all the same
    return damage.map((each) => ({ ...each, hindrance: withHint(error.message, error.hint) }));
  }
}

function repairOne(
  repository: LocalRepository,
  damage: Damage,
  fetcher: ObjectFetcher | undefined,
): Repaired | undefined {
  const { object } = damage;
  // nothing else changes it from here on; the earlier finding may have been a transient error of the disk
  const now = checkOne(repository, object);
  if (now === undefined) return undefined;
  let result: Repaired = now.kind === 'missing' ? damage : { object, ...now };
  let fetched: FetchedObject | string = '';
  try {
    if (fetcher !== undefined) fetched = fetcher.fetch(fromHex(object));
    const isGood = typeof fetched !== 'string';
    // a file that cannot be read now may be readable tomorrow
    if (now.kind !== 'missing' && (now.kind !== 'unreadable' || isGood)) {
      result = { ...result, quarantined: quarantine(repository, object) };
    }
    if (typeof fetched === 'string') return fetched === '' ? result : { ...result, hindrance: fetched };
    fetcher?.publish(fetched);
    return { ...result, from: fetched.from.path };
  } catch (error) {
    if (errnoOf(error) === undefined) throw error;
    if (typeof fetched !== 'string') fetcher?.discard(fetched);
    return { ...result, hindrance: `Cannot write to repository ${repository.path}: ${reasonOf(error)}` };
  }
}

/**
 * Removes write permission from an object's file.
 * @param path from the repository's directory
 * @throws errors of node:fs
 */
export function mendMode(repository: LocalRepository, path: string): void {
  const directory = repository.directory(dirname(path));
  try {
    const fd = directory.openFile(basename(path));
    try {
      fchmodSync(fd, fstatSync(fd).mode & OBJECT_MODE);
    } finally {
      closeSync(fd);
    }
  } finally {
    directory.close();
  }
}
