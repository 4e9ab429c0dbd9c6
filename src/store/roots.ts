/**
 * Registered images: `roots/<image id>`, a keep list each, so that what they need is known where the image is gone.
 * What was registered is never deleted here but given to `leases/`: a mount may hold its lease on it (lease.ts).
 */
import { randomBytes } from 'node:crypto';
import { closeSync, existsSync } from 'node:fs';
import { join } from 'node:path';
import { ENOENT, errnoOf } from '../base/errno.ts';
import { CfsError, reasonOf } from '../base/error.ts';
import { fsyncSync, linkSync, openSync, readdirSync, renameSync, unlinkSync } from './file-calls.ts';
import type { KeepListHeader } from './keep-list.ts';
import { KeepListFile, type KeptImage, writeKeepList } from './keep-list-file.ts';
import { type LocalRepository, makeDirectory, syncDirectory } from './local.ts';

const IMAGE_ID = /^[0-9a-f]{64}$/;
/** Ends the name of a lease without a lock, which counts as long as it is young. */
export const PACKED = '.packed';

const rootPath = (repository: LocalRepository, image: string): string => join(repository.rootsDirectory, image);

/**
 * Registers an image; where it is registered already from the same path, nothing is written. Hold the shared lock.
 * @param durable wait until it is on the device
 * @returns whether it was not registered before
 * @throws CfsError (store)
 */
export async function registerImage(repository: LocalRepository, image: KeptImage, durable: boolean): Promise<boolean> {
  const path = rootPath(repository, image.image);
  try {
    const before = registered(path, repository);
    if (before?.path === image.path && before.complete === image.complete) return false;
    makeDirectory(repository.rootsDirectory);
    // now: on a full disk, where it is to be unregistered, there may be no room for a directory
    makeDirectory(repository.leasesDirectory);
    const written = await writeNew(repository, image, durable);
    try {
      if (existsSync(path)) linkSync(path, leasePath(repository, image.image));
      renameSync(written, path);
    } catch (error) {
      remove(written);
      throw error;
    }
    if (durable) syncDirectory(repository.rootsDirectory);
    return before === undefined;
  } catch (error) {
    throw failure(repository, `register image ${image.image}`, error);
  }
}

/**
 * Keeps the objects of an image that is not registered for a while: gc counts the file as long as it is young.
 * Hold the shared lock.
 * @throws CfsError (store)
 */
export async function keepForAWhile(repository: LocalRepository, image: KeptImage, durable: boolean): Promise<void> {
  try {
    makeDirectory(repository.leasesDirectory);
    const written = await writeNew(repository, image, durable);
    renameSync(written, join(repository.leasesDirectory, `${image.image}${PACKED}`));
  } catch (error) {
    throw failure(repository, `keep the objects of image ${image.image}`, error);
  }
}

/**
 * Takes an image off the list. Its objects stay until somebody runs gc. Hold the shared lock.
 * @returns false where it was not on it
 * @throws CfsError (store)
 */
export function unregisterImage(repository: LocalRepository, image: string): boolean {
  try {
    if (!existsSync(rootPath(repository, image))) return false;
    makeDirectory(repository.leasesDirectory);
    renameSync(rootPath(repository, image), leasePath(repository, image));
    // before objects are deleted: after a crash nobody may think that it is still registered
    for (const directory of [repository.leasesDirectory, repository.rootsDirectory]) syncDirectory(directory);
    return true;
  } catch (error) {
    throw failure(repository, `unregister image ${image}`, error);
  }
}

/** A registered image; or what is wrong with its root. */
export interface Root {
  readonly image: string;
  readonly header: KeepListHeader | undefined;
  readonly problem: string | undefined;
}

/**
 * All registered images, checked as a whole, by their ids.
 * @throws CfsError (store) where the list cannot be read
 */
export function listRoots(repository: LocalRepository): Root[] {
  return namesIn(repository.rootsDirectory).flatMap((image): Root[] => {
    try {
      const list = openRootIfThere(repository, image);
      list?.close();
      return list === undefined ? [] : [{ image, header: list.header, problem: undefined }];
    } catch (error) {
      if (!(error instanceof CfsError)) throw error;
      return [{ image, header: undefined, problem: error.message }];
    }
  });
}

/** As `openRoot`; undefined where the image was unregistered since somebody saw the name. */
export function openRootIfThere(repository: LocalRepository, name: string): KeepListFile | undefined {
  try {
    return openRoot(repository, name);
  } catch (error) {
    if (error instanceof CfsError && errnoOf(error.cause) === ENOENT) return undefined;
    throw error;
  }
}

/**
 * The checked keep list of a registered image; the caller closes it.
 * @param name of the file in roots/
 * @throws CfsError (store) where it is malformed
 */
export function openRoot(repository: LocalRepository, name: string): KeepListFile {
  const path = rootPath(repository, name);
  if (!IMAGE_ID.test(name)) throw new CfsError('store', `${path} is malformed: its name is no image id`);
  const list = KeepListFile.open(path, repository.hash);
  if (list.header.image === name) return list;
  list.close();
  throw new CfsError('store', `${path} is malformed: it is of image ${list.header.image}`);
}

/** The names in `directory`, sorted; none where it is missing. @throws CfsError (store) */
export function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory).sort();
  } catch (error) {
    if (errnoOf(error) === ENOENT) return [];
    throw new CfsError('store', `Cannot read ${directory}: ${reasonOf(error)}`, { cause: error });
  }
}

/** A new name in leases/. */
export const leasePath = (repository: LocalRepository, image: string): string =>
  join(repository.leasesDirectory, `${image}-${randomBytes(8).toString('hex')}`);

/** What a good root says; undefined where there is none, or it is malformed. */
function registered(path: string, repository: LocalRepository): KeepListHeader | undefined {
  try {
    const list = KeepListFile.open(path, repository.hash);
    list.close();
    return list.header;
  } catch {
    return undefined;
  }
}

/** @returns the path of the new file, in tmp/ */
async function writeNew(repository: LocalRepository, image: KeptImage, durable: boolean): Promise<string> {
  const path = join(repository.temporaryDirectory, `${randomBytes(8).toString('hex')}-keep`);
  const fd = openSync(path, 'wx', 0o644);
  try {
    await writeKeepList(fd, image);
    if (durable) fsyncSync(fd);
    return path;
  } catch (error) {
    remove(path);
    throw error;
  } finally {
    closeSync(fd);
  }
}

function remove(path: string): void {
  try {
    unlinkSync(path);
  } catch {
    // what went wrong before is what to report; the next writer removes it
  }
}

function failure(repository: LocalRepository, what: string, error: unknown): unknown {
  if (error instanceof CfsError || errnoOf(error) === undefined) return error;
  return new CfsError('store', `Cannot ${what} in repository ${repository.path}: ${reasonOf(error)}`, { cause: error });
}
