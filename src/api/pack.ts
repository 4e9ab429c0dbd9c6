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
import { imageIdOf, packImage } from '../pack/pack-image.ts';
import type { PackProgress as Progress } from '../pack/pack-settings.ts';
import { openDirectorySource } from '../pack/sources/directory.ts';
import { openSource } from '../pack/sources/open-source.ts';
import { signaturePathOf } from '../sign/signature-file.ts';
import { openOrInitRepository } from '../store/open-repository.ts';
import { openFilesLimit } from '../system/resource-limits.ts';
import { abortable, given, pathGiven, repositoryPath } from './arguments.ts';
import type { Repository, WorkOptions } from './repository.ts';

/**
 * What decides the content of an image, besides the directory.
 * @example
 * import { computeImageId, type TreeOptions } from '@cfs-images/cfs/pack';
 *
 * const options: TreeOptions = { exclude: ['*.log'], useEpoch: true };
 * console.log(await computeImageId('/srv/rootfs', options));
 */
export interface TreeOptions {
  /** The algorithm that names objects; default: that of the repository, blake3 in a new one. */
  readonly hash?: HashAlgorithm;
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
  /** The number of threads that read and hash; default: one per processor, at most 8. */
  readonly threads?: number;
  /** Called with a line for people about each omission, and from `pack` about files that could not be sealed. */
  readonly onWarning?: (line: string) => void;
  /** Called often. */
  readonly onProgress?: (progress: PackProgress) => void;
}

/**
 * Options of packing.
 * @example
 * import { pack, type PackOptions } from '@cfs-images/cfs/pack';
 *
 * const options: PackOptions = { repository: '/srv/store', useEpoch: true, skipXattrs: true, onWarning: console.warn };
 * await pack('/srv/rootfs', '/srv/packed.cfs', options);
 */
export interface PackOptions extends TreeOptions, WorkOptions {
  /** The repository for contents; created if it is missing or an empty directory. */
  readonly repository: string | Repository;
  /** Read every file, including files unchanged since they were packed into this repository before. */
  readonly rehash?: boolean;
  /** Wait until all is on the disk; default: true. */
  readonly durable?: boolean;
  /** Register the image in the repository, so that its objects are kept; default: true. */
  readonly register?: boolean;
  /** Seal the objects and the image with fs-verity. */
  readonly seal?: boolean;
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
    const repository = openOrInitRepository(repositoryPath(options.repository), options.hash);
    if (seal) requireSealable(target, repository);
    const { threads, sourceDirectories, ...openFiles } = openFilesOf(options);
    const inlineMax = options.inlineMax ?? INLINE_MAX;
    const tree = openSource(source, {
      ...treeWords(options),
      exclude: { store: repository.path, image: target, signature: signaturePathOf(target) },
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

/** Contents of at most this many bytes are stored in the image. */
const INLINE_MAX = 64;

const openFilesOf = ({ threads }: TreeOptions): ReturnType<typeof planOpenFiles> =>
  planOpenFiles(openFilesLimit(), threads ?? Math.min(availableParallelism(), 8), DEPTH);

const treeWords = (options: TreeOptions) => ({
  useEpoch: options.useEpoch ?? false,
  skipXattrs: options.skipXattrs ?? false,
  skipDevices: options.skipDevices ?? false,
  oneFileSystem: options.oneFileSystem ?? false,
  exclusions: { patterns: options.exclude ?? [], caches: options.excludeCaches ?? false },
});

/**
 * The id of the image that `pack` would write with the same options. Reads every file, and writes nothing. A repository
 * in the directory, which `pack` leaves out, is to be excluded.
 * @param options `hash` is blake3 by default, whatever repository there is
 * @throws CfsError: `source` if the directory cannot be read, or changes meanwhile; `system`; `interrupted`
 * @example
 * import { computeImageId } from '@cfs-images/cfs/pack';
 *
 * console.log(await computeImageId('/srv/rootfs', { exclude: ['*.log'] }));
 */
export function computeImageId(
  source: string,
  options: TreeOptions & { readonly signal?: AbortSignal } = {},
): Promise<string> {
  const { signal, onProgress, onWarning: warn = () => undefined, hash = 'blake3' } = options;
  return abortable(signal, async () => {
    checkSource(pathGiven('source', source));
    const { threads, sourceDirectories, ...openFiles } = openFilesOf(options);
    const tree = openDirectorySource(source, {
      ...treeWords(options),
      openDirectories: sourceDirectories,
      warn,
    });
    const inlineMax = options.inlineMax ?? INLINE_MAX;
    return imageIdOf(tree, hash, { inlineMax, threads, openFiles, ...given({ signal, onProgress }) });
  });
}
