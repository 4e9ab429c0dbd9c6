/** Copies the objects of images into another repository, and registers the images there. */
import { objectHex } from '../manifest/lookup.ts';
import { type ManifestTables, objectCount, u64 } from '../manifest/tables.ts';
import { LocalRepository } from '../store/local-repository.ts';
import { lockForWriting } from '../store/lock.ts';
import { type CopyOptions, copyObjects, type ObjectList } from './copy-objects.ts';
import type { CopiedObjects } from './copy-threads.ts';
import { type LoadedImage, missingIn, objectsOf, registerLoaded } from './loaded-images.ts';
import { copyFromEach, fetchObjects, type RemoteSource, type WantedObjects } from './remote-objects.ts';

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

/** Where objects are copied from. */
export type CopySource = LocalRepository | RemoteSource;

/**
 * Copies what the target does not have, and registers the images that are complete then. May be stopped or killed at
 * any time, and repeated: it continues then.
 * @throws CfsError (store); the reason of the signal
 */
export async function copyImages(
  sources: readonly CopySource[],
  target: LocalRepository,
  images: readonly LoadedImage[],
  options: CopyImagesOptions,
): Promise<CopiedImages> {
  const lock = await lockForWriting(target, options.signal, options.onWait);
  try {
    const locals = sources.filter(isLocal);
    const copied =
      locals.length === sources.length
        ? await copyObjects(locals, target, objectsOf(images), options)
        : await copyFromAll(sources, target, images, options);
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

const isLocal = (source: CopySource): source is LocalRepository => source instanceof LocalRepository;

/** One source after another, as far as objects are missing. */
async function copyFromAll(
  sources: readonly CopySource[],
  target: LocalRepository,
  images: readonly LoadedImage[],
  options: CopyImagesOptions,
): Promise<CopiedObjects> {
  const { sizes } = objectsOf(images);
  const rows = missingIn(
    target,
    images.map(({ tables }) => tables),
  );
  const wanted = images.map((image, i) => ({ image, rows: rows[i] as number[] }));
  const missing = listOf(wanted).sizes;
  const existing = sizes.length - missing.length;
  const existingBytes = sum(sizes) - sum(missing);
  const copied = await copyFromEach(
    sources,
    wanted,
    (source, left, onProgress) =>
      isLocal(source)
        ? copyObjects([source], target, listOf(left), { ...options, onProgress })
        : fetchObjects(source, target, left, { ...options, onProgress }),
    ({ objects, bytes }) => options.onProgress?.({ objects: existing + objects, bytes: existingBytes + bytes }),
  );
  return { existing, ...copied };
}

const sum = (sizes: Float64Array): number => sizes.reduce((total, size) => total + size, 0);

/** Each once. */
function listOf(wanted: readonly WantedObjects[]): ObjectList {
  const sizes = new Map<string, number>();
  for (const { image, rows } of wanted) {
    for (const row of rows) sizes.set(objectHex(image.tables, row), u64(image.tables.objects.size, row));
  }
  const digests = new Uint8Array(Buffer.from([...sizes.keys()].join(''), 'hex'));
  return { digests, sizes: Float64Array.from(sizes.values()) };
}

function missingOf(tables: ManifestTables, failed: ReadonlySet<string>): number {
  if (failed.size === 0) return 0;
  let missing = 0;
  for (let i = 0; i < objectCount(tables); i++) if (failed.has(objectHex(tables, i))) missing++;
  return missing;
}
