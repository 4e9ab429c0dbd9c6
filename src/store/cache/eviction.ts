/** Makes a cache smaller: the files that were not used for the longest time are deleted. */
import { setImmediate } from 'node:timers/promises';
import { EEXIST, ENOENT, errnoOf } from '../../base/errno.ts';
import { CfsError } from '../../base/error.ts';
import { closeFd } from '../../system/descriptors.ts';
import type { LocalRepository } from '../local-repository.ts';
import type { CacheDirectory } from './cache-directory.ts';
import { type CachedFile, type CachedKind, filesIn } from './cached-files.ts';
import { whileUnused } from './image-use.ts';
import { Pins } from './pins.ts';

/** Files that are deleted before other work of the thread. */
const AT_ONCE = 256;

/** The sizes of a cache, in bytes on the disk. */
export interface Eviction {
  readonly before: number;
  readonly after: number;
  /** What was deleted, or would be. */
  readonly deleted: Readonly<Record<CachedKind, number>>;
  /** Why the objects of some pinned images are not known, and were not kept. */
  readonly problems: readonly string[];
}

/** How much of a cache may stay, of its bytes; undefined: all of it. */
export type Allowance = (before: number) => number | undefined;

export interface EvictOptions {
  /** Delete nothing, only report what would be deleted. */
  readonly dryRun?: boolean;
  readonly signal?: AbortSignal | undefined;
  /** Delete nothing if the objects of a pinned image are not known: the default is to go on without them. */
  readonly strict?: boolean;
}

/**
 * Deletes files of a cache until it has at most as many bytes as are allowed. Open files remain readable; pinned
 * images, their objects, and images that a mount uses stay. Other work of the thread goes on in between. Killed at any
 * point it leaves a cache that is as good.
 * @throws errors of node:fs; CfsError (store) if another directory has taken its place, or as `strict` says; the reason
 *   of the signal
 */
export async function evict(
  cache: CacheDirectory,
  allowance: Allowance,
  options: EvictOptions = {},
): Promise<Eviction> {
  const deleted = { object: 0, image: 0, leftover: 0 };
  let first: number | undefined;
  let allowed: number | undefined;
  const allow: Allowance = (before) => {
    if (first === undefined) allowed = allowance(before);
    first ??= before;
    return allowed;
  };
  for (;;) {
    const pins = Pins.open(cache);
    try {
      const { after, problems, isStopped } = await evictAround(pins, cache, allow, options, deleted);
      if (!isStopped) return { before: first ?? after, after, deleted, problems };
    } finally {
      pins.close();
    }
  }
}

/** @returns that it stopped, for images that were pinned in the meantime */
async function evictAround(
  pins: Pins,
  cache: CacheDirectory,
  allowance: Allowance,
  { dryRun = false, signal, strict = false }: EvictOptions,
  deleted: Record<CachedKind, number>,
): Promise<{ readonly after: number; readonly problems: readonly string[]; readonly isStopped: boolean }> {
  const { problems } = pins;
  if (strict && problems.length > 0) throw new CfsError('store', `Nothing is deleted: ${problems.join('; ')}`);
  const files = await filesIn(cache, pins, { signal });
  const before = files.reduce((sum, { bytes }) => sum + bytes, 0);
  const allowed = allowance(before);
  if (allowed === undefined || before <= allowed) return { after: before, problems, isStopped: false };
  files.sort((a, b) => a.used - b.used);
  let after = before;
  let isStopped = false;
  try {
    for (const [i, file] of files.entries()) {
      if (after <= allowed) break;
      if (i % AT_ONCE === 0) {
        await setImmediate();
        if (signal?.aborted === true) throw signal.reason;
        isStopped = pins.areOld(cache);
        if (isStopped) break;
      }
      if (file.isPinned || !remove(cache, file, dryRun)) continue;
      after -= file.bytes;
      deleted[file.kind]++;
    }
  } finally {
    if (!dryRun && after < before) for (const repository of cache.repositories) tellEviction(repository);
  }
  return { after, problems, isStopped };
}

/** False if the file stays. Another process may be deleting, too. */
function remove(cache: CacheDirectory, { kind, repository, below, name }: CachedFile, dryRun: boolean): boolean {
  const unlink = (directory: { unlink(name: string): void }): void => {
    if (!dryRun) directory.unlink(name);
  };
  try {
    if (repository !== undefined) repository.within(below, unlink);
    else if (kind === 'leftover') cache.withImages(unlink);
    else return cache.withImages((images) => whileUnused(images, name, () => unlink(images))) ?? true;
  } catch (error) {
    if (errnoOf(error) !== ENOENT) throw error;
  }
  return true;
}

/** The file of a repository of a cache that is made anew after something was deleted: other processes look at it. */
export const EVICTED = 'evicted';

/** Another mount that does not learn of it holds deleted files a little longer. */
function tellEviction(repository: LocalRepository): void {
  const ignoring = (errno: number, work: () => void): void => {
    try {
      work();
    } catch (error) {
      if (errnoOf(error) !== errno) throw error;
    }
  };
  try {
    const root = repository.enter();
    try {
      ignoring(ENOENT, () => root.unlink(EVICTED));
      // another process was quicker
      ignoring(EEXIST, () => closeFd(root.create(EVICTED, 0o644)));
    } finally {
      root.close();
    }
  } catch (error) {
    if (!(error instanceof CfsError) && errnoOf(error) === undefined) throw error;
  }
}
