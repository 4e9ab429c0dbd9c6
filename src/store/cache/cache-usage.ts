/** What a cache has, for people. */
import type { HashAlgorithm } from '../../base/digest.ts';
import { errnoOf } from '../../base/errno.ts';
import type { CacheDirectory } from './cache-directory.ts';
import { type CachedFile, filesIn, idOfName } from './cached-files.ts';
import { isInUse } from './image-use.ts';
import { type Pin, Pins } from './pins.ts';

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
  readonly pins: readonly PinUsage[];
}

/** A pinned image. */
export interface PinUsage {
  readonly id: string;
  readonly hash: HashAlgorithm;
  /** Of the image; undefined if its list cannot be read. */
  readonly objects: number | undefined;
  /** Its objects that the cache has, and their bytes on the disk. */
  readonly cached: number;
  readonly cachedBytes: number;
  /** Whether the cache has the image file. */
  readonly hasImage: boolean;
  readonly problem: string | undefined;
  /** The problem is that this user may not read the list. */
  readonly isDenied: boolean;
}

/** @throws errors of node:fs; CfsError (store) if a part was replaced; the reason of the signal */
export async function cacheUsage(cache: CacheDirectory, signal?: AbortSignal): Promise<CacheUsage> {
  const pins = Pins.open(cache);
  try {
    return await usageOf(cache, pins, signal);
  } finally {
    pins.close();
  }
}

async function usageOf(cache: CacheDirectory, pins: Pins, signal: AbortSignal | undefined): Promise<CacheUsage> {
  const cached = new Map<Pin, { cached: number; cachedBytes: number }>();
  for (const pin of pins.all) cached.set(pin, { cached: 0, cachedBytes: 0 });
  const onPinned = (pin: Pin, bytes: number): void => {
    const sum = cached.get(pin);
    if (sum === undefined) return;
    sum.cached++;
    sum.cachedBytes += bytes;
  };
  const files = await filesIn(cache, pins, { signal, onPinned });
  const images = files.filter(({ kind }) => kind === 'image');
  return {
    objects: cache.repositories.map((repository) => ({
      hash: repository.hash,
      files: sumOf(files.filter((file) => file.kind === 'object' && file.repository === repository)),
    })),
    images: sumOf(images),
    imagesInUse: countInUse(cache, images),
    leftovers: sumOf(files.filter(({ kind }) => kind === 'leftover')),
    pins: [...cached].map(([{ image, repository, list, problem, isDenied }, sums]) => ({
      id: image,
      hash: repository.hash,
      objects: list?.header.objects,
      ...sums,
      hasImage: images.some(({ name }) => idOfName(name) === image),
      problem,
      isDenied,
    })),
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
