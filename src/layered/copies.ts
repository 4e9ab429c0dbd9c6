/** Copies of inodes of the image, made in the work directory: everything but their content and their names. */

import { EOPNOTSUPP, EPERM, type Errno, isErrno } from '../base/errno.ts';
import type { InodeIdentity } from '../base/handle-format.ts';
import { isPrivateXattr } from '../base/private-xattrs.ts';
import { PERMISSIONS, S_IFDIR, S_IFLNK, S_IFMT, S_IFREG } from '../base/stat-bits.ts';
import { linkTarget, objectDigest, objectOf, xattrsOf } from '../manifest/lookup.ts';
import { u64 } from '../manifest/tables.ts';
import { closeFd } from '../system/descriptors.ts';
import {
  chmodAt,
  chownAt,
  createAt,
  makeDirectoryAt,
  makeNodeAt,
  makeSymlinkAt,
  setTimesAt,
  type TimeToSet,
} from '../system/directory-calls.ts';
import { truncateFd } from '../system/file-content-calls.ts';
import { setXattrAt } from '../system/xattr-calls.ts';
import { encodeMetacopy, PLAIN_METACOPY } from '../upper/overlay-format.ts';
import type { Layer } from './layer.ts';
import { writeIdentity } from './layer-xattrs.ts';
import { makeTemporary } from './temporary.ts';
import type { Place } from './upper-tree.ts';

const EMPTY: Uint8Array = Uint8Array.of();
const SHA256 = 1;

/** Bytes of an inode of the image. */
export const sizeOf = ({ tables }: Layer, lower: number): number => u64(tables.inodes.size, lower);

/** A copy that is being made. */
export interface Copy {
  /** Its name among the temporary files. */
  readonly named: Place;
  /** The same file for calls that change it: a regular one by its descriptor. */
  readonly file: Place;
  /** Of a regular file; else -1. */
  readonly fd: number;
}

/** Makes a file of the type of an inode of the image; to be closed by `closeCopy`. */
export function makeCopy(layer: Layer, lower: number): Copy | Errno {
  const { inodes } = layer.tables;
  const mode = inodes.mode[lower] as number;
  let fd = -1;
  const named = makeTemporary(layer, (dir, name) => {
    switch (mode & S_IFMT) {
      case S_IFREG:
        fd = createAt(dir, name, 0o600);
        return fd;
      case S_IFDIR:
        return makeDirectoryAt(dir, name, 0o700);
      case S_IFLNK:
        return makeSymlinkAt(dir, name, linkTarget(layer.tables, lower));
      default:
        return makeNodeAt(dir, name, (mode & S_IFMT) | 0o600, inodes.rdev[lower] as number);
    }
  });
  if (isErrno(named)) return named;
  return { named, file: fd < 0 ? named : { dir: fd, name: EMPTY }, fd };
}

export function closeCopy({ fd }: Copy): void {
  if (fd >= 0) closeFd(fd);
}

/** The value has the digest of the image's file, if the image names objects by fs-verity. @param fd of the copy */
export function markAsMetacopy(layer: Layer, lower: number, fd: number): 0 | Errno {
  const { tables, names } = layer;
  const object = objectOf(tables, lower);
  const hasDigest = tables.header.hash === 'fsverity-sha256' && object >= 0;
  const value = encodeMetacopy(
    hasDigest ? { flags: 0, algorithm: SHA256, digest: objectDigest(tables, object) } : PLAIN_METACOPY,
  );
  const sized = truncateFd(fd, sizeOf(layer, lower));
  return isErrno(sized) ? sized : setXattrAt(fd, EMPTY, names.names.metacopy, value, 0);
}

/**
 * Owner, xattrs, origin, mode and times of the image's inode, in this order: a change of owner removes capabilities,
 * and an ordinary user may set xattrs only as long as the mode permits writing.
 * @param ino the id that the copy has
 * @param isOwned whether the owner is set afterwards
 */
export function dress(layer: Layer, lower: number, ino: number, file: Place, isOwned: boolean): 0 | Errno {
  const { tables, names } = layer;
  const { inodes } = tables;
  const { dir, name } = file;
  const mode = inodes.mode[lower] as number;
  const owned = isOwned ? 0 : chownAt(dir, name, inodes.uid[lower] as number, inodes.gid[lower] as number);
  if (isErrno(owned)) return owned;
  for (const [key, value] of xattrsOf(tables, lower)) {
    if (isPrivateXattr(key)) continue;
    const stored = names.escape(key);
    const set = isErrno(stored) ? stored : setXattrAt(dir, name, stored, value, 0);
    if (isErrno(set) && !isDispensable(set, key)) return set;
  }
  const set = noteOrigin(layer, { id: ino, generation: inodes.generation[lower] as number }, mode, file);
  if (isErrno(set)) return set;
  const changed = (mode & S_IFMT) === S_IFLNK ? 0 : chmodAt(dir, name, mode & PERMISSIONS);
  if (isErrno(changed)) return changed;
  const time = timeOf(layer, lower);
  return setTimesAt(dir, name, time, time);
}

/** As in overlayfs, a name of a file with several has no origin if there is no index: it has an id of its own. */
function noteOrigin(layer: Layer, identity: InodeIdentity, mode: number, { dir, name }: Place): 0 | Errno {
  const { names, linkNames } = layer;
  if (linkNames?.direntOf(identity.id) !== undefined) return writeIdentity(names, dir, name, mode, identity);
  if (!names.isPossible(mode)) return 0;
  return setXattrAt(dir, name, names.names.origin, layer.originFor(identity.id, identity.generation), 0);
}

/** As ovl_must_copy_xattr() of the kernel: ACLs and those of security decide on permissions. */
function isDispensable(error: Errno, name: Uint8Array): boolean {
  if (error !== EOPNOTSUPP && error !== EPERM) return false;
  const text = Buffer.from(name).toString('latin1');
  return !text.startsWith('system.posix_acl_') && !(text.startsWith('security.') && text !== 'security.selinux');
}

function timeOf({ tables }: Layer, lower: number): TimeToSet {
  const { mtime, mtimeNsec } = tables.inodes;
  return {
    low: mtime[lower * 2] as number,
    high: mtime[lower * 2 + 1] as number,
    nsec: mtimeNsec[lower] as number,
  };
}
