/**
 * Files that are complete whenever the machine stops. A file is atomically replaced, by a rename. It keeps mode, owner,
 * group and ACL, as if the existing file had been written: a private file must not become public when it is rewritten.
 */
import { randomBytes } from 'node:crypto';
import { closeSync, constants, fchownSync, fstatSync, lstatSync, openSync, type Stats, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { EEXIST, ENODATA, ENOENT, EOPNOTSUPP, errnoOf, isErrno } from '../base/errno.ts';
import * as calls from './file-calls.ts';
import { systemError } from './libc.ts';
import { getXattr, removeXattrOfFd, setXattrOfFd } from './xattrs.ts';

/** The permissions of a file. */
interface Access {
  readonly stat: Pick<Stats, 'mode' | 'uid' | 'gid'>;
  /** Its access ACL; undefined if it has none. */
  readonly acl: Uint8Array | undefined;
}

const ACCESS_ACL = 'system.posix_acl_access';
const PERMISSIONS = 0o777;
const GROUP = 0o070;

/**
 * Writes a file so that `path` always has either the old content or all of `bytes`: temporary file beside it, fsync,
 * rename, fsync of the directory. A symbolic link at `path` is itself replaced.
 * @param bytes one or several pieces
 * @throws errors of node:fs
 */
export function replaceFile(path: string, bytes: Uint8Array | readonly Uint8Array[], durable: boolean): void {
  const before = accessOf(path);
  const temporary = `${path}.${randomBytes(6).toString('hex')}.tmp`;
  const fd = calls.openSync(temporary, 'wx', before === undefined ? 0o644 : 0o600);
  try {
    try {
      for (const part of bytes instanceof Uint8Array ? [bytes] : bytes) calls.writeFileSync(fd, part);
      if (before !== undefined) giveAccess(fd, before);
      if (durable) calls.fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    calls.renameSync(temporary, path);
  } catch (error) {
    try {
      calls.unlinkSync(temporary);
    } catch {
      // the first error is the one to report
    }
    throw error;
  }
  if (durable) syncDirectory(dirname(path));
}

/** Of a regular file; undefined if there is none. */
function accessOf(path: string): Access | undefined {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (!stat?.isFile()) return undefined;
  const acl = getXattr(path, ACCESS_ACL);
  return { stat, acl: isErrno(acl) ? undefined : acl };
}

/** The same as before, as far as this user may set it; and never more. */
function giveAccess(fd: number, { stat, acl }: Access): void {
  const own = fstatSync(fd);
  const keepsOwner = own.uid === stat.uid || tryChown(fd, stat.uid, stat.gid);
  const keepsGroup = fstatSync(fd).gid === stat.gid || tryChown(fd, fstatSync(fd).uid, stat.gid);
  const keepsAcl = giveAcl(fd, acl);
  let mode = stat.mode & (keepsOwner && keepsGroup ? 0o7777 : PERMISSIONS);
  // another group gets no more than all users have; without its ACL the permissions of a file's group are unknown
  if (!keepsGroup || !keepsAcl) mode &= ~GROUP | ((mode & 0o007) << 3);
  calls.fchmodSync(fd, mode);
}

/** Only root can give files away; others can give them only to their own groups. */
function tryChown(fd: number, uid: number, gid: number): boolean {
  try {
    fchownSync(fd, uid, gid);
    return true;
  } catch (error) {
    if (errnoOf(error) === undefined) throw error;
    return false;
  }
}

/** @returns false if the ACL differs */
function giveAcl(fd: number, acl: Uint8Array | undefined): boolean {
  if (acl !== undefined) return setXattrOfFd(fd, ACCESS_ACL, acl) === 0;
  // the ACL that the directory gives to new files
  const removed = removeXattrOfFd(fd, ACCESS_ACL);
  if (removed === 0 || removed === ENODATA || removed === EOPNOTSUPP) return true;
  throw systemError(removed, 'removexattr', ACCESS_ACL);
}

/**
 * `mkdir -p`. node's own tries forever if mkdir(2) returns ENOENT although the parent exists, as in /proc (node 20).
 */
export function makeDirectory(path: string): void {
  try {
    calls.mkdirSync(path);
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === EEXIST && statSync(path).isDirectory()) return;
    if (errno !== ENOENT || exists(dirname(path))) throw error;
    makeDirectory(dirname(path));
    calls.mkdirSync(path);
  }
}

/** Whether `path` exists, following symbolic links. */
export function exists(path: string): boolean {
  try {
    return statSync(path, { throwIfNoEntry: false }) !== undefined;
  } catch {
    return false; // ENOTDIR or EACCES, for example: the next operation on it reports the reason
  }
}

/** fsync(2) of a directory: the names in it are on the device then. */
export function syncDirectory(path: string): void {
  const fd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    calls.fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
