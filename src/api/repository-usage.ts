/** The space that images need in a repository. Part of the entry point `store`. */
import { repositoryUsage as usage } from '../store/gc/usage.ts';
import { PREFIXES } from '../store/layout.ts';
import { abortable, ageGiven, given, localOf } from './arguments.ts';
import { type Amount, HOUR_MS, pathsOf, type Repository } from './repository.ts';

/**
 * Options of `repositoryUsage`.
 * @example
 * import { repositoryUsage, type UsageOptions } from '@cfs-images/cfs/store';
 *
 * const options: UsageOptions = { onProgress: (done) => console.log(`${Math.round(done * 100)} %`) };
 * console.log((await repositoryUsage('/srv/store', options)).images.length);
 */
export interface UsageOptions {
  readonly signal?: AbortSignal;
  /** Images that were packed without registration count as needed for this many milliseconds; default: an hour. */
  readonly minAgeMs?: number;
  /** Called with the finished part of the work, up to 1. */
  readonly onProgress?: (done: number) => void;
}

/**
 * The space of one registered image in a repository. The image file itself, with inline contents, is not included.
 * @example
 * import { type ImageUsage, repositoryUsage } from '@cfs-images/cfs/store';
 *
 * const shared = ({ total, unique }: ImageUsage): number => total.bytes - unique.bytes;
 * console.log((await repositoryUsage('/srv/store')).images.map(shared));
 */
export interface ImageUsage {
  readonly id: string;
  /** The image's paths at the time of registration. */
  readonly paths: readonly string[];
  /** Its objects that the repository has. */
  readonly total: Amount;
  /** Of these, objects that no other registered image needs. */
  readonly unique: Amount;
  /**
   * The part of `unique` that `collectGarbage` with `minAgeMs: 0` would delete if the image was not registered, which
   * leaves what mounts, or images that were packed recently, need.
   */
  readonly freed: Amount;
  /** The number of its objects that the repository does not have. */
  readonly missing: number;
  /** It is mounted: `freed` is nothing, until the mount ends. */
  readonly isMounted: boolean;
}

/**
 * The space of a repository. The sum of `together`, `leased` and `unused` is that of all objects.
 * @example
 * import { type RepositoryUsage, repositoryUsage } from '@cfs-images/cfs/store';
 *
 * const saved = ({ images, together }: RepositoryUsage): number =>
 *   images.reduce((sum, { total }) => sum + total.bytes, 0) - together.bytes;
 * console.log(saved(await repositoryUsage('/srv/store')));
 */
export interface RepositoryUsage {
  /** The registered images, by their ids. */
  readonly images: readonly ImageUsage[];
  /** Objects that registered images need, each counted once. */
  readonly together: Amount;
  /** Objects that only mounts, or images that were packed recently, need. */
  readonly leased: Amount;
  /** Objects that nothing needs. */
  readonly unused: Amount;
  /** Images whose lists of objects cannot be read. Their objects may be counted as unused. */
  readonly problems: readonly { readonly image: string; readonly problem: string }[];
}

/**
 * Adds up the space that each registered image needs. Reads directories and lists, no contents. Takes no lock: if
 * objects are stored or deleted meanwhile, they may be counted or not.
 * @throws CfsError: `store` if the repository cannot be read, `interrupted`
 * @example
 * import { repositoryUsage } from '@cfs-images/cfs/store';
 *
 * const { images, together } = await repositoryUsage('/srv/store');
 * for (const { id, total, unique } of images) console.log(id, total.bytes, unique.bytes);
 * console.log(together.diskBytes);
 */
export function repositoryUsage(
  repository: string | Repository,
  { signal, minAgeMs = HOUR_MS, onProgress }: UsageOptions = {},
): Promise<RepositoryUsage> {
  return abortable(signal, async () => {
    const local = localOf(repository);
    const { images, ...sums } = await usage(local, {
      minAgeMs: ageGiven(minAgeMs),
      ...given({ signal }),
      onProgress: (directories) => onProgress?.(directories / PREFIXES),
    });
    return {
      ...sums,
      images: images.map(({ image, paths, ...each }) => ({ id: image, paths: pathsOf(paths), ...each })),
    };
  });
}
