/** The caller of a request, and its permissions for data other than contents. */

import { isDirectory, lookupName, xattrsOf } from '../manifest/lookup.ts';
import type { ManifestTables } from '../manifest/tables.ts';
import { hasAdminCapability } from '../system/admin-capability.ts';

/** The process behind a request. */
export interface Caller {
  /** In the mount's user namespace; UNKNOWN_UID if the driver does not know it. */
  readonly uid: number;
  /** 0 if it is not visible from here. */
  readonly pid: number;
}

export const UNKNOWN_UID = -1;
export const UNKNOWN_CALLER: Caller = { uid: UNKNOWN_UID, pid: 0 };

const ROOT_UID = 0;
const SLASH = 0x2f;
const S_IXUSR = 0o100;
/** Group and others: group membership is not looked up. */
const S_IXALL = 0o011;
const ACL_NAME = Buffer.from('system.posix_acl_access');

/**
 * Whether `trusted.` names are listed: only for callers that may read the values, as in ext4 (CAP_SYS_ADMIN of the
 * initial user namespace). For all if the driver does not know the caller: a copy that loses attributes would be worse.
 */
export function mayListTrusted({ uid, pid }: Caller): boolean {
  if (uid === UNKNOWN_UID) return true;
  if (pid === 0) return uid === ROOT_UID;
  try {
    return hasAdminCapability(pid);
  } catch {
    // it ended, or belongs to a user whom this server may not inspect
    return uid === ROOT_UID;
  }
}

/**
 * Whether the caller may search every directory on the way to `path`, and so may know it, judged by modes alone:
 * membership in a group and ACL entries are not looked up, and count as no permission.
 * @param path of the image, absolute, without "." and ".."
 */
export function maySearchTo(tables: ManifestTables, path: Uint8Array, { uid }: Caller): boolean {
  // that of the root is irrelevant
  if (uid === ROOT_UID || path.length <= 1) return true;
  for (let row = 0, from = 1; ; ) {
    const slash = path.indexOf(SLASH, from);
    if (!maySearch(tables, row, uid)) return false;
    if (slash < 0) return true;
    row = lookupName(tables, row, path.subarray(from, slash));
    if (row < 0 || !isDirectory(tables, row)) return false;
    from = slash + 1;
  }
}

function maySearch(tables: ManifestTables, row: number, uid: number): boolean {
  const mode = tables.inodes.mode[row] as number;
  if (tables.inodes.uid[row] === uid) return (mode & S_IXUSR) !== 0;
  const forAll = uid === UNKNOWN_UID ? S_IXALL | S_IXUSR : S_IXALL;
  if ((mode & forAll) !== forAll) return false;
  return !xattrsOf(tables, row).some(([name]) => ACL_NAME.equals(name));
}
