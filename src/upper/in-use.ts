/**
 * Whether another mount uses the directories of an upper layer. Two mounts that write to the same files destroy them.
 *
 * A mount of cfs has locks (flock(2)): on upperdir itself, and on WORKDIR/cfs/lock. They belong to open files, so they
 * pass from one server of a mount to the next, and end with the last.
 *
 * Linux's overlayfs marks inodes instead (I_OVL_INUSE, fs/overlayfs/super.c). The mark of upperdir is taken here, too,
 * if possible (`markAsUpper`), by an overlay that is not in any mount table. That fails if an overlay of the kernel has
 * the mark, in any mount namespace. A later overlay with index=on then fails with EBUSY; one with index=off does not:
 * the kernel only writes a line to its log. Without the mark, only the mount tables show what is mounted.
 */
import { constants, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { EBUSY, type Errno, isErrno } from '../base/errno.ts';
import { closeFd, openAt } from '../system/descriptors.ts';
import { mountDetached } from '../system/detached-mount.ts';
import { makeDirectoryAt } from '../system/directory-calls.ts';
import { emptyFileStatus, statusOf } from '../system/file-status.ts';
import { AT_FDCWD, O_PATH } from '../system/libc.ts';
import { type MountEntry, mountOptionBytes, parseMountTable } from '../system/mount-table.ts';
import { removeXattrOfFd } from '../system/xattrs.ts';
import { emptyDirectory } from './empty-directory.ts';

/** A mount of overlayfs, and which of its options names the directory. */
export interface OverlayUse {
  readonly mountpoint: string;
  readonly option: 'upperdir' | 'workdir';
  /** Which of the directories. */
  readonly directory: number;
  /** A process that sees the mount, if this one does not. */
  readonly pid: number | undefined;
}

/** Device and inode number of a directory. */
export interface Place {
  readonly dev: number;
  readonly inoLow: number;
  readonly inoHigh: number;
}

const OVERLAY_OPTIONS = ['upperdir', 'workdir'] as const;
const NAMED = O_PATH | constants.O_DIRECTORY;
const DIRECTORY = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;

/** The place of an open file. */
export function placeOf(fd: number): Place | Errno {
  const status = emptyFileStatus();
  const result = statusOf(fd, status);
  return isErrno(result) ? result : { dev: status.dev, inoLow: status.inoLow, inoHigh: status.inoHigh };
}

export const isSamePlace = (a: Place, b: Place): boolean =>
  a.dev === b.dev && a.inoLow === b.inoLow && a.inoHigh === b.inoHigh;

/** The overlay among the mounts of this mount namespace that has one of the directories as upperdir or workdir. */
export const overlayHere = (mounts: readonly MountEntry[], directories: readonly Place[]): OverlayUse | undefined =>
  overlayIn(mounts, '', directories, undefined);

/** The same in the mount namespaces of other processes, as far as this process may look into them. */
export function overlayElsewhere(directories: readonly Place[]): OverlayUse | undefined {
  for (const [pid, mounts] of mountsElsewhere()) {
    const use = overlayIn(mounts, `/proc/${pid}/root`, directories, pid);
    if (use !== undefined) return use;
  }
  return undefined;
}

/** A process that sees such a mount in a mount namespace that is not this process's; undefined if none is found. */
export function seenElsewhere(isMount: (entry: MountEntry) => boolean): number | undefined {
  for (const [pid, mounts] of mountsElsewhere()) if (mounts.some(isMount)) return pid;
  return undefined;
}

/** One process of each other mount namespace that this one may look into. */
function* mountsElsewhere(): Generator<readonly [pid: number, mounts: readonly MountEntry[]]> {
  const seen = new Set([namespaceOf('self')]);
  for (const pid of processes()) {
    const namespace = namespaceOf(pid);
    if (namespace === undefined || seen.has(namespace)) continue;
    seen.add(namespace);
    yield [Number(pid), mountsOf(pid)];
  }
}

const processes = (): string[] => readdirSync('/proc').filter((name) => /^\d+$/.test(name));

/** Whether a process has a lock (flock(2)) on this file, as far as this one may look. */
export function isLockedByProcess(place: Place): boolean {
  return processes().some((pid) => descriptorsOf(pid).some((fd) => hasLock(pid, fd, place)));
}

/** None of a process that has ended, or is another user's. */
function descriptorsOf(pid: string): string[] {
  try {
    return readdirSync(`/proc/${pid}/fd`);
  } catch {
    return [];
  }
}

function hasLock(pid: string, fd: string, place: Place): boolean {
  const there = openAt(AT_FDCWD, Buffer.from(`/proc/${pid}/fd/${fd}`), O_PATH);
  if (isErrno(there)) return false;
  const found = placeOf(there);
  closeFd(there);
  if (isErrno(found) || !isSamePlace(found, place)) return false;
  try {
    return /^lock:.* FLOCK /m.test(readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'latin1'));
  } catch {
    return false;
  }
}

/** undefined: the process has ended, or is another user's. */
function namespaceOf(pid: string): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/ns/mnt`);
  } catch {
    return undefined;
  }
}

function mountsOf(pid: string): MountEntry[] {
  try {
    return parseMountTable(readFileSync(`/proc/${pid}/mountinfo`, 'latin1'));
  } catch {
    return [];
  }
}

function overlayIn(
  mounts: readonly MountEntry[],
  root: string,
  directories: readonly Place[],
  pid: number | undefined,
): OverlayUse | undefined {
  for (const { type, mountpoint, options } of mounts) {
    if (type !== 'overlay') continue;
    for (const option of OVERLAY_OPTIONS) {
      const path = mountOptionBytes(options, option);
      const place = path === undefined ? undefined : placeOfPath(root, path);
      if (place === undefined) continue;
      const directory = directories.findIndex((one) => isSamePlace(one, place));
      if (directory >= 0) return { mountpoint, option, directory, pid };
    }
  }
  return undefined;
}

/** `path` is as given to mount(8): with overlayfs's backslashes, and maybe relative to an unknown directory. */
function placeOfPath(root: string, path: Uint8Array): Place | undefined {
  const plain = Buffer.from(Buffer.from(path).toString('latin1').replace(/\\(.)/gs, '$1'), 'latin1');
  if (plain[0] !== 0x2f || plain.includes(0)) return undefined;
  const fd = openAt(AT_FDCWD, Buffer.concat([Buffer.from(root), plain]), NAMED);
  if (isErrno(fd)) return undefined;
  const place = placeOf(fd);
  closeFd(fd);
  return isErrno(place) ? undefined : place;
}

const LOWER: Uint8Array = Buffer.from('lower');
const WORK: Uint8Array = Buffer.from('work');

/**
 * Marks the directory `upper` as the upperdir of an overlay of this kernel, until the returned descriptor is closed.
 * Costs 1 ms and a superblock of overlayfs; nothing goes through it.
 * @param own an empty directory on the same mount, for what overlayfs needs
 * @param userxattr whether this upper layer has `user.overlay.` xattrs. The mark is made with the others: overlayfs
 *   notes its lower directory on the upper one, which would spoil the layer for its true lower directory
 * @returns undefined if it cannot be marked: without privileges, or without overlayfs; EBUSY if it is marked already
 */
export function markAsUpper(upper: number, own: number, userxattr: boolean): number | typeof EBUSY | undefined {
  const [lower, work] = [LOWER, WORK].map((name) => {
    makeDirectoryAt(own, name, 0o700);
    return openAt(own, name, DIRECTORY);
  }) as [number, number];
  try {
    if (isErrno(lower) || isErrno(work)) return undefined;
    // an index of an earlier mark was for another directory, perhaps
    if (emptyDirectory(work, () => false) !== undefined) return undefined;
    const path = (fd: number): string => `/proc/self/fd/${fd}`;
    const mark = mountDetached('overlay', {
      lowerdir: path(lower),
      upperdir: path(upper),
      workdir: path(work),
      // without it, a mark of another mount is not an error
      index: 'on',
      // nothing is noted on the upper directory for it
      uuid: 'off',
      redirect_dir: 'nofollow',
      metacopy: 'off',
      ...(userxattr ? {} : { userxattr: true as const }),
    });
    if (isErrno(mark)) return mark === EBUSY ? EBUSY : undefined;
    removeXattrOfFd(upper, `${userxattr ? 'trusted' : 'user'}.overlay.origin`);
    return mark;
  } finally {
    for (const fd of [lower, work]) if (!isErrno(fd)) closeFd(fd);
  }
}
