/**
 * The directories in workdir, W. Two are overlayfs's own:
 *
 *     W/work       mode 0; files that are not complete; emptied by each mount, of cfs or of the kernel
 *     W/index      hard links of copied-up files; kept
 *     W/cfs        0700; of cfs alone, and overlayfs leaves it alone
 *     W/cfs/lock, W/cfs/orphans, W/cfs/claims, W/cfs/mark
 *
 * The table of identities, `work/cfs-ids`, is kept by mounts of cfs: so it survives until a mount of the kernel makes
 * it out of date. `work/incompat/volatile` says that changes may not have reached the disk.
 *
 * Whoever owns W may have put anything there: no link is followed.
 */
import { constants, ftruncateSync } from 'node:fs';
import { printable } from '../base/bytes.ts';
import { EACCES, EAGAIN, EBUSY, EEXIST, ELOOP, ENOENT, ENOTDIR, type Errno, isErrno } from '../base/errno.ts';
import { S_IFMT, S_IFREG } from '../base/stat-bits.ts';
import { closeFd, openAt } from '../system/descriptors.ts';
import { chmodAt, chownAt, makeDirectoryAt, removeDirectoryAt, unlinkAt } from '../system/directory-calls.ts';
import { readDirectory } from '../system/directory-listing.ts';
import { syncFd } from '../system/file-content-calls.ts';
import { emptyFileStatus, statusAt, statusOf } from '../system/file-status.ts';
import { flock, LOCK_EX, LOCK_NB } from '../system/flock.ts';
import { O_PATH } from '../system/libc.ts';
import { pread, pwrite, syncfs } from '../system/reading-writing.ts';
import { removeXattrAt } from '../system/xattr-calls.ts';
import { emptyDirectory } from './empty-directory.ts';
import { type Place, placeOf } from './in-use.ts';
import { failed, type NamedDirectory, refusal } from './refusal.ts';

const text = (name: string): Uint8Array => Buffer.from(name);
const WORK: Uint8Array = text('work');
const INCOMPAT: Uint8Array = text('incompat');
const VOLATILE: Uint8Array = text('volatile');
const DIRTY: Uint8Array = text('dirty');
const LOCK: Uint8Array = text('lock');
const DOT: Uint8Array = text('.');
const EMPTY: Uint8Array = Uint8Array.of();
/** The table of identities in W/work. */
export const TABLE_NAME: Uint8Array = text('cfs-ids');

const DIRECTORY = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;
const NEW_FILE = constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW | constants.O_NONBLOCK;
const status = emptyFileStatus();

const own = (): number => process.geteuid?.() ?? 0;

/**
 * Opens the directory `name` in `dir`, made with `mode` if it is missing; without the default ACL that it would pass on
 * to what is made in it.
 * @throws CfsError (mount)
 */
export function directoryIn(named: NamedDirectory, dir: number, name: Uint8Array, mode: number): number {
  const made = makeDirectoryAt(dir, name, mode);
  if (isErrno(made) && made !== EEXIST) throw failed(named, `cannot make ${printable(name)} in it`, made);
  const path = openAt(dir, name, O_PATH | constants.O_DIRECTORY | constants.O_NOFOLLOW);
  if (path === ENOTDIR || path === ELOOP) {
    throw refusal(named, `${printable(name)} in it is not a directory`, 'Choose an empty directory.');
  }
  // umask may have left no permission to open it
  if (made === 0 && !isErrno(path)) clearInherited(path, mode);
  const fd = isErrno(path) ? path : openAt(path, DOT, DIRECTORY);
  if (!isErrno(path)) closeFd(path);
  if (isErrno(fd)) throw failed(named, `cannot open ${printable(name)} in it`, fd);
  return fd;
}

/** As ovl_workdir_create: a new directory inherits ACLs and the set-group-ID bit. */
function clearInherited(fd: number, mode: number): void {
  removeXattrAt(fd, EMPTY, text('system.posix_acl_default'));
  removeXattrAt(fd, EMPTY, text('system.posix_acl_access'));
  chmodAt(fd, EMPTY, mode);
}

/** A directory in which others can change nothing; `directoryIn` besides. */
export function privateDirectoryIn(named: NamedDirectory, dir: number, name: Uint8Array): number {
  const fd = directoryIn(named, dir, name, 0o700);
  const result = statusOf(fd, status);
  if (!isErrno(result) && status.uid === own() && (status.mode & 0o022) === 0) return fd;
  closeFd(fd);
  throw refusal(
    named,
    `${printable(name)} in it belongs to another user, or others may write to it`,
    'Choose an empty directory; or remove it if it is not needed.',
  );
}

/**
 * Opens and locks W/cfs/lock.
 * @param mountpoint is written into it, for messages
 * @returns if another mount has the lock: what that wrote, and the place of the file
 */
export function lockFile(
  named: NamedDirectory,
  cfs: number,
  mountpoint: Uint8Array,
): { readonly fd: number } | LockedBy {
  const fd = openAt(cfs, LOCK, NEW_FILE, 0o600);
  if (isErrno(fd)) throw failed(named, 'cannot open cfs/lock in it', fd);
  const result = flock(fd, LOCK_EX | LOCK_NB);
  if (isErrno(result)) {
    const [by, device] = split(readStart(fd));
    const place = placeOf(fd);
    closeFd(fd);
    if (isErrno(place)) throw failed(named, 'cannot examine cfs/lock in it', place);
    if (result !== EAGAIN) throw failed(named, 'cannot lock cfs/lock in it', result);
    return { by: printable(by), device, place };
  }
  noteUse(fd, mountpoint);
  return { fd };
}

/** The other mount that has the lock. */
export interface LockedBy {
  /** Its mount point as `printable` makes it; empty if it is not known. */
  readonly by: string;
  /** major:minor of its file system; empty if it is not known. */
  readonly device: string;
  readonly place: Place;
}

/**
 * Writes into the locked file who has it, for other mounts.
 * @param device major:minor of the mount, when that is known
 */
export function noteUse(lock: number, mountpoint: Uint8Array, device?: string): void {
  // a file with another name somewhere is not written to
  const looked = statusOf(lock, status);
  if (isErrno(looked) || status.nlink !== 1 || (status.mode & S_IFMT) !== S_IFREG) return;
  chmodAt(lock, EMPTY, 0o600);
  rewrite(lock, device === undefined ? mountpoint : Buffer.concat([mountpoint, NUL, text(device)]));
}

const NUL: Uint8Array = Uint8Array.of(0);

function split(bytes: Uint8Array): readonly [by: Uint8Array, device: string] {
  const end = bytes.indexOf(0);
  if (end < 0) return [bytes, ''];
  return [bytes.subarray(0, end), Buffer.from(bytes.subarray(end + 1)).toString('latin1')];
}

const MOST_OF_LOCK = 4096;

function readStart(fd: number): Uint8Array {
  const buffer = Buffer.alloc(MOST_OF_LOCK);
  const length = pread(fd, buffer, buffer.length, 0);
  return isErrno(length) ? EMPTY : buffer.subarray(0, length);
}

/** Only for messages: on a full disk the file stays empty. */
function rewrite(fd: number, bytes: Uint8Array): void {
  try {
    ftruncateSync(fd, 0);
    pwrite(fd, bytes.subarray(0, MOST_OF_LOCK), 0);
  } catch {
    // as above
  }
}

/**
 * Refuses a work directory that a mount with features unknown here has left.
 * @param base W, an open directory
 * @throws CfsError (mount)
 */
export function checkIncompatible(named: NamedDirectory, base: number): void {
  const names = incompatibleIn(base);
  if (isErrno(names)) {
    throw failed(named, 'cannot read work/incompat in it', names, names === EACCES ? OF_ANOTHER : undefined);
  }
  if (names.length === 0) return;
  const marker = `${named.path}/work/incompat/${names[0]}`;
  if (!names.includes('volatile')) {
    throw refusal(named, `${marker} says that it has a feature that is not supported`, 'Choose an empty directory.');
  }
  throw refusal(
    named,
    'its last mount was volatile and did not end cleanly: files in upperdir may be damaged or lost',
    `Begin with empty directories. If the machine has not crashed since, remove ${named.path}/work/incompat/volatile.`,
  );
}

/** The names in `work/incompat` of W. If it is not a directory, there are none, and it is removed later. */
function incompatibleIn(base: number): readonly string[] | Errno {
  const work = openAt(base, WORK, DIRECTORY);
  if (isErrno(work)) return isNone(work) ? [] : work;
  const incompat = openAt(work, INCOMPAT, DIRECTORY);
  closeFd(work);
  if (isErrno(incompat)) return isNone(incompat) ? [] : incompat;
  const names: string[] = [];
  const listed = readDirectory(incompat, (name) => names.push(printable(name)));
  closeFd(incompat);
  return isErrno(listed) ? listed : names;
}

const isNone = (errno: Errno): boolean => errno === ENOENT || errno === ENOTDIR || errno === ELOOP;

const OF_ANOTHER = 'A mount of another user has made it: choose an empty directory.';

/**
 * Empties W/work, or makes it; the table of identities stays if no one else can have written it. Its mode is 0700
 * until `closeToOthers`.
 * @throws CfsError (mount)
 */
export function emptyWork(named: NamedDirectory, base: number): number {
  removeIfNoDirectory(named, base);
  const work = directoryIn(named, base, WORK, 0o700);
  try {
    const leftover = emptyDirectory(work, (name) => isTable(work, name));
    if (leftover !== undefined) {
      const reason = `cannot remove work/${printable(leftover.name)} in it`;
      const hint = leftover.errno === EBUSY ? `Unmount what is mounted in ${named.path}/work.` : undefined;
      throw failed(named, reason, leftover.errno, hint);
    }
    chownAt(work, EMPTY, own(), -1);
    clearInherited(work, 0o700);
    return work;
  } catch (error) {
    closeFd(work);
    throw error;
  }
}

function removeIfNoDirectory(named: NamedDirectory, base: number): void {
  const fd = openAt(base, WORK, DIRECTORY);
  if (!isErrno(fd)) closeFd(fd);
  else if (fd === ENOTDIR || fd === ELOOP) {
    const result = unlinkAt(base, WORK);
    if (isErrno(result)) throw failed(named, 'cannot remove work in it, which is not a directory', result);
  }
}

function isTable(work: number, name: Uint8Array): boolean {
  return (
    Buffer.from(name).equals(TABLE_NAME) &&
    statusAt(work, name, status) === 0 &&
    (status.mode & S_IFMT) === S_IFREG &&
    (status.mode & 0o022) === 0 &&
    status.nlink === 1 &&
    status.uid === own()
  );
}

/** Removes all permissions of W/work, as overlayfs does; not for an ordinary user, who needs them. */
export function closeToOthers(work: number): void {
  chmodAt(work, EMPTY, 0);
  const fd = openAt(work, DOT, DIRECTORY);
  if (isErrno(fd)) chmodAt(work, EMPTY, 0o700);
  else closeFd(fd);
}

/**
 * Makes `work/incompat/volatile/dirty` in W: a mount after a crash is refused. It is on the disk before all later
 * writes, which may get there in any order.
 * @throws CfsError (mount)
 */
export function markVolatile(named: NamedDirectory, work: number): void {
  const open: number[] = [];
  try {
    open.unshift(directoryIn(named, work, INCOMPAT, 0o700));
    open.unshift(directoryIn(named, open[0] as number, VOLATILE, 0o700));
    const dirty = openAt(open[0] as number, DIRTY, NEW_FILE, 0o600);
    if (isErrno(dirty)) throw failed(named, 'cannot make work/incompat/volatile/dirty in it', dirty);
    open.unshift(dirty);
    for (const fd of [...open, work]) {
      const synced = syncFd(fd, false);
      if (isErrno(synced)) throw failed(named, 'cannot write work/incompat/volatile in it to the disk', synced);
    }
  } finally {
    for (const fd of open) closeFd(fd);
  }
}

/**
 * Writes everything to the disk, and only then removes the marker of `markVolatile`.
 * @param upper is open since the mount was made: syncfs(2) reports errors since then
 */
export function unmarkVolatile(upper: number, work: number): 0 | Errno {
  const synced = syncfs(upper);
  if (isErrno(synced)) return synced;
  const incompat = openAt(work, INCOMPAT, DIRECTORY);
  if (isErrno(incompat)) return incompat === ENOENT ? 0 : incompat;
  const leftover = emptyDirectory(incompat, () => false);
  closeFd(incompat);
  return leftover === undefined ? removeDirectoryAt(work, INCOMPAT) : leftover.errno;
}
