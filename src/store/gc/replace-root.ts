/** Renaming a root into place, while a mount may hold its lock on the existing one. */
import { EEXIST, EINVAL, ENOSYS, EPERM, type Errno, errnoOf } from '../../base/errno.ts';
import { pathBytes } from '../../base/path-text.ts';
import { renameExchangeAt, renameNoReplaceAt } from '../../system/file-calls.ts';
import { systemError } from '../../system/libc.ts';
import type { StoreDirectory } from '../store-directory.ts';

const cannot = (errno: Errno): boolean => errno === EINVAL || errno === ENOSYS;

/**
 * Renames `written`, in tmp/, to `image` in roots/. The existing root goes to leases/, where a mount may keep its lock
 * on it: in one step, and without permission on the old file, which may be another user's.
 * @param newLease returns a new name in leases/
 * @throws a system error
 */
export function replaceRoot(
  { temporary, roots, leases }: { readonly [name in 'temporary' | 'roots' | 'leases']: StoreDirectory },
  written: string,
  image: string,
  newLease: () => string,
): void {
  const path = `${roots.path}/${image}`;
  const placed = renameNoReplaceAt(temporary.fd, pathBytes(written), roots.fd, pathBytes(image));
  if (placed === 0) return;
  if (placed !== EEXIST && !cannot(placed)) throw systemError(placed, 'rename', path);
  if (roots.stat(image) === undefined) {
    temporary.rename(written, roots, image);
    return;
  }
  const lease = newLease();
  // the new one is not locked: killed here, it is a lease without a mount
  temporary.rename(written, leases, lease);
  const exchanged = renameExchangeAt(leases.fd, pathBytes(lease), roots.fd, pathBytes(image));
  if (exchanged === 0) return;
  if (!cannot(exchanged)) throw systemError(exchanged, 'rename', path);
  const old = newLease();
  try {
    roots.link(image, leases, old);
  } catch (error) {
    // fs.protected_hardlinks: the file is another user's. Killed here, the image is registered the next time that it is
    // packed
    if (errnoOf(error) !== EPERM) throw error;
    roots.rename(image, leases, old);
  }
  leases.rename(lease, roots, image);
}
