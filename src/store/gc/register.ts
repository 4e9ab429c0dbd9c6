/**
 * Registering and unregistering images, and their paths. Unregistering moves the list of a root to `leases/`; nothing
 * here deletes it, because a mount may hold its lease on it (lease.ts).
 */
import type { PathPlace } from '../../system/path-place.ts';
import type { LocalRepository } from '../local-repository.ts';
import { leaseName, makeLeases, moveToLeases, moveToRoots } from './leases.ts';
import { narrowList, placeNewList } from './new-object-list.ts';
import type { KeepListHeader } from './object-list.ts';
import type { KeptImage } from './object-list-file.ts';
import { forgetRecord, imageOfRecord, type RegisteredPath, recordName, writePathRecord } from './registered-paths.ts';
import { replaceRoot } from './replace-root.ts';
import { openRoot, openRootIfThere } from './roots.ts';

/** The result of registering an image. */
export interface Registered {
  /** It was not registered before. */
  readonly isNew: boolean;
  /** It was not registered with this path. */
  readonly isNewPath: boolean;
}

/** An image to register, and the file system of its path, which tells later whether the path can be examined. */
export interface ImageToRegister extends KeptImage {
  readonly place?: PathPlace | undefined;
}

/**
 * Registers an image at its path, in addition to its other paths. Hold the shared lock until the image exists.
 * @param durable wait until it is on the device
 * @throws CfsError (store)
 */
export async function registerImage(
  repository: LocalRepository,
  image: ImageToRegister,
  durable: boolean,
): Promise<Registered> {
  try {
    // the path first: an image without a path is kept wherever it is
    const isNewPath = writePathRecord(repository, image.image, image, durable);
    const before = registered(repository, image.image);
    repository.within('roots', (roots) => narrowList(roots, image.image, repository.lockers));
    if (before?.complete === image.complete) return { isNew: false, isNewPath };
    await writeRoot(repository, image, durable);
    return { isNew: before === undefined, isNewPath };
  } catch (error) {
    throw repository.failure(`register image ${image.image}`, error);
  }
}

/** Writes a root, in place of an existing one. */
async function writeRoot(repository: LocalRepository, image: KeptImage, durable: boolean): Promise<void> {
  const roots = repository.makeDirectory('roots');
  try {
    // now: when it is unregistered on a full disk, there may be no room for a directory
    const leases = makeLeases(repository);
    try {
      await placeNewList(repository, { ...image, path: '' }, durable, (temporary, written) =>
        replaceRoot({ temporary, roots, leases }, written, image.image, () => leaseName(image.image)),
      );
    } finally {
      leases.close();
    }
    if (durable) roots.sync();
  } finally {
    roots.close();
  }
}

/** The header of a good root; undefined if there is none, or it is malformed. */
function registered(repository: LocalRepository, name: string): KeepListHeader | undefined {
  try {
    const list = openRoot(repository, name);
    list.close();
    return list.header;
  } catch {
    return undefined;
  }
}

/**
 * Undoes `registerImage`, if the image could not be written after all. Other programs may have registered it in the
 * meantime. Hold the lock that it was registered under.
 * @throws CfsError (store)
 */
export function takeBack(repository: LocalRepository, image: KeptImage, done: Registered): void {
  if (done.isNewPath) forgetRecord(repository, recordName(image.image, image.path));
  if (!done.isNew || recordNamesOf(repository, image.image).length > 0) return;
  const lease = moveRootToLeases(repository, image.image);
  // registering writes the path first and then looks for the root: one of the two sees the other
  if (lease === undefined || recordNamesOf(repository, image.image).length === 0) return;
  repository.within('roots', (roots) => {
    if (roots.stat(image.image) !== undefined) return;
    moveToRoots(repository, lease, roots, image.image);
  });
}

/**
 * Unregisters an image, with all its paths. Its objects stay until gc runs. Hold the exclusive lock if the decision
 * depends on what is registered, else the shared one.
 * @returns false if it was not registered
 * @throws CfsError (store)
 */
export function unregisterImage(repository: LocalRepository, image: string): boolean {
  try {
    if (moveRootToLeases(repository, image) === undefined) return false;
    for (const name of recordNamesOf(repository, image)) forgetRecord(repository, name);
    return true;
  } catch (error) {
    throw repository.failure(`unregister image ${image}`, error);
  }
}

/** @returns its name in leases/; undefined if it is not registered */
function moveRootToLeases(repository: LocalRepository, image: string): string | undefined {
  return repository.within('roots', (roots) => {
    if (roots.stat(image) === undefined) return undefined;
    narrowList(roots, image, repository.lockers);
    return moveToLeases(repository, roots, image);
  });
}

/**
 * Adds a path to a registered image. Hold the exclusive lock.
 * @throws CfsError (store)
 */
export function addPath(repository: LocalRepository, image: string, path: RegisteredPath): void {
  try {
    writePathRecord(repository, image, path, true);
  } catch (error) {
    throw repository.failure(`register a path of image ${image}`, error);
  }
}

/**
 * Removes paths of an image that stays registered. Hold the exclusive lock.
 * @throws CfsError (store)
 */
export async function forgetPaths(repository: LocalRepository, image: string, paths: readonly string[]): Promise<void> {
  try {
    for (const path of paths) forgetRecord(repository, recordName(image, path));
    const list = openRootIfThere(repository, image);
    try {
      // a root of an earlier version contains a path itself
      if (list !== undefined && list.header.path !== '' && paths.includes(list.header.path)) {
        await writeRoot(repository, { ...list.header, digests: list.all() }, true);
      }
    } finally {
      list?.close();
    }
  } catch (error) {
    throw repository.failure(`forget a path of image ${image}`, error);
  }
}

const recordNamesOf = (repository: LocalRepository, image: string): string[] =>
  repository.names('paths').filter((name) => imageOfRecord(name) === image);

/**
 * Deletes records of images that are not registered (any more): leftovers of killed programs. Hold the exclusive lock.
 * @throws errors of node:fs
 */
export function removeStrayRecords(repository: LocalRepository): void {
  const roots = new Set(repository.names('roots'));
  for (const name of repository.names('paths')) {
    const image = imageOfRecord(name);
    if (image !== undefined && !roots.has(image)) forgetRecord(repository, name);
  }
}
