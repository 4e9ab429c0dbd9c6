/** Owner, xattrs, mode and time of an extracted file. */
import { printable } from '../base/bytes.ts';
import { EACCES, EINVAL, EPERM, type Errno, isErrno } from '../base/errno.ts';
import { S_IFDIR, S_IFLNK, S_IFMT } from '../base/stat-bits.ts';
import { xattrsOf } from '../manifest/lookup.ts';
import { type ManifestTables, NONE } from '../manifest/tables.ts';
import { chmodAt, chownAt, setTimesAt } from '../system/directory-calls.ts';
import { errnoText } from '../system/libc.ts';
import { removeXattrAt, setXattrAt } from '../system/xattr-calls.ts';

/** What is taken from the image, and by whom. Plain data. */
export interface AttributeRules {
  /** Set the owner and group of the image. */
  readonly owners: boolean;
  readonly xattrs: boolean;
  /** The effective user and group of this process. A user that is not 0 may not set everything. */
  readonly uid: number;
  readonly gid: number;
}

/** Attributes that this user may not set; they were left out. */
export interface LeftOut {
  owners: number;
  xattrs: number;
}

const SET_UID = 0o4000;
const SET_GID = 0o2000;
const PERMISSIONS = 0o7777;
const NO_CHANGE = -1;
const ACCESS_ACL: Uint8Array = Buffer.from('system.posix_acl_access');
const DEFAULT_ACL: Uint8Array = Buffer.from('system.posix_acl_default');
/** Names that only privileged users may set. */
const PRIVILEGED = /^(?:trusted|security)\./;

/**
 * Gives a file the attributes of inode `row`: the mode after owner and capabilities, since a change of the owner clears
 * set-id bits; the time at the end.
 * @param dir, name as in directory-calls.ts: an empty name means the open file `dir`
 * @param inherits whether the directory hands group or ACL on to new files
 * @returns the problems, as texts
 */
export function setAttributes(
  tables: ManifestTables,
  row: number,
  dir: number,
  name: Uint8Array,
  rules: AttributeRules,
  inherits: boolean,
  leftOut: LeftOut,
): readonly string[] {
  const problems: string[] = [];
  const failed = (what: string, errno: Errno): void => void problems.push(`${what}: ${errnoText(errno)}`);
  const { mode, mtime, mtimeNsec } = tables.inodes;
  const type = (mode[row] as number) & S_IFMT;
  const lost = setOwner(tables, row, dir, name, rules, inherits, leftOut, failed);
  setXattrs(tables, row, dir, name, rules, leftOut, failed);
  if (inherits) removeInherited(tables, row, dir, name, type);
  if (type !== S_IFLNK) {
    const changed = chmodAt(dir, name, (mode[row] as number) & PERMISSIONS & ~(type === S_IFDIR ? 0 : lost));
    if (isErrno(changed)) failed('mode', changed);
  }
  const time = {
    low: mtime[row * 2] as number,
    high: mtime[row * 2 + 1] as number,
    nsec: mtimeNsec[row] as number,
  };
  const timed = setTimesAt(dir, name, undefined, time);
  if (isErrno(timed)) failed('time', timed);
  return problems;
}

/** @returns the set-id bits that the file must not have, because it belongs to another user or group */
function setOwner(
  tables: ManifestTables,
  row: number,
  dir: number,
  name: Uint8Array,
  { owners, uid: ownUid, gid: ownGid }: AttributeRules,
  inherits: boolean,
  leftOut: LeftOut,
  failed: (what: string, errno: Errno) => void,
): number {
  const uid = tables.inodes.uid[row] as number;
  const gid = tables.inodes.gid[row] as number;
  if (!owners) return (uid === ownUid ? 0 : SET_UID) | (gid === ownGid ? 0 : SET_GID);
  if (uid === ownUid && gid === ownGid && !inherits) return 0;
  const isRoot = ownUid === 0;
  const changed = chownAt(dir, name, isRoot ? uid : NO_CHANGE, gid);
  if (isRoot) {
    if (!isErrno(changed)) return 0;
    failed(`owner ${uid}:${gid}`, changed);
    return SET_UID | SET_GID;
  }
  const hasGroup = !isErrno(changed);
  if (!hasGroup && changed !== EPERM && changed !== EINVAL) failed(`group ${gid}`, changed);
  if (uid !== ownUid || !hasGroup) leftOut.owners++;
  return (uid === ownUid ? 0 : SET_UID) | (hasGroup ? 0 : SET_GID);
}

function setXattrs(
  tables: ManifestTables,
  row: number,
  dir: number,
  name: Uint8Array,
  { xattrs, uid }: AttributeRules,
  leftOut: LeftOut,
  failed: (what: string, errno: Errno) => void,
): void {
  if (!xattrs || tables.inodes.xattrs[row] === NONE) return;
  for (const [key, value] of xattrsOf(tables, row)) {
    const set = setXattrAt(dir, name, key, value, 0);
    if (!isErrno(set)) continue;
    const isDenied = (set === EPERM || set === EACCES) && uid !== 0 && PRIVILEGED.test(printable(key));
    if (isDenied) leftOut.xattrs++;
    else failed(`xattr ${printable(key)}`, set);
  }
}

/** Removes ACLs that the file did not have in the image. Errors mean that there are none. */
function removeInherited(tables: ManifestTables, row: number, dir: number, name: Uint8Array, type: number): void {
  if (type === S_IFLNK) return;
  const own = xattrsOf(tables, row).map(([key]) => Buffer.from(key).toString('latin1'));
  for (const acl of type === S_IFDIR ? [ACCESS_ACL, DEFAULT_ACL] : [ACCESS_ACL]) {
    if (!own.includes(Buffer.from(acl).toString('latin1'))) removeXattrAt(dir, name, acl);
  }
}
