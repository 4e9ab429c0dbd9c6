/**
 * Checks whether the repositories of a mount have the objects of its image at all: the most common mistake is another
 * repository than the one that the image was packed into. Looking for all of them would delay each mount, so some are
 * sampled.
 */
import { lstat } from 'node:fs/promises';
import { ENOENT, ENOTDIR, errnoName, errnoOf, isErrno } from '../base/errno.ts';
import { CfsError } from '../base/error.ts';
import { pathBytes } from '../base/path-text.ts';
import { objectName } from '../manifest/lookup.ts';
import { type ManifestTables, objectCount } from '../manifest/tables.ts';
import type { ObjectName, Repository } from '../objects/repository.ts';

/** The size of the sample. */
const MOST = 64;

export interface ObjectSample {
  /** The number of objects that were looked for. */
  readonly lookedFor: number;
  /** The number of these that no repository has. */
  readonly missing: number;
}

/** A repository whose objects have paths. */
export type LocatedRepository = Repository & { objectPath(digest: Uint8Array): string };

/**
 * Looks for at most 64 objects, spread evenly over the image, by their names alone. One after another and without
 * blocking this thread: a repository that does not answer occupies one thread of the pool, and the promise does not
 * resolve.
 */
export async function sampleObjects(
  tables: ManifestTables,
  repositories: readonly LocatedRepository[],
): Promise<ObjectSample> {
  const count = objectCount(tables);
  const lookedFor = Math.min(MOST, count);
  let missing = 0;
  for (let i = 0; i < lookedFor; i++) {
    const object = objectName(tables, Math.floor((i * count) / lookedFor));
    if (await isMissing(object, repositories)) missing++;
  }
  return { lookedFor, missing };
}

async function isMissing({ digest }: ObjectName, repositories: readonly LocatedRepository[]): Promise<boolean> {
  for (const repository of repositories) {
    try {
      await lstat(pathBytes(repository.objectPath(digest)));
      return false;
    } catch (error) {
      const errno = errnoOf(error);
      // unknown; readers will see the reason
      if (errno !== ENOENT && errno !== ENOTDIR) return false;
    }
  }
  return true;
}

/** The message for a sample; undefined if nothing is missing. */
export function warningOf({ lookedFor, missing }: ObjectSample): string | undefined {
  if (missing === 0) return undefined;
  const objects = lookedFor === 1 ? 'the sampled object is' : `${missing} of ${lookedFor} sampled objects are`;
  return `${objects} missing from all repositories: reading their files will fail`;
}

/**
 * Looks for every object of the image, and its size.
 * @throws CfsError (store) if no repository has one of them
 */
export function requireObjects(image: string, tables: ManifestTables, repositories: readonly Repository[]): void {
  const count = objectCount(tables);
  let missing = 0;
  for (let index = 0; index < count; index++) {
    const { digest, size } = objectName(tables, index);
    if (!repositories.some((repository) => hasObject(repository, digest, size))) missing++;
  }
  if (missing === 0) return;
  throw new CfsError(
    'store',
    `Cannot mount ${image}: ${missing} of its ${count} objects are missing from all repositories, and all of them are required`,
    { hint: '`missing` lists them.' },
  );
}

function hasObject(repository: Repository, digest: Uint8Array, size: number): boolean {
  const found = repository.size(digest);
  if (!isErrno(found)) return found === size;
  if (found === ENOENT) return false;
  throw new CfsError('store', `Cannot look for objects in repository ${repository.path}: ${errnoName(found)}`);
}
