/**
 * The folder `leases/`, which nothing else names files in: keep lists that count as long as a mount has them locked
 * (lease.ts), or for a while, for an image that was packed and not registered. docs/repository.md specifies them.
 */
import { randomBytes } from 'node:crypto';
import { closeSync, fstatSync } from 'node:fs';
import { tryLock } from '../../system/flock.ts';
import type { LocalRepository } from '../local-repository.ts';
import { StoreDirectory } from '../store-directory.ts';
import { requireTrust } from '../trust.ts';
import { placeNewList } from './new-object-list.ts';
import type { KeptImage } from './object-list-file.ts';

const LEASES = 'leases';
/** The end of the name of a lease without a lock. */
const PACKED = '.packed';
const LEASE_NAME = /^[0-9a-f]{64}(?:-[0-9a-f]{16}|\.packed)$/;

/** Whose objects a lease keeps: those of a mount, or of an image that was packed recently and not registered. */
export type LeaseKind = 'mounted' | 'packed';

/** A new name in leases/, of a list that a mount may lock. */
export const leaseName = (image: string): string => `${image}-${randomBytes(8).toString('hex')}`;

export const leaseKind = (name: string): LeaseKind => (name.endsWith(PACKED) ? 'packed' : 'mounted');

/**
 * Whether a lease counts. Hold the exclusive lock: otherwise a mount may be about to lock it.
 * @param leases the directory
 * @param minAgeMs the age from which one without a lock does not count
 * @throws errors of node:fs
 */
export function isLive(leases: StoreDirectory, name: string, minAgeMs: number): boolean {
  const fd = leases.openFile(name);
  try {
    if (leaseKind(name) === 'packed') return Date.now() - fstatSync(fd).ctimeMs < minAgeMs;
    return !tryLock(fd, 'exnb');
  } finally {
    closeSync(fd);
  }
}

/**
 * Runs `work` in leases/, with the names of all leases, sorted; does nothing if it is missing. Other names in it are
 * not leases, and must not be deleted.
 * @throws CfsError (store)
 */
export function withLeases(
  repository: LocalRepository,
  work: (leases: StoreDirectory, names: readonly string[]) => void,
): void {
  repository.withNames(LEASES, (leases, names) =>
    work(
      leases,
      names.filter((name) => LEASE_NAME.test(name)),
    ),
  );
}

/** Opens leases/, which the caller closes; creates it if it is missing. @throws errors of node:fs */
export const makeLeases = (repository: LocalRepository): StoreDirectory => repository.makeDirectory(LEASES);

/** As `makeLeases`, for a mount, which writes nothing else. @throws CfsError (store) if root must not write there */
export function makeLeasesIfTrusted(repository: LocalRepository): StoreDirectory {
  const root = repository.enter();
  try {
    requireTrust(root);
    return root.make(LEASES);
  } finally {
    root.close();
  }
}

/** Deletes a lease, if there are leases. @throws errors of node:fs */
export function deleteLease(repository: LocalRepository, name: string): void {
  repository.within(LEASES, (leases) => leases.unlink(name));
}

/**
 * As `deleteLease`, of the repository whose directory is open. `leases` may have become a symbolic link.
 * @param directory its descriptor, which remains the caller's
 */
export function deleteLeaseIn(directory: number, name: string): void {
  const root = StoreDirectory.of(directory, '');
  try {
    const leases = root.open(LEASES);
    try {
      leases.unlink(name);
    } finally {
      leases.close();
    }
  } finally {
    root.close();
  }
}

/**
 * Makes a lease of a root; a mount keeps its lock on it.
 * @param roots the directory
 * @returns its name in leases/
 * @throws errors of node:fs
 */
export function moveToLeases(repository: LocalRepository, roots: StoreDirectory, image: string): string {
  const leases = makeLeases(repository);
  try {
    const lease = leaseName(image);
    roots.rename(image, leases, lease);
    // before objects are deleted: after a crash it must not count as registered
    for (const directory of [leases, roots]) directory.sync();
    return lease;
  } finally {
    leases.close();
  }
}

/** Undoes `moveToLeases`. @throws errors of node:fs */
export function moveToRoots(repository: LocalRepository, lease: string, roots: StoreDirectory, image: string): void {
  repository.within(LEASES, (leases) => leases.rename(lease, roots, image));
}

/**
 * Keeps the objects of an unregistered image for a while: gc counts the file as long as it is young. Hold the shared
 * lock.
 * @throws CfsError (store)
 */
export async function keepForAWhile(repository: LocalRepository, image: KeptImage, durable: boolean): Promise<void> {
  try {
    const leases = makeLeases(repository);
    try {
      await placeNewList(repository, image, durable, (temporary, written) =>
        temporary.rename(written, leases, `${image.image}${PACKED}`),
      );
    } finally {
      leases.close();
    }
  } catch (error) {
    throw repository.failure(`keep the objects of image ${image.image}`, error);
  }
}
