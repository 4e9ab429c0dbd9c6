/**
 * Registered images: `roots/<image id>`, a keep list each, so that what they need is known where the image is gone.
 * What was registered is never deleted here but given to `leases/`: a mount may hold its lease on it (lease.ts).
 */
import { randomBytes } from 'node:crypto';
import { closeSync, constants, existsSync } from 'node:fs';
import { join } from 'node:path';
import { ENOENT, errnoOf } from '../base/errno.ts';
import { CfsError, reasonOf } from '../base/error.ts';
import type { PathPlace } from '../system/path-place.ts';
import { fsyncSync, openSync, readdirSync, renameSync } from './file-calls.ts';
import { tryLock } from './flock.ts';
import type { KeepListHeader } from './keep-list.ts';
import { KeepListFile, type KeptImage, readKeepHeader, writeKeepList } from './keep-list-file.ts';
import { type LocalRepository, makeDirectory, syncDirectory } from './local.ts';
import {
  forgetRecord,
  imageOfRecord,
  type PathRecord,
  type RegisteredPath,
  readPathRecord,
  recordName,
  writePathRecord,
} from './registered-paths.ts';
import { remove } from './remove-file.ts';
import { replaceRoot } from './replace-root.ts';
import { shareNewFile } from './sharing.ts';

const IMAGE_ID = /^[0-9a-f]{64}$/;
/** Ends the name of a lease without a lock, which counts as long as it is young. */
export const PACKED = '.packed';

const OPEN_ROOT = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;

const rootPath = (repository: LocalRepository, image: string): string => join(repository.rootsDirectory, image);

/** What registering an image came to. */
export interface Registered {
  /** It was not registered before. */
  readonly isNew: boolean;
  /** Not with this path. */
  readonly isNewPath: boolean;
}

/** An image to be registered; where its path lies, so that somebody can tell later whether the path can be looked at. */
export interface ImageToRegister extends KeptImage {
  readonly place?: PathPlace | undefined;
}

/**
 * Registers an image at its path, beside the paths that it has already. Hold the shared lock until the image is there.
 * @param durable wait until it is on the device
 * @throws CfsError (store)
 */
export async function registerImage(
  repository: LocalRepository,
  image: ImageToRegister,
  durable: boolean,
): Promise<Registered> {
  try {
    // the path first: an image without one counts as kept wherever it is
    const isNewPath = writePathRecord(repository, image.image, image, durable);
    const before = registered(rootPath(repository, image.image), repository);
    if (before?.complete === image.complete) return { isNew: false, isNewPath };
    await writeRoot(repository, image, durable);
    return { isNew: before === undefined, isNewPath };
  } catch (error) {
    throw failure(repository, `register image ${image.image}`, error);
  }
}

/** Writes a root, in place of the one that may be there. */
async function writeRoot(repository: LocalRepository, image: KeptImage, durable: boolean): Promise<void> {
  makeDirectory(repository.rootsDirectory);
  // now: on a full disk, where it is to be unregistered, there may be no room for a directory
  makeDirectory(repository.leasesDirectory);
  const written = await writeNew(repository, { ...image, path: '' }, durable);
  try {
    replaceRoot(written, rootPath(repository, image.image), () => leasePath(repository, image.image));
  } catch (error) {
    remove(written);
    throw error;
  }
  if (durable) syncDirectory(repository.rootsDirectory);
}

/**
 * Takes back what `registerImage` did, where the image could not be written after all. Other programs may have registered it
 * meanwhile. Hold the lock that it was registered under.
 * @throws CfsError (store)
 */
export function takeBack(repository: LocalRepository, image: KeptImage, done: Registered): void {
  if (done.isNewPath) forgetRecord(repository, recordName(image.image, image.path));
  if (!done.isNew || recordNamesOf(repository, image.image).length > 0) return;
  const lease = moveToLeases(repository, image.image);
  // whoever registers writes the path first and then looks for the root: one of the two sees the other
  if (lease === undefined || recordNamesOf(repository, image.image).length === 0) return;
  if (!existsSync(rootPath(repository, image.image))) renameSync(lease, rootPath(repository, image.image));
}

/**
 * Adds a path to a registered image. Hold the exclusive lock.
 * @throws CfsError (store)
 */
export function addPath(repository: LocalRepository, image: string, path: RegisteredPath): void {
  try {
    writePathRecord(repository, image, path, true);
  } catch (error) {
    throw failure(repository, `register a path of image ${image}`, error);
  }
}

/**
 * Forgets paths of an image that stays registered. Hold the exclusive lock.
 * @throws CfsError (store)
 */
export async function forgetPaths(repository: LocalRepository, image: string, paths: readonly string[]): Promise<void> {
  try {
    for (const path of paths) forgetRecord(repository, recordName(image, path));
    const list = openRootIfThere(repository, image);
    try {
      // a root of an earlier version holds a path itself
      if (list !== undefined && list.header.path !== '' && paths.includes(list.header.path)) {
        await writeRoot(repository, { ...list.header, digests: list.all() }, true);
      }
    } finally {
      list?.close();
    }
  } catch (error) {
    throw failure(repository, `forget a path of image ${image}`, error);
  }
}

const recordNamesOf = (repository: LocalRepository, image: string): string[] =>
  namesIn(repository.pathsDirectory).filter((name) => imageOfRecord(name) === image);

/**
 * Deletes records of images that are not registered (any more): what killed programs left. Hold the exclusive lock.
 * @throws what node:fs throws
 */
export function removeStrayRecords(repository: LocalRepository): void {
  const roots = new Set(namesIn(repository.rootsDirectory));
  for (const name of namesIn(repository.pathsDirectory)) {
    const image = imageOfRecord(name);
    if (image !== undefined && !roots.has(image)) forgetRecord(repository, name);
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
 * Takes an image off the list, with all its paths. Its objects stay until somebody runs gc. Hold the exclusive lock where the
 * decision depends on what is registered, else the shared one.
 * @returns false where it was not on it
 * @throws CfsError (store)
 */
export function unregisterImage(repository: LocalRepository, image: string): boolean {
  try {
    if (moveToLeases(repository, image) === undefined) return false;
    for (const name of recordNamesOf(repository, image)) forgetRecord(repository, name);
    return true;
  } catch (error) {
    throw failure(repository, `unregister image ${image}`, error);
  }
}

/** @returns where it is now; undefined where it is not registered */
function moveToLeases(repository: LocalRepository, image: string): string | undefined {
  if (!existsSync(rootPath(repository, image))) return undefined;
  makeDirectory(repository.leasesDirectory);
  const lease = leasePath(repository, image);
  renameSync(rootPath(repository, image), lease);
  // before objects are deleted: after a crash nobody may think that it is still registered
  for (const directory of [repository.leasesDirectory, repository.rootsDirectory]) syncDirectory(directory);
  return lease;
}

/** A registered image; or what is wrong with its root. */
export interface Root {
  readonly image: string;
  readonly header: KeepListHeader | undefined;
  readonly problem: string | undefined;
  /** All that it was registered with, in alphabetical order; none: nobody knows where it is. */
  readonly paths: readonly RegisteredPath[];
  /** What is wrong with records of further paths. */
  readonly malformedPaths: readonly string[];
}

/** The ids of all registered images, sorted. Whether their lists are good is not looked at. @throws CfsError (store) */
export const registeredIds = (repository: LocalRepository): string[] =>
  namesIn(repository.rootsDirectory).filter((name) => IMAGE_ID.test(name));

/** The paths of a registered image as they are now. Hold a lock. @throws CfsError (store) */
export function registeredPaths(repository: LocalRepository, image: string): Pick<Root, 'paths' | 'malformedPaths'> {
  const own = recordNamesOf(repository, image).flatMap((name) => readPathRecord(repository, name) ?? []);
  return {
    paths: pathsOf(own, pathInRoot(repository, image)),
    malformedPaths: own.flatMap(({ problem }) => problem ?? []),
  };
}

/** Without a look at the rest of the root. */
function pathInRoot(repository: LocalRepository, image: string): string {
  let fd: number | undefined;
  try {
    fd = openSync(rootPath(repository, image), OPEN_ROOT);
    const header = readKeepHeader(fd);
    return typeof header === 'string' ? '' : header.path;
  } catch {
    return '';
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

/** Whether a mount has its lease on the root of an image. Hold the exclusive lock. */
export function isRootLocked(repository: LocalRepository, image: string): boolean {
  let fd: number | undefined;
  try {
    fd = openSync(rootPath(repository, image), OPEN_ROOT);
    return !tryLock(fd, 'exnb');
  } catch {
    return false; // it is not registered any more, or there are no locks
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

/**
 * All registered images, checked as a whole, by their ids.
 * @throws CfsError (store) where the list cannot be read
 */
export function listRoots(repository: LocalRepository): Root[] {
  const records = recordsOf(repository);
  return namesIn(repository.rootsDirectory).flatMap((image): Root[] => {
    const own = records.get(image) ?? [];
    const malformedPaths = own.flatMap(({ problem }) => problem ?? []);
    try {
      const list = openRootIfThere(repository, image);
      list?.close();
      if (list === undefined) return [];
      const { header } = list;
      return [{ image, header, problem: undefined, paths: pathsOf(own, header.path), malformedPaths }];
    } catch (error) {
      if (!(error instanceof CfsError)) throw error;
      return [{ image, header: undefined, problem: error.message, paths: pathsOf(own, ''), malformedPaths }];
    }
  });
}

function recordsOf(repository: LocalRepository): ReadonlyMap<string, readonly PathRecord[]> {
  const records = new Map<string, PathRecord[]>();
  for (const name of namesIn(repository.pathsDirectory)) {
    const record = readPathRecord(repository, name);
    if (record === undefined) continue;
    const known = records.get(record.image);
    if (known === undefined) records.set(record.image, [record]);
    else known.push(record);
  }
  return records;
}

/** @param inRoot the path that roots of earlier versions hold themselves; may be empty */
function pathsOf(records: readonly PathRecord[], inRoot: string): RegisteredPath[] {
  const paths = records.flatMap(({ registered }) => registered ?? []);
  const isKnown = inRoot === '' || paths.some(({ path }) => path === inRoot);
  const all = isKnown ? paths : [...paths, { path: inRoot, place: undefined }];
  return all.sort((a, b) => (a.path < b.path ? -1 : 1));
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
    shareNewFile(fd, repository.temporaryDirectory, 0o644);
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

function failure(repository: LocalRepository, what: string, error: unknown): unknown {
  if (error instanceof CfsError || errnoOf(error) === undefined) return error;
  return new CfsError('store', `Cannot ${what} in repository ${repository.path}: ${reasonOf(error)}`, { cause: error });
}
