/**
 * Packing directories into images.
 * @module
 */
import { availableParallelism } from 'node:os';
import type { HashAlgorithm } from '../base/digest.ts';
import { requireSealable, sealImage } from '../image/seal-image.ts';
import { DEPTH } from '../pack/content-pool.ts';
import { checkSource, imageTarget } from '../pack/image-target.ts';
import { planOpenFiles } from '../pack/open-files-plan.ts';
import { packImage } from '../pack/pack-image.ts';
import type { PackProgress as Progress } from '../pack/pack-settings.ts';
import { openSource } from '../pack/sources/open-source.ts';
import { signaturePathOf } from '../sign/signature-file.ts';
import { openOrInitRepository } from '../store/open-repository.ts';
import { openFilesLimit } from '../system/resource-limits.ts';
import { abortable, given, pathGiven } from './arguments.ts';
import type { Repository, WorkOptions } from './repository.ts';

/**
 * Options of packing.
 * @example
 * import { pack, type PackOptions } from '@cfs-images/cfs/pack';
 *
 * const options: PackOptions = { repository: '/srv/store', useEpoch: true, skipXattrs: true, onWarning: console.warn };
 * await pack('/srv/rootfs', '/srv/packed.cfs', options);
 */
export interface PackOptions extends WorkOptions {
  /** The repository for contents; created if it is missing or an empty directory. */
  readonly repository: string | Repository;
  /** The algorithm that names objects; default: that of the repository, blake3 in a new one. */
  readonly hash?: HashAlgorithm;
  /** The number of threads that read and hash; default: one per processor, at most 8. */
  readonly threads?: number;
  /** Contents of at most this many bytes are stored in the image itself; default: 64. */
  readonly inlineMax?: number;
  /** Set every time to 1970-01-01 00:00:00. */
  readonly useEpoch?: boolean;
  /** Leave out extended attributes. */
  readonly skipXattrs?: boolean;
  /** Leave out character and block devices. */
  readonly skipDevices?: boolean;
  /** Do not enter other file systems: their mount points become empty directories. */
  readonly oneFileSystem?: boolean;
  /**
   * Leave out files and directories that match one of these patterns, as rsync does: a name at any depth, or a path
   * from the root of the source that begins with a slash.
   */
  readonly exclude?: readonly string[];
  /** Leave out the contents of directories with a CACHEDIR.TAG, but that file. */
  readonly excludeCaches?: boolean;
  /** Read every file, including files unchanged since they were packed into this repository before. */
  readonly rehash?: boolean;
  /** Wait until all is on the disk; default: true. */
  readonly durable?: boolean;
  /** Register the image in the repository, so that its objects are kept; default: true. */
  readonly register?: boolean;
  /** Seal the objects and the image with fs-verity. */
  readonly seal?: boolean;
  /** Called with a line for people about each omission, and about files that could not be sealed. */
  readonly onWarning?: (line: string) => void;
  /** Called often. */
  readonly onProgress?: (progress: PackProgress) => void;
}

/**
 * The progress of packing. `entries` is the final number once `scanned` is true.
 * @example
 * import { pack, type PackProgress } from '@cfs-images/cfs/pack';
 *
 * let last: PackProgress | undefined;
 * await pack('/srv/rootfs', '/srv/packed.cfs', { repository: '/srv/store', onProgress: (now) => { last = now; } });
 * console.log(last?.filesDone);
 */
export type PackProgress = Progress;

/**
 * The result of packing.
 * @example
 * import { pack, type PackResult } from '@cfs-images/cfs/pack';
 *
 * const { id, newBytes }: PackResult = await pack('/srv/rootfs', '/srv/packed.cfs', { repository: '/srv/store' });
 * console.log(id, newBytes);
 */
export interface PackResult {
  /** The image id. */
  readonly id: string;
  /** Size of the image file. */
  readonly imageBytes: number;
  readonly hash: HashAlgorithm;
  /** Names in the tree, including the root. */
  readonly entries: number;
  /** Regular files and their bytes; a file with several names counts once. */
  readonly files: number;
  readonly bytes: number;
  /** Different contents in the repository, and their bytes; and those that were new to it. */
  readonly objects: number;
  readonly objectBytes: number;
  readonly newObjects: number;
  readonly newBytes: number;
}

/**
 * Packs a directory into an image file, which is replaced as a whole at the end, or not touched. Objects that were
 * stored before an error serve the next run.
 * @throws CfsError: `source` if the directory cannot be read, or changes while it is packed; `store`; `system`; `usage`
 *   if no image can be written there; `interrupted`
 * @example
 * import { pack } from '@cfs-images/cfs/pack';
 *
 * const { id, files, newBytes } = await pack('/srv/rootfs', '/srv/packed.cfs', { repository: '/srv/store' });
 * console.log(`${id}: ${files} files, ${newBytes} new bytes`);
 */
export function pack(source: string, image: string, options: PackOptions): Promise<PackResult> {
  const { signal, onWait, onProgress, seal = false, onWarning: warn = () => undefined } = options;
  return abortable(signal, async () => {
    const target = imageTarget(pathGiven('image', image));
    checkSource(pathGiven('source', source));
    const { repository: where } = options;
    const path = pathGiven('repository', typeof where === 'string' ? where : where?.path);
    const repository = openOrInitRepository(path, options.hash);
    if (seal) requireSealable(target, repository);
    const wanted = options.threads ?? Math.min(availableParallelism(), 8);
    const { threads, sourceDirectories, ...openFiles } = planOpenFiles(openFilesLimit(), wanted, DEPTH);
    const inlineMax = options.inlineMax ?? 64;
    const tree = openSource(source, {
      useEpoch: options.useEpoch ?? false,
      skipXattrs: options.skipXattrs ?? false,
      skipDevices: options.skipDevices ?? false,
      oneFileSystem: options.oneFileSystem ?? false,
      exclude: { store: repository.path, image: target, signature: signaturePathOf(target) },
      exclusions: { patterns: options.exclude ?? [], caches: options.excludeCaches ?? false },
      openDirectories: sourceDirectories,
      warn,
      repository,
      inlineMax,
      rehash: options.rehash ?? false,
    });
    const work = given({ signal, onWait });
    const packed = await packImage(tree, {
      repository,
      image: target,
      inlineMax,
      threads,
      openFiles,
      durable: options.durable ?? true,
      rehash: options.rehash ?? false,
      register: options.register ?? true,
      repositories: [],
      ...work,
      ...given({ onProgress }),
    });
    if (seal) {
      const { problems, image: sealed } = await sealImage(target, repository, work);
      for (const { count, reason } of problems) warn(`${count} objects were not sealed: ${reason}`);
      if (sealed.reason !== undefined) warn(`${target} was not sealed: ${sealed.reason}`);
    }
    const { id, imageBytes, hash, entries, files, bytes, objects, objectBytes, newObjects, newBytes } = packed;
    return { id, imageBytes, hash, entries, files, bytes, objects, objectBytes, newObjects, newBytes };
  });
}
