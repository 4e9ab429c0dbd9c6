/** Copies the objects of images into another repository, and registers the images there. */
import { toHex } from '../base/bytes.ts';
import { objectDigest } from '../manifest/lookup.ts';
import { type ManifestTables, objectCount } from '../manifest/tables.ts';
import type { LocalRepository } from '../store/local-repository.ts';
import { lockForWriting } from '../store/lock.ts';
import { type CopyOptions, copyObjects } from './copy-objects.ts';
import type { CopiedObjects } from './copy-threads.ts';
import { type LoadedImage, objectsOf, registerLoaded } from './loaded-images.ts';

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
    for (const image of images) {
      const missing = missingOf(image.tables, failed);
      if (missing === 0) await registerLoaded(target, image, true, options.durable);
      results.push({ id: image.id, path: image.path, missing });
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
