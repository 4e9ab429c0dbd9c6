/** Garbage collection: deletes unused objects. */
import { setTimeout as sleep } from 'node:timers/promises';
import { errnoOf } from '../../base/errno.ts';
import { CfsError, reasonOf } from '../../base/error.ts';
import { rememberRun } from '../last-runs.ts';
import { PREFIXES, prefixName } from '../layout.ts';
import type { LocalRepository } from '../local-repository.ts';
import { type LockWait, listLeftovers, lockForDeleting, removeLeftovers } from '../lock.ts';
import { emptyQuarantine } from '../quarantine.ts';
import { isRegular, type StoreDirectory } from '../store-directory.ts';
import { type Amount, countFile, type MutableAmount, nothing } from './amount.ts';
import { digestsOfNames, mergeDigests, objectNames } from './digest-merge.ts';
import { type Keeper, type KeeperCounts, Keepers, type KeptDigests } from './live-set.ts';
import { removeStrayRecords } from './register.ts';

export type { Amount } from './amount.ts';

export interface GcOptions extends LockWait {
  /** What to keep in addition to registered images and mounts. */
  readonly keep: readonly KeptDigests[];
  /** Objects that are younger than this are kept. In milliseconds. */
  readonly minAgeMs: number;
  /** Delete nothing, only report what would be deleted. */
  readonly dryRun: boolean;
  /** Proceed even if nothing keeps any object. */
  readonly keepNone: boolean;
  /** Delete the files in quarantine/, too. */
  readonly emptyQuarantine: boolean;
  /** Receives the number of finished directories, of the 256. */
  readonly onProgress?: (directories: number) => void;
  /** Receives each object that is deleted, or would be: its digest and size. */
  readonly onFreed?: ((object: string, bytes: number) => void) | undefined;
}

export interface GcResult extends KeeperCounts {
  readonly freed: Amount;
  /** Of these, `young` are kept only because they are new. */
  readonly kept: Amount;
  readonly young: Amount;
  /** The images that keep objects. */
  readonly keepers: readonly Keeper[];
  /** Files of dead writers in tmp/. */
  readonly leftovers: number;
  /** Files in quarantine/ that were deleted. */
  readonly quarantined: number;
}

/** How long others are locked out at a time: a concurrent mount waits for at most this and one directory. */
const SLICE_MS = 200;
/** Longer than the pause between two attempts of a process that waits for the lock. */
const PAUSE_MS = 75;

/**
 * Deletes all unused objects, and the leftovers of dead writers. Killed at any point it leaves nothing that the next
 * run does not find.
 * @throws CfsError: `usage` if nothing keeps any object, `store` if it is unclear which objects are needed, or a file
 *   cannot be deleted; everything deleted before was unused
 */
export async function collectGarbage(repository: LocalRepository, options: GcOptions): Promise<GcResult> {
  const started = performance.now();
  const result = await collect(repository, options);
  const { freed, kept } = result;
  if (!options.dryRun) {
    const counts = {
      freedObjects: freed.objects,
      freedBytes: freed.bytes,
      freedDiskBytes: freed.diskBytes,
      keptObjects: kept.objects,
      keptBytes: kept.bytes,
      keptDiskBytes: kept.diskBytes,
    };
    rememberRun(repository, 'gc', counts, performance.now() - started);
  }
  return result;
}

async function collect(repository: LocalRepository, options: GcOptions): Promise<GcResult> {
  const { dryRun } = options;
  const keepers = new Keepers(repository, options.keep, options.minAgeMs, dryRun);
  let lock = await lockForDeleting(repository, options);
  // not the wall clock, which may be set during the run
  let since = performance.now();
  const sweep = new Sweep(repository, keepers, options);
  try {
    keepers.refresh();
    if (keepers.isEmpty && !options.keepNone) {
      throw new CfsError(
        'usage',
        `No object of ${repository.path} would be kept: no image is registered or mounted, and none is named to be kept`,
        { hint: '`keepNone` deletes all objects.' },
      );
    }
    if (!dryRun) removeStrayRecords(repository);
    const leftovers = dryRun ? listLeftovers(repository).length : removeLeftovers(repository);
    const quarantined = options.emptyQuarantine ? emptyQuarantine(repository, dryRun) : 0;
    for (let prefix = 0; prefix < PREFIXES; prefix++) {
      if (performance.now() - since > SLICE_MS) {
        lock.release();
        await sleep(PAUSE_MS);
        lock = await lockForDeleting(repository, options);
        since = performance.now();
        keepers.refresh();
      }
      if (options.signal?.aborted === true) throw options.signal.reason;
      sweep.run(prefix);
      options.onProgress?.(prefix + 1);
    }
    return { ...sweep.amounts, ...keepers.counts, keepers: keepers.keepers, leftovers, quarantined };
  } catch (error) {
    if (error instanceof CfsError || errnoOf(error) === undefined) throw error;
    throw new CfsError('store', `Cannot clean repository ${repository.path}: ${reasonOf(error)}`, { cause: error });
  } finally {
    lock.release();
    keepers.close();
  }
}

class Sweep {
  readonly amounts: { readonly freed: MutableAmount; readonly kept: MutableAmount; readonly young: MutableAmount };
  readonly #repository: LocalRepository;
  readonly #keepers: Keepers;
  readonly #options: GcOptions;

  constructor(repository: LocalRepository, keepers: Keepers, options: GcOptions) {
    this.amounts = { freed: nothing(), kept: nothing(), young: nothing() };
    this.#repository = repository;
    this.#keepers = keepers;
    this.#options = options;
  }

  /** Deletes the unused objects in one directory. Other files are left to fsck. */
  run(prefix: number): void {
    this.#repository.within(`objects/${prefixName(prefix)}`, (directory) => {
      const names = objectNames(directory);
      if (names.length === 0) return;
      const isNeeded = markNeeded(prefix, names, this.#keepers.needed(prefix));
      for (const [i, name] of names.entries()) this.#take(directory, prefix, name, isNeeded[i] === 1);
    });
  }

  #take(directory: StoreDirectory, prefix: number, name: string, isNeeded: boolean): void {
    const stat = directory.stat(name);
    if (stat === undefined || !isRegular(stat)) return;
    const isYoung = Date.now() - (stat.ctime * 1000 + stat.ctimeNsec / 1e6) < this.#options.minAgeMs;
    if (isNeeded || isYoung) {
      countFile(this.amounts.kept, stat);
      if (!isNeeded) countFile(this.amounts.young, stat);
      return;
    }
    if (!this.#options.dryRun) directory.unlink(name);
    countFile(this.amounts.freed, stat);
    this.#options.onFreed?.(prefixName(prefix) + name, stat.size);
  }
}

/**
 * Determines which objects are needed: 1 for each that is.
 * @param names of objects in the directory of `prefix`, sorted
 * @param needed digests of this prefix, several lists that ascend
 */
function markNeeded(prefix: number, names: readonly string[], needed: Iterable<Uint8Array>): Uint8Array {
  const own = digestsOfNames(prefix, names);
  const marks = new Uint8Array(names.length);
  for (const list of needed) {
    mergeDigests(own, list, (row) => {
      marks[row] = 1;
    });
  }
  return marks;
}
