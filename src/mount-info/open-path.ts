/**
 * The path of a file that was opened by its handle. The kernel knows an inode, but no name of it until a process looks
 * one up: /proc/self/fd shows "/" then. So the file system is asked as well, and an answer is accepted only if it leads
 * to the open file.
 */
import { fstatSync, lstatSync, readlinkSync } from 'node:fs';
import { printable } from '../base/bytes.ts';
import { ENAMETOOLONG, errnoOf, isErrno } from '../base/errno.ts';
import { listMounts, type MountEntry, mountIdOfFd } from '../system/mount-table.ts';
import { getXattrOfFd } from '../system/xattrs.ts';

/** The xattr with the absolute path of an inode's first name in the image, bytes. Not listed. */
const PATH_XATTR = 'trusted.cfs.path';

/** The absolute path in the image of the open file `fd`; undefined if the file system does not report it. */
export function imagePathOf(fd: number): Buffer | undefined {
  const value = getXattrOfFd(fd, PATH_XATTR);
  return isErrno(value) || value[0] !== 0x2f ? undefined : Buffer.from(value);
}

/** The mount that `fd` was opened in; undefined if this process cannot see it. Also for O_PATH. */
export function mountOfFd(fd: number, mounts: readonly MountEntry[]): MountEntry | undefined {
  const id = mountIdOfFd(fd);
  return mounts.find(({ mountId }) => mountId === id);
}

export interface OpenPath {
  /** Leads to the open file now. */
  readonly path: Buffer | undefined;
  /** The reason why there is no path. */
  readonly problem: string | undefined;
  /** There is a path, but it is too long for system calls. */
  readonly isTooLong: boolean;
  readonly imagePath: Buffer | undefined;
  readonly mount: MountEntry | undefined;
}

/** Finds a path of the open file `fd`: by the answer of the file system, then by that of the kernel. */
export function pathOfFd(fd: number): OpenPath {
  const mounts = listMounts();
  const mount = mountOfFd(fd, mounts);
  const imagePath = imagePathOf(fd);
  const shown = shownPathOf(fd);
  const candidates = imagePath === undefined ? [] : placesOf(imagePath, mount, mounts);
  const path = [...candidates, ...(shown ?? [])].find((candidate) => leadsTo(candidate, fd));
  const isTooLong = path === undefined && (shown === undefined || candidates.some(({ length }) => length > LONGEST));
  const problem = path === undefined ? problemOf(imagePath, isTooLong) : undefined;
  return { path, problem, isTooLong, imagePath, mount };
}

/** Bytes of the longest path that a system call takes (PATH_MAX less its end). */
const LONGEST = 4095;

/** The kernel's path, in a list; undefined if it is too long for it. */
function shownPathOf(fd: number): readonly [Buffer] | undefined {
  try {
    return [readlinkSync(`/proc/self/fd/${fd}`, { encoding: 'buffer' })];
  } catch (error) {
    if (errnoOf(error) === ENAMETOOLONG) return undefined;
    throw error;
  }
}

function problemOf(imagePath: Buffer | undefined, isTooLong: boolean): string {
  if (isTooLong) return `a path that is too long: system calls take ${LONGEST} bytes`;
  return imagePath === undefined
    ? 'the kernel has not looked up a name of this file yet; a connectable handle has one'
    : `no mount here shows ${printable(imagePath)} of the image`;
}

/** The paths at which the mounts of one file system show a path of it; `first` before the others. */
function placesOf(path: Buffer, first: MountEntry | undefined, mounts: readonly MountEntry[]): Buffer[] {
  if (first === undefined) return [];
  const others = mounts.filter((mount) => mount !== first && mount.device === first.device);
  return [first, ...others].flatMap((mount) => placeIn(mount, path) ?? []);
}

/** The path at which `mount` shows the path of its file system; undefined if it is not below the mount's root. */
export function placeIn({ root, mountpointBytes }: MountEntry, path: Buffer): Buffer | undefined {
  const above = withoutSlash(root);
  if (path.equals(root)) return Buffer.from(mountpointBytes);
  if (!path.subarray(0, above.length).equals(above) || path[above.length] !== 0x2f) return undefined;
  return Buffer.concat([withoutSlash(mountpointBytes), path.subarray(above.length)]);
}

const withoutSlash = (path: Uint8Array): Uint8Array => (path.length === 1 ? new Uint8Array(0) : path);

function leadsTo(path: Buffer, fd: number): boolean {
  try {
    const [named, open] = [lstatSync(path, { bigint: true }), fstatSync(fd, { bigint: true })];
    return named.dev === open.dev && named.ino === open.ino;
  } catch {
    return false; // no such path; also " (deleted)" after the kernel's path
  }
}
