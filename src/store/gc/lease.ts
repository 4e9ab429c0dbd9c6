/**
 * Leases keep the objects of a mount from being deleted during its life. A lease is a shared flock(2) on a keep list:
 * the image's root if it is registered, else a separate file in leases/. It ends with the last descriptor of that open
 * file, so with the mount, however that ends.
 */
import { closeSync } from 'node:fs';
import { errnoOf } from '../../base/errno.ts';
import { CfsError, reasonOf } from '../../base/error.ts';
import { tryLock } from '../../system/flock.ts';
import type { LocalRepository } from '../local-repository.ts';
import { type LockWait, lockAgainstDeleting, type RepositoryLock } from '../lock.ts';
import { giveTo } from '../lockable.ts';
import { deleteLease, leaseName, makeLeasesIfTrusted } from './leases.ts';
import { LIST_MODE } from './new-object-list.ts';
import { type KeptImage, readKeepHeader, writeKeepList } from './object-list-file.ts';

export interface Lease {
  /** The open file that has the lock. */
  readonly fd: number;
  /** In leases/; undefined if it is the root of a registered image. */
  readonly name: string | undefined;
}

/** A lease whose list may not be written yet: no object is deleted until `release`. */
export interface NewLease extends Lease {
  release(): void;
}

/**
 * Takes a lease for an image. Waits while objects are being deleted.
 * @param image 64 hexadecimal digits
 * @throws CfsError (store) if no lease can be taken, for instance because the repository is read-only
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

/** Unregistering moves the file, which does not end the lease. */
function ofRoot(repository: LocalRepository, image: string): Lease | undefined {
  let fd: number | undefined;
  try {
    fd = repository.within('roots', (roots) => roots.openFile(image));
  } catch {
    // it is not registered, or not visible to this user
  }
  if (fd === undefined) return undefined;
  try {
    const header = readKeepHeader(fd);
    // a malformed root needs no lease: gc refuses to run as long as it exists
    if (typeof header !== 'string' && header.image === image && tryLock(fd, 'shnb')) return { fd, name: undefined };
  } catch {
    // no locks there: creating a file reports the reason
  }
  closeSync(fd);
  return undefined;
}

function ofItsOwn(repository: LocalRepository, image: string): Lease {
  const { lockers } = repository;
  const leases = makeLeasesIfTrusted(repository);
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
    throw new CfsError('store', `Cannot lock ${leases.path}/${name}: another process has it locked`);
  } finally {
    leases.close();
  }
}

/** Whether the list of the lease is complete. */
export const isWritten = ({ fd }: Lease): boolean => typeof readKeepHeader(fd) !== 'string';

/**
 * Writes the list of a lease. Until it is complete nothing is deleted: gc refuses to continue if it finds an unfinished
 * one. It is never synced: no mount outlives a crash of the machine.
 * @throws a system error, for example if the disk is full
 */
export async function writeLease(lease: Lease, image: KeptImage): Promise<void> {
  await writeKeepList(lease.fd, image);
}

/** Ends a lease. Files that cannot be deleted are left to gc. */
export function endLease(repository: LocalRepository, { fd, name }: Lease): void {
  if (name !== undefined) {
    try {
      deleteLease(repository, name);
    } catch {
      // the repository was moved, or has become read-only
    }
  }
  closeSync(fd);
}
