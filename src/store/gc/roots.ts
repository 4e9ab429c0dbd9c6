/**
 * Registered images: `roots/<image id>`, a keep list each, so that the needed objects are known if the image is gone.
 * Reading them; register.ts changes them.
 */
import { closeSync } from 'node:fs';
import type { HashAlgorithm } from '../../base/digest.ts';
import { EACCES, ENOENT, errnoOf } from '../../base/errno.ts';
import { CfsError, reasonOf, withHint } from '../../base/error.ts';
import { tryLock } from '../../system/flock.ts';
import type { LocalRepository } from '../local-repository.ts';
import type { StoreDirectory } from '../store-directory.ts';
import type { KeepListHeader } from './object-list.ts';
import { KeepListFile, readKeepHeader } from './object-list-file.ts';
import { type PathRecord, type RegisteredPath, readPathRecord } from './registered-paths.ts';

const IMAGE_ID = /^[0-9a-f]{64}$/;
/** A registered image; or the problem of its root. */
export interface Root {
  readonly image: string;
  readonly header: KeepListHeader | undefined;
  /** Of its list; undefined if it is malformed. */
  readonly mtimeMs?: number;
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
  repository.names('roots').filter((name) => IMAGE_ID.test(name));

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
  return repository.names('roots').flatMap((image): Root[] => {
    const own = records.get(image) ?? [];
    const malformedPaths = own.flatMap(({ problem }) => problem ?? []);
    try {
      const list = openRootIfThere(repository, image);
      if (list === undefined) return [];
      const { header, mtimeMs } = list;
      list.close();
      return [{ image, header, mtimeMs, problem: undefined, paths: pathsOf(own, header.path), malformedPaths }];
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

/**
 * As `registeredPaths`, for many images: each record is read once.
 * @returns a function of an image, and of the path in its root, which may be empty
 * @throws CfsError (store)
 */
export function pathsOfImages(repository: LocalRepository): (image: string, inRoot: string) => RegisteredPath[] {
  const records = recordsOf(repository);
  return (image, inRoot) => pathsOf(records.get(image) ?? [], inRoot);
}

/** @throws CfsError (store) */
function recordsIn(repository: LocalRepository): readonly PathRecord[] {
  let records: readonly PathRecord[] = [];
  repository.withNames('paths', (directory, names) => {
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
