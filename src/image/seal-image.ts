/** Composition: sealing an image file, and the objects that it names. */
import { closeSync, fsyncSync, openSync, realpathSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { toHex } from '../base/bytes.ts';
import { CfsError } from '../base/error.ts';
import { formatImageDigest } from '../base/image-digest.ts';
import { objectDigest } from '../manifest/lookup.ts';
import { type ManifestTables, objectCount } from '../manifest/tables.ts';
import type { LocalRepository } from '../store/local-repository.ts';
import { type SealOptions, type SealResult, sealObjects } from '../store/seal.ts';
import { sealFile, type Verity } from '../store/seal-file.ts';
import { mayHaveVerity } from '../system/fsverity.ts';
import { readImage } from './image-file.ts';

/** The result for an image file. */
export interface SealedImage {
  readonly path: string;
  readonly outcome: 'sealed' | 'already' | 'unsupported' | 'busy' | 'failed';
  /** For -o digest=; if it is sealed. */
  readonly digest?: string;
  /** If it is not sealed. */
  readonly reason?: string;
}

/**
 * Seals an image file; on return its seal is on the device. A file that is not an image is left alone: a sealed file
 * can never be written again.
 * @param verity in place of the kernel's, for tests
 * @throws CfsError as `readImage`
 */
export function sealImageFile(image: string, verity?: Verity): SealedImage {
  readImage(image);
  const path = image;
  const file = sealFile(realpathSync(image), verity);
  if (file.outcome === 'gone') return { path, outcome: 'failed', reason: 'it was deleted in the meantime' };
  if (!('digest' in file)) return { path, ...file };
  syncFile(image);
  const { algorithm, digest } = file.digest;
  // `fsverity enable --hash-alg=sha512`, say
  if (algorithm !== 'sha256') return { path, outcome: 'failed', reason: `it is sealed with ${algorithm}` };
  return { path, outcome: file.outcome, digest: formatImageDigest({ kind: 'fsverity', hex: toHex(digest) }) };
}

function syncFile(path: string): void {
  const fd = openSync(path, 'r');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** The result for an image's objects, and for its file. */
export interface ImageSeal extends SealResult {
  readonly image: SealedImage;
}

/** Seals the objects that an image names, and then the image: if the image is sealed, so are its objects. */
export async function sealImage(
  image: string,
  repository: LocalRepository,
  options: SealOptions = {},
): Promise<ImageSeal> {
  const objects = await sealObjects(repository, objectsOf(readImage(image).tables), options);
  return { ...objects, image: sealImageFile(image, options.verity) };
}

function* objectsOf(tables: ManifestTables): Generator<Uint8Array> {
  for (let i = 0; i < objectCount(tables); i++) yield objectDigest(tables, i);
}

/**
 * Reports before an hour of packing that `sealImage` would fail.
 * @throws CfsError (system)
 */
export function requireSealable(image: string, repository: LocalRepository): void {
  for (const directory of [join(repository.path, 'objects'), dirname(image)]) {
    // the store's own path is not a link; the image's may be
    if (mayHaveVerity(directory === dirname(image) ? `${directory}/.` : directory)) continue;
    throw new CfsError('system', `Cannot seal files in ${directory}: the file system or the kernel has no fs-verity`, {
      hint: "ext4 ('tune2fs -O verity DEVICE'), f2fs and btrfs have it; or pack without `seal`.",
    });
  }
}
