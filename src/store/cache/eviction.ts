/** Makes a cache smaller: the files that were not used for the longest time are deleted. */
import { randomBytes } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import { ENOENT, errnoOf } from '../../base/errno.ts';
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
  const pins = Pins.open(cache);
  try {
    return await evictAround(pins, cache, allowance, options);
  } finally {
    pins.close();
  }
}

async function evictAround(
  pins: Pins,
  cache: CacheDirectory,
  allowance: Allowance,
  { dryRun = false, signal, strict = false }: EvictOptions,
): Promise<Eviction> {
  const { problems } = pins;
  if (strict && problems.length > 0) throw new CfsError('store', `Nothing is deleted: ${problems.join('; ')}`);
  const files = await filesIn(cache, pins, { signal });
  const before = files.reduce((sum, { bytes }) => sum + bytes, 0);
  const allowed = allowance(before);
  const deleted = { object: 0, image: 0, leftover: 0 };
  if (allowed === undefined || before <= allowed) return { before, after: before, deleted, problems };
  files.sort((a, b) => a.used - b.used);
  const changed = new Set<LocalRepository>();
  let after = before;
  try {
    for (const [i, file] of files.entries()) {
      if (after <= allowed) break;
      if (i % AT_ONCE === 0) {
        await setImmediate();
        if (signal?.aborted === true) throw signal.reason;
      }
      if (file.isPinned || !remove(cache, file, dryRun)) continue;
      after -= file.bytes;
      deleted[file.kind]++;
      if (file.kind === 'object' && file.repository !== undefined) changed.add(file.repository);
    }
  } finally {
    if (!dryRun) for (const repository of changed) tellEviction(repository);
  }
  return { before, after, deleted, problems };
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

/** Other processes notice the time of this directory, which storing objects leaves as it is. */
function tellEviction(repository: LocalRepository): void {
  repository.within('tmp', (directory) => {
    const name = `${randomBytes(8).toString('hex')}-evicted`;
    closeFd(directory.create(name, 0o600));
    directory.unlink(name);
  });
}
