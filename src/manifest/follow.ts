/** Resolving a path as the kernel does in a mount of the image that is the root directory of a process. */
import { ELOOP, ENOENT, ENOTDIR, type Errno } from '../base/errno.ts';
import { S_IFLNK, S_IFMT } from '../base/stat-bits.ts';
import { isDirectory, linkTarget, lookupName, parentOfDirectory } from './lookup.ts';
import type { ManifestTables } from './tables.ts';

/** MAXSYMLINKS (include/linux/namei.h): links that are followed in one path. */
const MOST_LINKS = 40;
const SLASH = 0x2f;
const DOT = 0x2e;

const isDot = (name: Uint8Array): boolean => name.length === 1 && name[0] === DOT;
const isDotDot = (name: Uint8Array): boolean => name.length === 2 && name[0] === DOT && name[1] === DOT;

/**
 * The inode row at a path, absolute or relative to the root of the image. Symbolic links are followed, also in the last
 * component: absolute ones from the root of the image, and ".." there is the root itself. So nothing leads out of it.
 * @returns ENOENT, ENOTDIR, or ELOOP after more than 40 links
 */
export function followPath(tables: ManifestTables, path: Uint8Array): number | Errno {
  // the names that are left, the next one at the end
  const left = namesOf(path);
  let directory = 0;
  let row = 0;
  let links = 0;
  for (let name = left.pop(); name !== undefined; name = left.pop()) {
    if (!isDirectory(tables, row)) return ENOTDIR;
    directory = row;
    if (isDot(name)) continue;
    row = isDotDot(name) ? parentOfDirectory(tables, directory) : lookupName(tables, directory, name);
    if (row < 0) return ENOENT;
    if (((tables.inodes.mode[row] as number) & S_IFMT) !== S_IFLNK) continue;
    if (++links > MOST_LINKS) return ELOOP;
    const target = linkTarget(tables, row);
    left.push(...namesOf(target));
    row = target[0] === SLASH ? 0 : directory;
  }
  return row;
}

/** The names of a path, the last one first; a slash at its end is a name ".", which only a directory has. */
function namesOf(path: Uint8Array): Uint8Array[] {
  const names: Uint8Array[] = [];
  for (let from = 0; from < path.length; ) {
    const slash = path.indexOf(SLASH, from);
    const to = slash < 0 ? path.length : slash;
    if (to > from) names.push(path.subarray(from, to));
    from = to + 1;
  }
  if (names.length > 0 && path.at(-1) === SLASH) names.push(Uint8Array.of(DOT));
  return names.reverse();
}
