/**
 * Repositories: creating and maintaining them, and the images that they keep.
 * @module
 */
import { availableParallelism } from 'node:os';
import type { HashAlgorithm } from '../base/digest.ts';
import { CfsError } from '../base/error.ts';
import { readKeptImage } from '../image/image-needs.ts';
import { checkRepository as check, rememberCheck } from '../store/check/fsck.ts';
import { collectGarbage as collect } from '../store/gc/gc.ts';
import { KeptInMemory } from '../store/gc/live-set.ts';
import { registerImage as register, unregisterImage as unregister } from '../store/gc/register.ts';
import { listRoots } from '../store/gc/roots.ts';
import { PREFIXES } from '../store/layout.ts';
import { lockForDeleting, lockForWriting } from '../store/lock.ts';
import { initRepository as init } from '../store/open-repository.ts';
import { abortable, ageGiven, given, localOf, pathGiven } from './arguments.ts';
import { isUrl, type NetworkOptions, withRemotes } from './network.ts';
import { type Amount, HOUR_MS, pathsOf, type Repository, type WorkOptions } from './repository.ts';

export { type LastCheck, type LastGc, lastRuns } from './last-runs.ts';
export type { Amount, Repository, WorkOptions } from './repository.ts';
export { type ImageUsage, type RepositoryUsage, repositoryUsage, type UsageOptions } from './repository-usage.ts';

/**
 * Opens a repository.
 * @throws CfsError (store) if there is none
 * @example
 * import { openRepository } from '@cfs-images/cfs/store';
 *
 * console.log(openRepository('/srv/store').uuid);
 */
export const openRepository = (path: string): Repository => described(localOf(path));

/**
 * Creates a repository in a directory that is missing or empty.
 * @param options `hash`: the algorithm that names its objects; default: blake3. fsverity-sha256 is for stores that are
 *   to be sealed. `mode`: the mode of the directory of a store that several users share
 * @throws CfsError (store)
 * @example
 * import { initRepository } from '@cfs-images/cfs/store';
 *
 * const { uuid } = initRepository('/srv/new-store', { hash: 'fsverity-sha256' });
 * console.log(uuid);
 */
export function initRepository(
  path: string,
  options: { readonly hash?: HashAlgorithm; readonly mode?: number } = {},
): Repository {
  return described(init(pathGiven('repository', path), options.hash ?? 'blake3', options.mode));
}

const described = ({ path, uuid, hash }: Repository): Repository => ({ path, uuid, hash });

/**
 * An image that is registered in a repository.
 * @example
 * import { listImages, type RegisteredImage } from '@cfs-images/cfs/store';
 *
 * const bad = (image: RegisteredImage): boolean => image.problem !== undefined;
 * console.log(listImages('/srv/store').filter(bad).length);
 */
export interface RegisteredImage {
  readonly id: string;
  /** The image's paths at the time of registration. */
  readonly paths: readonly string[];
  /** The number of objects that it needs, and their bytes; undefined if the list of them cannot be read. */
  readonly objects: number | undefined;
  readonly bytes: number | undefined;
  /** The problem of the list of its objects. */
  readonly problem: string | undefined;
}

/**
 * The registered images, whose objects are kept.
 * @throws CfsError (store)
 * @example
 * import { listImages } from '@cfs-images/cfs/store';
 *
 * for (const { id, paths, objects } of listImages('/srv/store')) console.log(id, paths.join(' '), objects);
 */
export function listImages(repository: string | Repository): RegisteredImage[] {
  return listRoots(localOf(repository)).map(({ image, header, problem, paths }) => ({
    id: image,
    paths: pathsOf(paths),
    objects: header?.objects,
    bytes: header?.bytes,
    problem,
  }));
}

/**
 * Registers an image, so that its objects are kept even if its file is gone. Packing does so by itself.
 * @returns its id, and the number of its objects that the repository does not have
 * @throws CfsError: `image` if the file is not an image, `store`
 * @example
 * import { registerImage } from '@cfs-images/cfs/store';
 *
 * const { id, missing } = await registerImage('/srv/store', '/srv/rootfs.cfs');
 * console.log(id, missing);
 */
export function registerImage(
  repository: string | Repository,
  image: string,
  options: WorkOptions = {},
): Promise<{ readonly id: string; readonly missing: number }> {
  return abortable(options.signal, async () => {
    const local = localOf(repository);
    const lock = await lockForWriting(local, options.signal, options.onWait);
    try {
      const { missing, ...needs } = readKeptImage(local, pathGiven('image', image));
      await register(local, needs, true);
      return { id: needs.image, missing };
    } finally {
      lock.release();
    }
  });
}

/**
 * Unregisters an image: `collectGarbage` then deletes the objects that only it needed. Mounts of it continue to work.
 * @param id as returned by `listImages` and `openImage`
 * @returns false if it was not registered
 * @throws CfsError (store)
 * @example
 * import { openImage } from '@cfs-images/cfs/image';
 * import { unregisterImage } from '@cfs-images/cfs/store';
 *
 * console.log(await unregisterImage('/srv/store', openImage('/srv/rootfs.cfs').id));
 */
export function unregisterImage(
  repository: string | Repository,
  id: string,
  options: WorkOptions = {},
): Promise<boolean> {
  return abortable(options.signal, async () => {
    if (!/^[0-9a-f]{64}$/.test(id)) throw new CfsError('usage', `Cannot unregister "${id}": it is not an image id`);
    const local = localOf(repository);
    // with an exclusive lock: another process may be packing this image
    const lock = await lockForDeleting(local, options);
    try {
      return unregister(local, id);
    } finally {
      lock.release();
    }
  });
}

/**
 * Options of garbage collection.
 * @example
 * import { collectGarbage, type GcOptions } from '@cfs-images/cfs/store';
 *
 * const options: GcOptions = { keep: ['/srv/newer.cfs'], minAgeMs: 0, dryRun: true };
 * console.log((await collectGarbage('/srv/store', options)).freed.objects);
 */
export interface GcOptions extends WorkOptions {
  /** Files of images whose objects are kept, registered or not. */
  readonly keep?: readonly string[];
  /** Objects that were stored less than this many milliseconds ago are kept; default: an hour. */
  readonly minAgeMs?: number;
  /** Delete nothing, and report what would be deleted. */
  readonly dryRun?: boolean;
  /** Continue even if nothing keeps any object: all are deleted. */
  readonly keepNone?: boolean;
  /** Also delete the damaged files that `checkRepository` moved away. */
  readonly emptyQuarantine?: boolean;
  /** Called with the finished part of the work, up to 1. */
  readonly onProgress?: (done: number) => void;
  /** Called for each object that is deleted, or would be, with its digest, hexadecimal, and its size. */
  readonly onFreed?: (digest: string, bytes: number) => void;
}

/**
 * The deleted objects, and the reasons for keeping the rest.
 * @example
 * import { collectGarbage, type GcResult } from '@cfs-images/cfs/store';
 *
 * const { freed, registered }: GcResult = await collectGarbage('/srv/store', { dryRun: true });
 * console.log(freed.bytes, registered);
 */
export interface GcResult {
  readonly freed: Amount;
  readonly kept: Amount;
  /** The kept objects that are kept only because they are new. */
  readonly young: Amount;
  /** The numbers of images that are registered, that are mounted, and that were packed a short while ago. */
  readonly registered: number;
  readonly mounted: number;
  readonly packed: number;
}

/**
 * Deletes all objects that no registered or mounted image needs. Packing and mounting may continue at the same time.
 * @throws CfsError: `usage` if nothing keeps any object, `store` if it is unknown which objects are needed,
 *   `interrupted`
 * @example
 * import { collectGarbage } from '@cfs-images/cfs/store';
 *
 * const onProgress = (done: number): void => console.log(`${Math.round(done * 100)} %`);
 * const { freed } = await collectGarbage('/srv/store', { onProgress });
 * console.log(`freed ${freed.bytes} bytes`);
 */
export function collectGarbage(repository: string | Repository, options: GcOptions = {}): Promise<GcResult> {
  const { keep = [], minAgeMs = HOUR_MS, dryRun = false, keepNone = false, emptyQuarantine = false } = options;
  const { signal, onWait, onProgress, onFreed } = options;
  return abortable(signal, async () => {
    const local = localOf(repository);
    const { freed, kept, young, registered, mounted, packed } = await collect(local, {
      keep: keep.map((image) => new KeptInMemory(readKeptImage(local, pathGiven('image', image)).digests)),
      minAgeMs: ageGiven(minAgeMs),
      dryRun,
      keepNone,
      emptyQuarantine,
      ...given({ signal, onWait, onFreed }),
      onProgress: (directories) => onProgress?.(directories / PREFIXES),
    });
    return { freed, kept, young, registered, mounted, packed };
  });
}

/**
 * Options of checking a repository.
 * @example
 * import { type CheckOptions, checkRepository } from '@cfs-images/cfs/store';
 *
 * const options: CheckOptions = { dryRun: true, jobs: 2, onProgress: ({ bytes }) => console.log(bytes) };
 * console.log((await checkRepository('/srv/store', options)).damaged.length);
 */
export interface CheckOptions extends WorkOptions, NetworkOptions {
  /** Other repositories, from which good copies of damaged objects are fetched: URLs, too, which are asked last. */
  readonly repairFrom?: readonly (string | Repository)[];
  /** Report problems, and change nothing. */
  readonly dryRun?: boolean;
  /** The number of threads; default: one per processor, at most 8. */
  readonly jobs?: number;
  /** Called ten times a second with the progress. */
  readonly onProgress?: (done: { readonly objects: number; readonly bytes: number }) => void;
}

/**
 * The result of a check.
 * @example
 * import { type CheckResult, checkRepository } from '@cfs-images/cfs/store';
 *
 * const isGood = ({ damaged, badImages }: CheckResult): boolean => damaged.length + badImages.length === 0;
 * console.log(isGood(await checkRepository('/srv/store', { dryRun: true })));
 */
export interface CheckResult {
  /** Objects that were checked, and their bytes. */
  readonly objects: number;
  readonly bytes: number;
  /**
   * `object`: its digest. `quarantined`: the new path of the bad file; `from`: the repository that a good copy came
   * from.
   */
  readonly damaged: readonly {
    readonly object: string;
    readonly problem: string;
    readonly quarantined?: string;
    readonly from?: string;
  }[];
  /** Registered images whose lists of objects are damaged: `registerImage` repairs them. */
  readonly badImages: readonly { readonly image: string; readonly problem: string }[];
}

/**
 * Checks every object: hashes it, moves a damaged one to quarantine, and fetches a good copy if there is one.
 * @throws CfsError: `store` if the repository cannot be read, `interrupted`
 * @example
 * import { checkRepository } from '@cfs-images/cfs/store';
 *
 * for (const { object, problem } of (await checkRepository('/srv/store')).damaged) console.log(object, problem);
 */
export function checkRepository(repository: string | Repository, options: CheckOptions = {}): Promise<CheckResult> {
  const { repairFrom = [], dryRun = false, jobs = Math.min(availableParallelism(), 8) } = options;
  const { signal, onWait, onProgress } = options;
  return abortable(signal, async () => {
    const started = performance.now();
    const local = localOf(repository);
    const urls = repairFrom.filter(isUrl);
    return await withRemotes(urls, local.hash, options, async (remotes) => {
      const { objects, bytes, damaged, badRoots } = await check(local, {
        sources: repairFrom.flatMap((each) => (isUrl(each) ? [] : [localOf(each)])),
        threads: jobs,
        dryRun,
        ...given({ signal, onWait, onProgress }),
      });
      const all = { objects, bytes, damaged, badImages: badRoots };
      if (dryRun || remotes.length === 0 || damaged.every(({ from }) => from !== undefined)) return all;
      const { repairObjects } = await import('../transfer/repair-objects.ts');
      const wait = { durable: true, signal, onWait };
      const repaired = await repairObjects(local, damaged, remotes, { threads: jobs, ...wait });
      rememberCheck(local, { objects, bytes, damaged: repaired, badRoots }, performance.now() - started);
      return { ...all, damaged: repaired };
    });
  });
}
