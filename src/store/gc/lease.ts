/**
 * Leases: what keeps the objects of a mount from being deleted while it is there. A lease is a shared flock(2) on a keep
 * list, the image's root where it is registered, else a file of its own in leases/. It ends with the last descriptor of
 * that open file, so with the mount, however that ends.
 */
import { closeSync } from 'node:fs';
import { errnoOf } from '../../base/errno.ts';
import { CfsError, reasonOf } from '../../base/error.ts';
import { tryLock } from '../../system/flock.ts';
import type { LocalRepository } from '../local-repository.ts';
import { type LockWait, lockAgainstDeleting, type RepositoryLock } from '../lock.ts';
import { giveTo } from '../lockable.ts';
import type { StoreDirectory } from '../store-directory.ts';
import { requireTrust } from '../trust.ts';
import { type KeptImage, readKeepHeader, writeKeepList } from './object-list-file.ts';
import { LIST_MODE, leaseName } from './roots.ts';

export interface Lease {
  /** Of the open file that has the lock. */
  readonly fd: number;
  /** In leases/; undefined where it is the root of a registered image. */
  readonly name: string | undefined;
}

/** A lease whose list may not be written yet: nobody deletes objects until `release`. */
export interface NewLease extends Lease {
  release(): void;
}

/**
 * Takes a lease for an image. Waits while somebody deletes objects.
 * @param image 64 hexadecimal digits
 * @throws CfsError (store) where it cannot be had, because the repository may only be read, for instance
 */
export async function takeLease(repository: LocalRepository, image: string, wait: LockWait = {}): Promise<NewLease> {
  const lock = await lockAgainstDeleting(repository, wait);
  try {
    return newLease(ofRoot(repository, image) ?? ofItsOwn(repository, image), lock);
  } catch (error) {
    lock.release();
    if (errnoOf(error) === undefined) throw error;
    throw new CfsError(
      'store',
      `Cannot keep objects of repository ${repository.path} from being deleted: ${reasonOf(error)}`,
      {
        cause: error,
      },
    );
  }
}

const newLease = (lease: Lease, lock: RepositoryLock): NewLease => ({ ...lease, release: () => lock.release() });

/** Unregistering moves the file, and does not end the lease. */
function ofRoot(repository: LocalRepository, image: string): Lease | undefined {
  let fd: number | undefined;
  try {
    fd = repository.within('roots', (roots) => roots.openFile(image));
  } catch {
    // it is not registered, or not for this user
  }
  if (fd === undefined) return undefined;
  try {
    const header = readKeepHeader(fd);
    // of a malformed one nothing is expected; gc does not go on as long as it is there
    if (typeof header !== 'string' && header.image === image && tryLock(fd, 'shnb')) return { fd, name: undefined };
  } catch {
    // no locks there: a file of its own says why
  }
  closeSync(fd);
  return undefined;
}

function ofItsOwn(repository: LocalRepository, image: string): Lease {
  const { lockers } = repository;
  const leases = makeLeases(repository);
  try {
    const name = leaseName(image);
    const fd = leases.create(name, 0o600);
    try {
      giveTo(fd, lockers, LIST_MODE);
      if (tryLock(fd, 'shnb')) return { fd, name };
    } catch (error) {
      closeSync(fd);
      throw error;
    }
    closeSync(fd);
    throw new CfsError('store', `Cannot lock ${leases.path}/${name}: somebody else has it`);
  } finally {
    leases.close();
  }
}

/** @throws CfsError (store) where root is not to write there */
function makeLeases(repository: LocalRepository): StoreDirectory {
  const root = repository.enter();
  try {
    requireTrust(root);
    return root.make('leases');
  } finally {
    root.close();
  }
}

/** Whether the list of the lease was written to its end. */
export const isWritten = ({ fd }: Lease): boolean => typeof readKeepHeader(fd) !== 'string';

/**
 * Writes the list of a lease. Meanwhile nobody may delete objects: gc refuses to go on where it finds an unfinished one.
 * Never synced: no mount outlives a crash of the machine.
 * @throws a system error, e.g. where the disk is full
 */
export async function writeLease(lease: Lease, image: KeptImage): Promise<void> {
  await writeKeepList(lease.fd, image);
}

/** Ends a lease. What cannot be deleted is left to gc. */
export function endLease(repository: LocalRepository, { fd, name }: Lease): void {
  if (name !== undefined) {
    try {
      repository.within('leases', (leases) => leases.unlink(name));
    } catch {
      // the repository was moved, or may only be read by now
    }
  }
  closeSync(fd);
}
