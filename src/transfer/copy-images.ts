/** Copies the objects of images into another repository, and registers the images there. */
import { toHex } from '../base/bytes.ts';
import { objectDigest } from '../manifest/lookup.ts';
import { type ManifestTables, objectCount, u64 } from '../manifest/tables.ts';
import { LocalRepository } from '../store/local-repository.ts';
import { lockForWriting } from '../store/lock.ts';
import { ObjectWriter } from '../store/object-writer.ts';
import { type CopyOptions, copyObjects, type ObjectList } from './copy-objects.ts';
import type { CopiedObjects, CopyProgress } from './copy-threads.ts';
import { type LoadedImage, missingObjects, objectsOf, registerLoaded } from './loaded-images.ts';
import { fetchObjects, type RemoteSource, type WantedObjects } from './remote-objects.ts';

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
 * @throws CfsError: as `loadImages`; `store`; the reason of the signal
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
        : await copyFromEach(sources, target, images, options);
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
async function copyFromEach(
  sources: readonly CopySource[],
  target: LocalRepository,
  images: readonly LoadedImage[],
  options: CopyImagesOptions,
): Promise<CopiedObjects> {
  const { sizes } = objectsOf(images);
  let left = missingFrom(target, images);
  const missing = listOf(left).sizes;
  const existing = sizes.length - missing.length;
  const existingBytes = sum(sizes) - sum(missing);
  const done = { copied: 0, copiedBytes: 0 };
  const problems = new Map<string, string[]>();
  for (const source of sources) {
    if (left.length === 0) break;
    const onProgress = ({ objects, bytes }: CopyProgress): void =>
      options.onProgress?.({
        objects: existing + done.copied + objects,
        bytes: existingBytes + done.copiedBytes + bytes,
      });
    const copied = isLocal(source)
      ? await copyObjects([source], target, listOf(left), { ...options, onProgress })
      : await fetchObjects(source, target, left, { ...options, onProgress });
    done.copied += copied.copied;
    done.copiedBytes += copied.copiedBytes;
    for (const { object, problem } of copied.failures) {
      problems.set(object, [...(problems.get(object) ?? []), problem]);
    }
    left = onlyFailed(left, new Set(copied.failures.map(({ object }) => object)));
  }
  const failed = new Set(left.flatMap(({ image, rows }) => rows.map((row) => toHex(objectDigest(image.tables, row)))));
  const failures = [...failed].map((object) => ({ object, problem: (problems.get(object) ?? []).join('; ') }));
  return { existing, ...done, failures };
}

/** The objects that a repository lacks, in each of the images that have them. */
function missingFrom(target: LocalRepository, images: readonly WantedObjects['image'][]): readonly WantedObjects[] {
  const writer = new ObjectWriter(target, { durable: false, prefix: '' });
  try {
    const wanted = images.map((image) => ({ image, rows: missingObjects(writer, image.tables) }));
    return wanted.filter(({ rows }) => rows.length > 0);
  } finally {
    writer.close();
  }
}

const sum = (sizes: Float64Array): number => sizes.reduce((total, size) => total + size, 0);

/** Of these objects, those that are in a set. */
const onlyFailed = (wanted: readonly WantedObjects[], failed: ReadonlySet<string>): readonly WantedObjects[] =>
  wanted
    .map(({ image, rows }) => ({
      image,
      rows: failed.size === 0 ? [] : rows.filter((row) => failed.has(toHex(objectDigest(image.tables, row)))),
    }))
    .filter(({ rows }) => rows.length > 0);

/** Each once. */
function listOf(wanted: readonly WantedObjects[]): ObjectList {
  const sizes = new Map<string, number>();
  for (const { image, rows } of wanted) {
    for (const row of rows) sizes.set(toHex(objectDigest(image.tables, row)), u64(image.tables.objects.size, row));
  }
  const digests = new Uint8Array(Buffer.from([...sizes.keys()].join(''), 'hex'));
  return { digests, sizes: Float64Array.from(sizes.values()) };
}

function missingOf(tables: ManifestTables, failed: ReadonlySet<string>): number {
  if (failed.size === 0) return 0;
  let missing = 0;
  for (let i = 0; i < objectCount(tables); i++) if (failed.has(toHex(objectDigest(tables, i)))) missing++;
  return missing;
}
