/**
 * Registered images: `roots/<image id>`, a keep list each, so that the needed objects are known if the image is gone.
 * Unregistering moves the list to `leases/`; nothing here deletes it, because a mount may hold its lease on it
 * (lease.ts).
 */
import { randomBytes } from 'node:crypto';
import { closeSync } from 'node:fs';
import type { HashAlgorithm } from '../../base/digest.ts';
import { EACCES, ENOENT, errnoOf } from '../../base/errno.ts';
import { CfsError, reasonOf, withHint } from '../../base/error.ts';
import { fsyncSync } from '../../system/file-calls.ts';
import { tryLock } from '../../system/flock.ts';
import type { PathPlace } from '../../system/path-place.ts';
import type { LocalRepository } from '../local-repository.ts';
import { giveTo, type Lockers, narrow } from '../lockable.ts';
import { remove } from '../remove-file.ts';
import type { StoreDirectory } from '../store-directory.ts';
import type { KeepListHeader } from './object-list.ts';
import { KeepListFile, type KeptImage, readKeepHeader, writeKeepList } from './object-list-file.ts';
import {
  forgetRecord,
  imageOfRecord,
  type PathRecord,
  type RegisteredPath,
  readPathRecord,
  recordName,
  writePathRecord,
} from './registered-paths.ts';
import { replaceRoot } from './replace-root.ts';

const IMAGE_ID = /^[0-9a-f]{64}$/;
/** The end of the name of a lease without a lock, which counts as long as it is young. */
export const PACKED = '.packed';

/** The lease of a mount, or of an image that was packed and not registered. */
const LEASE_NAME = /^[0-9a-f]{64}(?:-[0-9a-f]{16}|\.packed)$/;
/** The allowed mode bits of a list: it is never written again. */
export const LIST_MODE = 0o644;

export const isLeaseName = (name: string): boolean => LEASE_NAME.test(name);

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
    throw failure(repository, `register image ${image.image}`, error);
  }
}

/** Writes a root, in place of an existing one. */
async function writeRoot(repository: LocalRepository, image: KeptImage, durable: boolean): Promise<void> {
  const open: StoreDirectory[] = [];
  try {
    const roots = opened(open, repository.makeDirectory('roots'));
    // now: when it is unregistered on a full disk, there may be no room for a directory
    const leases = opened(open, repository.makeDirectory('leases'));
    const temporary = opened(open, repository.directory('tmp'));
    const written = await writeNew(repository, temporary, { ...image, path: '' }, durable);
    try {
      replaceRoot({ temporary, roots, leases }, written, image.image, () => leaseName(image.image));
    } catch (error) {
      remove(temporary, written);
      throw error;
    }
    if (durable) roots.sync();
  } finally {
    closeAll(open);
  }
}

/** Records a directory, to be closed by `closeAll`. */
function opened(open: StoreDirectory[], directory: StoreDirectory): StoreDirectory {
  open.push(directory);
  return directory;
}

function closeAll(open: readonly StoreDirectory[]): void {
  for (const directory of open) directory.close();
}

/** For a list that an older version created: see lockable.ts. Does nothing if it is missing or another user's. */
export function narrowList(directory: StoreDirectory, name: string, lockers: Lockers): void {
  try {
    const fd = directory.openFile(name);
    try {
      narrow(fd, lockers);
    } finally {
      closeSync(fd);
    }
  } catch {
    // a malformed list is reported when it is read
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
  const lease = moveToLeases(repository, image.image);
  // registering writes the path first and then looks for the root: one of the two sees the other
  if (lease === undefined || recordNamesOf(repository, image.image).length === 0) return;
  repository.within('roots', (roots) => {
    if (roots.stat(image.image) !== undefined) return;
    repository.within('leases', (leases) => leases.rename(lease, roots, image.image));
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
    throw failure(repository, `register a path of image ${image}`, error);
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
    throw failure(repository, `forget a path of image ${image}`, error);
  }
}

const recordNamesOf = (repository: LocalRepository, image: string): string[] =>
  namesIn(repository, 'paths').filter((name) => imageOfRecord(name) === image);

/**
 * Deletes records of images that are not registered (any more): leftovers of killed programs. Hold the exclusive lock.
 * @throws errors of node:fs
 */
export function removeStrayRecords(repository: LocalRepository): void {
  const roots = new Set(namesIn(repository, 'roots'));
  for (const name of namesIn(repository, 'paths')) {
    const image = imageOfRecord(name);
    if (image !== undefined && !roots.has(image)) forgetRecord(repository, name);
  }
}

/**
 * Keeps the objects of an unregistered image for a while: gc counts the file as long as it is young. Hold the shared
 * lock.
 * @throws CfsError (store)
 */
export async function keepForAWhile(repository: LocalRepository, image: KeptImage, durable: boolean): Promise<void> {
  const open: StoreDirectory[] = [];
  try {
    const leases = opened(open, repository.makeDirectory('leases'));
    const temporary = opened(open, repository.directory('tmp'));
    const written = await writeNew(repository, temporary, image, durable);
    try {
      temporary.rename(written, leases, `${image.image}${PACKED}`);
    } catch (error) {
      remove(temporary, written);
      throw error;
    }
  } catch (error) {
    throw failure(repository, `keep the objects of image ${image.image}`, error);
  } finally {
    closeAll(open);
  }
}

/**
 * Unregisters an image, with all its paths. Its objects stay until gc runs. Hold the exclusive lock if the decision
 * depends on what is registered, else the shared one.
 * @returns false if it was not registered
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

/** @returns its name in leases/; undefined if it is not registered */
function moveToLeases(repository: LocalRepository, image: string): string | undefined {
  return repository.within('roots', (roots) => {
    if (roots.stat(image) === undefined) return undefined;
    narrowList(roots, image, repository.lockers);
    const leases = repository.makeDirectory('leases');
    try {
      const lease = leaseName(image);
      roots.rename(image, leases, lease);
      // before objects are deleted: after a crash it must not count as registered
      for (const directory of [leases, roots]) directory.sync();
      return lease;
    } finally {
      leases.close();
    }
  });
}

/** A registered image; or the problem of its root. */
export interface Root {
  readonly image: string;
  readonly header: KeepListHeader | undefined;
  readonly problem: string | undefined;
  /** This user may not read it: that needs write permission on the repository. */
  readonly isDenied?: boolean;
  /** All paths that it was registered with, in alphabetical order; empty if unknown. */
  readonly paths: readonly RegisteredPath[];
  /** The problems of records of further paths. */
  readonly malformedPaths: readonly string[];
}

/** The ids of all registered images, sorted. Their lists are not checked. @throws CfsError (store) */
export const registeredIds = (repository: LocalRepository): string[] =>
  namesIn(repository, 'roots').filter((name) => IMAGE_ID.test(name));

/** The current paths of a registered image. Hold a lock. @throws CfsError (store) */
export function registeredPaths(repository: LocalRepository, image: string): Pick<Root, 'paths' | 'malformedPaths'> {
  const own = recordsIn(repository).filter((record) => record.image === image);
  return {
    paths: pathsOf(own, pathInRoot(repository, image)),
    malformedPaths: own.flatMap(({ problem }) => problem ?? []),
  };
}

/** Without checking the rest of the root. */
function pathInRoot(repository: LocalRepository, image: string): string {
  let fd: number | undefined;
  try {
    fd = repository.within('roots', (roots) => roots.openFile(image));
    if (fd === undefined) return '';
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
    fd = repository.within('roots', (roots) => roots.openFile(image));
    return fd !== undefined && !tryLock(fd, 'exnb');
  } catch {
    return false; // it is no longer registered, or there are no locks
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

/**
 * All registered images, fully checked, by their ids.
 * @throws CfsError (store) if the list cannot be read
 */
export function listRoots(repository: LocalRepository): Root[] {
  const records = recordsOf(repository);
  return namesIn(repository, 'roots').flatMap((image): Root[] => {
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
      const isDenied = errnoOf(error.cause) === EACCES;
      const problem = withHint(error.message, error.hint);
      return [{ image, header: undefined, problem, isDenied, paths: pathsOf(own, ''), malformedPaths }];
    }
  });
}

/** The paths in all records, by image ids. @throws CfsError (store) */
export function recordedPaths(repository: LocalRepository): ReadonlyMap<string, readonly RegisteredPath[]> {
  return new Map([...recordsOf(repository)].map(([image, records]) => [image, pathsOf(records, '')] as const));
}

/** @throws CfsError (store) */
function recordsIn(repository: LocalRepository): readonly PathRecord[] {
  let records: readonly PathRecord[] = [];
  withNamesIn(repository, 'paths', (directory, names) => {
    records = names.flatMap((name) => readPathRecord(directory, name) ?? []);
  });
  return records;
}

function recordsOf(repository: LocalRepository): ReadonlyMap<string, readonly PathRecord[]> {
  const records = new Map<string, PathRecord[]>();
  for (const record of recordsIn(repository)) {
    const known = records.get(record.image);
    if (known === undefined) records.set(record.image, [record]);
    else known.push(record);
  }
  return records;
}

/** @param inRoot the path in a root of an earlier version; may be empty */
function pathsOf(records: readonly PathRecord[], inRoot: string): RegisteredPath[] {
  const paths = records.flatMap(({ registered }) => registered ?? []);
  const isKnown = inRoot === '' || paths.some(({ path }) => path === inRoot);
  const all = isKnown ? paths : [...paths, { path: inRoot, place: undefined }];
  return all.sort((a, b) => (a.path < b.path ? -1 : 1));
}

/** As `openRoot`; undefined if the image was unregistered since its name was listed. */
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
 * @throws CfsError (store) if it is malformed
 */
export function openRoot(repository: LocalRepository, name: string): KeepListFile {
  let directory: StoreDirectory;
  try {
    directory = repository.directory('roots');
  } catch (error) {
    if (error instanceof CfsError) throw error;
    throw new CfsError('store', `Cannot read ${repository.rootsDirectory}: ${reasonOf(error)}`, { cause: error });
  }
  try {
    return openRootIn(directory, name, repository.hash);
  } finally {
    directory.close();
  }
}

/** As `openRoot`, in an open roots/. */
export function openRootIn(directory: StoreDirectory, name: string, hash: HashAlgorithm): KeepListFile {
  const path = `${directory.path}/${name}`;
  if (!IMAGE_ID.test(name)) throw new CfsError('store', `${path} is malformed: its name is not an image id`);
  const list = KeepListFile.open(directory, name, hash);
  if (list.header.image === name) return list;
  list.close();
  throw new CfsError('store', `${path} is malformed: it is of image ${list.header.image}`);
}

/**
 * Runs `work` in a directory of the repository, with the names in it, sorted; does nothing if it is missing.
 * @throws CfsError (store)
 */
export function withNamesIn(
  repository: LocalRepository,
  name: string,
  work: (directory: StoreDirectory, names: readonly string[]) => void,
): void {
  try {
    repository.within(name, (directory) => work(directory, directory.names().sort()));
  } catch (error) {
    if (error instanceof CfsError || errnoOf(error) === undefined) throw error;
    throw new CfsError('store', `Cannot read ${repository.path}/${name}: ${reasonOf(error)}`, { cause: error });
  }
}

/** The names in a directory of the repository, sorted; none if it is missing. @throws CfsError (store) */
function namesIn(repository: LocalRepository, name: string): string[] {
  let all: readonly string[] = [];
  withNamesIn(repository, name, (_, names) => {
    all = names;
  });
  return [...all];
}

/** A new name in leases/. */
export const leaseName = (image: string): string => `${image}-${randomBytes(8).toString('hex')}`;

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

/** @returns the name of the new file in tmp/ */
async function writeNew(
  repository: LocalRepository,
  temporary: StoreDirectory,
  image: KeptImage,
  durable: boolean,
): Promise<string> {
  const name = `${randomBytes(8).toString('hex')}-keep`;
  const fd = temporary.create(name, 0o600);
  try {
    giveTo(fd, repository.lockers, LIST_MODE);
    await writeKeepList(fd, image);
    if (durable) fsyncSync(fd);
    return name;
  } catch (error) {
    remove(temporary, name);
    throw error;
  } finally {
    closeSync(fd);
  }
}

function failure(repository: LocalRepository, what: string, error: unknown): unknown {
  if (error instanceof CfsError || errnoOf(error) === undefined) return error;
  return new CfsError('store', `Cannot ${what} in repository ${repository.path}: ${reasonOf(error)}`, { cause: error });
}
