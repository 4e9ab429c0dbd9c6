/** The objects that an image needs from a repository, read from its file. */
import { CfsError } from '../base/error.ts';
import { objectName } from '../manifest/lookup.ts';
import { type ManifestTables, objectCount } from '../manifest/tables.ts';
import type { ImageToRegister } from '../store/gc/register.ts';
import type { LocalRepository } from '../store/local-repository.ts';
import { readImage } from './image-file.ts';
import { keptImageOf } from './objects-needed.ts';
import { placeToRegister } from './registered-image.ts';

/**
 * Reads an image whose objects lie in `repository`.
 * @throws CfsError: as `readImage`, and `store` if it names its objects otherwise
 */
export function readKeptImage(
  repository: LocalRepository,
  path: string,
): ImageToRegister & { readonly missing: number } {
  const { id, tables } = readImage(path);
  const { hash } = tables.header;
  if (hash !== repository.hash) {
    throw new CfsError(
      'store',
      `Cannot use image ${path} with repository ${repository.path}: it names objects by ${hash}, the repository by ${repository.hash}`,
    );
  }
  const missing = countMissing(repository, tables);
  const kept = keptImageOf(tables, { image: id, path: '', complete: missing === 0 });
  // a copy, so that the rest of the image is not kept in memory
  return { ...kept, ...placeToRegister(path), digests: kept.digests.slice(), missing };
}

function countMissing(repository: LocalRepository, tables: ManifestTables): number {
  let missing = 0;
  for (let i = 0; i < objectCount(tables); i++) {
    const { digest, size } = objectName(tables, i);
    if (repository.size(digest) !== size) missing++;
  }
  return missing;
}
