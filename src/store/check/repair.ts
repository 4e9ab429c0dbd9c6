/** Damaged objects: moved to quarantine, and fetched again where another repository has a good copy. */
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

/** What became of a damaged object. */
export interface Repaired extends Damage {
  /** Where the bad file is now, from the repository's directory; undefined where it was left, or there was none. */
  readonly quarantined?: string;
  /** The repository that a good copy came from. */
  readonly from?: string;
  /** Why there is no good copy; undefined where there is one, or nobody was asked for one. */
  readonly hindrance?: string;
}

/**
 * Moves damaged objects away and fetches good ones from the first of `sources` that has them. Killed at any point it
 * leaves each object bad, in quarantine, or good, and files in tmp/.
 * @returns what became of each; one that is good by now is left out
 * @throws what ends the waiting for the lock
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
  // nobody else changes it from here on; what was found before may be an error of the disk that does not come again
  const now = checkOne(repository, object);
  if (now === undefined) return undefined;
  let result: Repaired = now.kind === 'missing' ? damage : { object, ...now };
  let fetched: FetchedObject | string = '';
  try {
    if (fetcher !== undefined) fetched = fetcher.fetch(fromHex(object));
    const isGood = typeof fetched !== 'string';
    // what cannot be read now may be readable tomorrow
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
 * Takes away what lets anybody write to an object's file.
 * @param path from the repository's directory
 * @throws what node:fs throws
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
