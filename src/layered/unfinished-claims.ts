/** Claims that no checkpoint has completed: a new mount removes the names that they have given. */
import { type Errno, isErrno } from '../base/errno.ts';
import { errnoText } from '../system/libc.ts';
import { type ClaimedName, endClaim, listClaims, namesOfClaim } from '../upper/claims.ts';
import { changing } from './change-marks.ts';
import { directoryOf } from './directories.ts';
import { entryOf } from './entries.ts';
import type { Layer } from './layer.ts';
import { letGo } from './orphans.ts';
import { removeName } from './remove.ts';

/** Under the lock, at the begin of a mount: nothing is open, so no checkpoint can be in progress. */
export function dropUnfinishedClaims(layer: Layer): void {
  const { claims: dir } = layer.directories;
  if (dir < 0) return;
  const claims = listClaims(dir);
  for (const claim of isErrno(claims) ? [] : claims) {
    if (claim.isComplete) continue;
    const names = namesOfClaim(dir, claim);
    for (const name of isErrno(names) ? [] : names) {
      const removed = remove(layer, name);
      if (isErrno(removed)) layer.log(`a name of an unfinished checkpoint cannot be removed: ${errnoText(removed)}`);
    }
    endClaim(dir, claim.id);
  }
}

/** Removes a name if it is that of the inode still. */
function remove(layer: Layer, { ino, parent, name }: ClaimedName): 0 | Errno {
  const confirmed = layer.confirm(parent, true);
  if (isErrno(confirmed)) return confirmed;
  const directory = directoryOf(layer, parent);
  if (isErrno(directory) || directory.fd < 0) return 0;
  const entry = entryOf(layer, directory, name);
  if (isErrno(entry) || entry.ino !== ino) return 0;
  const removed = changing(layer, [parent], () => removeName(layer, directory, name, entry));
  if (!isErrno(removed)) letGo(layer, ino);
  return removed;
}
