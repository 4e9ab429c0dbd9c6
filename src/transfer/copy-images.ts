/** Copies the objects of images into another repository, and registers the images there. */
import { compareBytes, toHex } from '../base/bytes.ts';
import { DIGEST_SIZE } from '../base/digest.ts';
import { CfsError } from '../base/error.ts';
import { readImage } from '../image/image-file.ts';
import { keptImageOf } from '../image/objects-needed.ts';
import { placeToRegister } from '../image/registered-image.ts';
import { objectDigest } from '../manifest/lookup.ts';
import { type ManifestTables, objectCount, u64 } from '../manifest/tables.ts';
import { registerImage } from '../store/gc/register.ts';
import type { LocalRepository } from '../store/local-repository.ts';
import { lockForWriting } from '../store/lock.ts';
import { type CopyOptions, copyObjects, type ObjectList } from './copy-objects.ts';
import type { CopiedObjects } from './copy-threads.ts';

export interface CopyImagesOptions extends CopyOptions {
  /** Receives a line for people if another program keeps the target locked for long. */
  readonly onWait?: ((line: string) => void) | undefined;
}

export interface CopiedImages extends CopiedObjects {
  readonly images: readonly {
    readonly id: string;
    readonly path: string;
    /** Objects of it that could not be copied; it is registered if there are none. */
    readonly missing: number;
  }[];
}

/** An image with its tables. */
export interface LoadedImage {
  readonly path: string;
  readonly id: string;
  readonly tables: ManifestTables;
}

/** Reads images whose objects a repository may have. @throws CfsError as `readImage`; `store` for another hash */
export function loadImages(
  paths: readonly string[],
  repository: Pick<LocalRepository, 'hash' | 'path'>,
): LoadedImage[] {
  return paths.map((path) => {
    const { id, tables } = readImage(path);
    const { hash } = tables.header;
    if (hash === repository.hash) return { path, id, tables };
    const reason = `it names objects by ${hash}, the repository by ${repository.hash}`;
    throw new CfsError('store', `Cannot use image ${path} with repository ${repository.path}: ${reason}`);
  });
}

/** The objects of images, each once, in the order of their digests. */
export function objectsOf(images: readonly LoadedImage[]): ObjectList {
  const all = images.flatMap(({ tables }) =>
    Array.from({ length: objectCount(tables) }, (_, i) => ({
      digest: objectDigest(tables, i),
      size: u64(tables.objects.size, i),
    })),
  );
  all.sort((a, b) => compareBytes(a.digest, b.digest));
  const unique = all.filter(
    ({ digest }, i) => i === 0 || compareBytes(digest, (all[i - 1] as (typeof all)[0]).digest) !== 0,
  );
  const digests = new Uint8Array(unique.length * DIGEST_SIZE);
  unique.forEach(({ digest }, i) => {
    digests.set(digest, i * DIGEST_SIZE);
  });
  return { digests, sizes: Float64Array.from(unique, ({ size }) => size) };
}

/**
 * Copies what the target does not have, and registers the images that are complete then. May be stopped or killed at
 * any time, and repeated: it continues then.
 * @throws CfsError: as `loadImages`; `store`; the reason of the signal
 */
export async function copyImages(
  sources: readonly LocalRepository[],
  target: LocalRepository,
  images: readonly LoadedImage[],
  options: CopyImagesOptions,
): Promise<CopiedImages> {
  const lock = await lockForWriting(target, options.signal, options.onWait);
  try {
    const copied = await copyObjects(sources, target, objectsOf(images), options);
    const failed = new Set(copied.failures.map(({ object }) => object));
    const results: CopiedImages['images'][number][] = [];
    for (const { path, id, tables } of images) {
      const missing = missingOf(tables, failed);
      if (missing === 0) {
        const kept = keptImageOf(tables, { image: id, path: '', complete: true });
        await registerImage(target, { ...kept, ...placeToRegister(path) }, options.durable);
      }
      results.push({ id, path, missing });
    }
    return { ...copied, images: results };
  } finally {
    lock.release();
  }
}

function missingOf(tables: ManifestTables, failed: ReadonlySet<string>): number {
  if (failed.size === 0) return 0;
  let missing = 0;
  for (let i = 0; i < objectCount(tables); i++) if (failed.has(toHex(objectDigest(tables, i)))) missing++;
  return missing;
}
