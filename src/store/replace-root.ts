/** Giving a root its name, where there may be one already that a mount holds its lock on. */
import { existsSync } from 'node:fs';
import { EEXIST, EINVAL, ENOSYS, EPERM, type Errno, errnoOf } from '../base/errno.ts';
import { pathBytes } from '../base/path-text.ts';
import { AT_FDCWD, systemError } from '../system/libc.ts';
import { linkSync, renameExchangeAt, renameNoReplaceAt, renameSync } from './file-calls.ts';

const bytesOf = (path: string): Uint8Array => pathBytes(path);
const cannot = (errno: Errno): boolean => errno === EINVAL || errno === ENOSYS;

/**
 * Renames `written` to `root`. What was there goes to leases/, where a mount may go on to hold its lock on it: in one step, and
 * without a right to the old file, which may be another user's.
 * @param newLease gives a new path in leases/
 * @throws a system error
 */
export function replaceRoot(written: string, root: string, newLease: () => string): void {
  const placed = renameNoReplaceAt(AT_FDCWD, bytesOf(written), AT_FDCWD, bytesOf(root));
  if (placed === 0) return;
  if (placed !== EEXIST && !cannot(placed)) throw systemError(placed, 'rename', root);
  if (!existsSync(root)) {
    renameSync(written, root);
    return;
  }
  const lease = newLease();
  // nobody has locked the new one: killed here, it is a lease of nobody's
  renameSync(written, lease);
  const exchanged = renameExchangeAt(AT_FDCWD, bytesOf(lease), AT_FDCWD, bytesOf(root));
  if (exchanged === 0) return;
  if (!cannot(exchanged)) throw systemError(exchanged, 'rename', root);
  const old = newLease();
  try {
    linkSync(root, old);
  } catch (error) {
    // fs.protected_hardlinks: the file is another user's. Killed here, the image is registered the next time that it is packed
    if (errnoOf(error) !== EPERM) throw error;
    renameSync(root, old);
  }
  renameSync(lease, root);
}
