/** Images that are transferred: their tables, the objects that they need, and their place in a repository. */
import { compareBytes } from '../base/bytes.ts';
import { DIGEST_SIZE } from '../base/digest.ts';
import { CfsError, reasonOf } from '../base/error.ts';
import { readImage } from '../image/image-file.ts';
import { keptImageOf } from '../image/objects-needed.ts';
import { placeToRegister } from '../image/registered-image.ts';
import { objectDigest, objectName, objectSizes } from '../manifest/lookup.ts';
import { type ManifestTables, objectCount, u64 } from '../manifest/tables.ts';
import { registerImage } from '../store/gc/register.ts';
import type { LocalRepository } from '../store/local-repository.ts';
import { ObjectWriter } from '../store/object-writer.ts';
import { replaceFile } from '../system/durable-file.ts';
import type { ObjectList } from './copy-objects.ts';

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
  const images = readImages(paths);
  expectHash(images, repository);
  return images;
}

/** Reads images. @throws CfsError as `readImage` */
export const readImages = (paths: readonly string[]): LoadedImage[] =>
  paths.map((path) => {
    const { id, tables } = readImage(path);
    return { path, id, tables };
  });

/** @throws CfsError (store) if a repository cannot have the objects of an image, because of another hash */
export function expectHash(images: readonly LoadedImage[], repository: Pick<LocalRepository, 'hash' | 'path'>): void {
  for (const { path, tables } of images) {
    const { hash } = tables.header;
    if (hash === repository.hash) continue;
    const reason = `it names objects by ${hash}, the repository by ${repository.hash}`;
    throw new CfsError('store', `Cannot use image ${path} with repository ${repository.path}: ${reason}`);
  }
}

/** The objects of images, each once, in the order of their digests. */
export function objectsOf(images: readonly LoadedImage[]): ObjectList {
  const [first, ...others] = images;
  if (first !== undefined && others.length === 0) {
    return { digests: first.tables.objects.digest, sizes: objectSizes(first.tables) };
  }
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

/** The objects of an image that a repository does not have, by their rows. */
export function missingObjects(writer: ObjectWriter, tables: ManifestTables): number[] {
  const rows: number[] = [];
  for (let i = 0; i < objectCount(tables); i++) {
    const { digest, size } = objectName(tables, i);
    if (!writer.holds(digest, size)) rows.push(i);
  }
  return rows;
}

/** As `missingObjects`, of each image. @throws CfsError (store) */
export function missingIn(target: LocalRepository, images: readonly ManifestTables[]): number[][] {
  const writer = new ObjectWriter(target, { durable: false, prefix: '' });
  try {
    return images.map((tables) => missingObjects(writer, tables));
  } finally {
    writer.close();
  }
}

/** Registers an image that is, or will be, at its path. @param isComplete whether the repository has all its objects */
export async function registerLoaded(
  repository: LocalRepository,
  { id, path, tables }: LoadedImage,
  isComplete: boolean,
  durable: boolean,
): Promise<void> {
  const kept = keptImageOf(tables, { image: id, path: '', complete: isComplete });
  await registerImage(repository, { ...kept, ...placeToRegister(path) }, durable);
}

/**
 * Registers an image, and writes it to its path; one that is there is replaced.
 * @param bytes the image file
 * @throws CfsError (system) if it cannot be written
 */
export async function keepImage(
  repository: LocalRepository,
  image: LoadedImage,
  bytes: Uint8Array,
  isComplete: boolean,
  durable: boolean,
): Promise<void> {
  // before there is an image: no process may find one whose objects can be deleted
  await registerLoaded(repository, image, isComplete, durable);
  try {
    replaceFile(image.path, bytes, durable);
  } catch (error) {
    throw new CfsError('system', `Cannot write image ${image.path}: ${reasonOf(error)}`, { cause: error });
  }
}
