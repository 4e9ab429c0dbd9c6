/** What a cache has, for people. */
import type { HashAlgorithm } from '../../base/digest.ts';
import { errnoOf } from '../../base/errno.ts';
import type { CacheDirectory } from './cache-directory.ts';
import { type CachedFile, filesIn } from './cached-files.ts';
import { isInUse } from './image-use.ts';

/** Files of a kind. */
export interface CachedFiles {
  readonly count: number;
  /** On the disk, in blocks of 4 KiB: as the limit of a mount counts them. */
  readonly bytes: number;
  /** When the files were used that were not used for the longest and the shortest time; undefined if there is none. */
  readonly oldest: Date | undefined;
  readonly newest: Date | undefined;
}

export interface CacheUsage {
  /** By the algorithms whose repositories are there. */
  readonly objects: readonly { readonly hash: HashAlgorithm; readonly files: CachedFiles }[];
  readonly images: CachedFiles;
  /** The images that mounts use. */
  readonly imagesInUse: number;
  /** Unfinished files of programs that were killed. */
  readonly leftovers: CachedFiles;
}

/** @throws errors of node:fs; CfsError (store) if a part was replaced; the reason of the signal */
export async function cacheUsage(cache: CacheDirectory, signal?: AbortSignal): Promise<CacheUsage> {
  const files = await filesIn(cache, signal);
  const images = files.filter(({ kind }) => kind === 'image');
  return {
    objects: cache.repositories.map((repository) => ({
      hash: repository.hash,
      files: sumOf(files.filter((file) => file.kind === 'object' && file.repository === repository)),
    })),
    images: sumOf(images),
    imagesInUse: countInUse(cache, images),
    leftovers: sumOf(files.filter(({ kind }) => kind === 'leftover')),
  };
}

function sumOf(files: readonly CachedFile[]): CachedFiles {
  let bytes = 0;
  let [oldest, newest] = [Number.POSITIVE_INFINITY, 0];
  for (const file of files) {
    bytes += file.bytes;
    oldest = Math.min(oldest, file.used);
    newest = Math.max(newest, file.used);
  }
  const dated = files.length > 0 && newest > 0;
  return {
    count: files.length,
    bytes,
    oldest: dated ? new Date(oldest) : undefined,
    newest: dated ? new Date(newest) : undefined,
  };
}

function countInUse(cache: CacheDirectory, images: readonly CachedFile[]): number {
  const used = cache.withImages((directory) =>
    images.filter(({ name }) => {
      try {
        return isInUse(directory, name);
      } catch (error) {
        if (errnoOf(error) === undefined) throw error;
        return false; // it was deleted in the meantime, or may not be read
      }
    }),
  );
  return used?.length ?? 0;
}
