/**
 * Checks the places of the directories of an upper layer: whether they fit together, and whether their file system is
 * suitable.
 */
import { constants, readlinkSync } from 'node:fs';
import { EACCES, ENOENT, ENOTDIR, type Errno, isErrno } from '../base/errno.ts';
import { pathBytes } from '../base/path-text.ts';
import { closeFd, ioctl, openAt } from '../system/descriptors.ts';
import { statFileSystem } from '../system/file-status.ts';
import { nameIfNotOfThisKernel } from '../system/file-systems.ts';
import { AT_FDCWD, O_PATH } from '../system/libc.ts';
import { type MountEntry, mountIdOfFd, mountOfId } from '../system/mount-table.ts';
import { isSamePlace, type Place, placeOf } from './in-use.ts';
import { failed, type NamedDirectory, refusal } from './refusal.ts';

const DIRECTORY = constants.O_RDONLY | constants.O_DIRECTORY;
const PARENT: Uint8Array = Buffer.from('..');

/**
 * Opens one of the directories; symbolic links on the way are followed.
 * @throws CfsError (mount)
 */
export function openDirectory(named: NamedDirectory): number {
  const fd = openAt(AT_FDCWD, pathBytes(named.path), DIRECTORY);
  if (!isErrno(fd)) return fd;
  if (fd === ENOTDIR) throw refusal(named, 'it is not a directory');
  if (fd === ENOENT) throw refusal(named, 'it does not exist', 'Make an empty directory for it.');
  throw failed(
    named,
    'cannot open it',
    fd,
    fd === EACCES ? 'It must be readable for the user of the mount.' : undefined,
  );
}

/** The type of the file system of an open file as the mount table has it. */
export const fileSystemName = (fd: number): string => mountOfId(mountIdOfFd(fd))?.type ?? 'an unknown file system';

/**
 * Checks one directory: its file system, its attributes, and that nothing is mounted inside of it.
 * @param mounts those of this mount namespace
 * @throws CfsError (mount)
 */
export function checkDirectory(named: NamedDirectory, fd: number, mounts: readonly MountEntry[]): void {
  const stat = statFileSystem(fd);
  if (isErrno(stat)) throw failed(named, 'cannot examine its file system', stat);
  const foreign = nameIfNotOfThisKernel(stat.type);
  if (foreign !== undefined) {
    const type = mountOfId(mountIdOfFd(fd))?.type ?? foreign;
    throw refusal(
      named,
      `it is on ${type}, a ${kindOf(foreign)} file system`,
      'Choose a directory on a file system that only this kernel writes to, such as ext4, xfs, btrfs or tmpfs.',
    );
  }
  checkFlags(named, fd);
  const inside = mountedInside(fd, mounts);
  if (inside !== undefined) {
    throw refusal(named, `something is mounted inside of it, on ${inside}`, `'umount ${inside}' unmounts it.`);
  }
}

const STACKED: ReadonlySet<string> = new Set(['overlay', 'aufs', 'ecryptfs']);

const kindOf = (name: string): string => (STACKED.has(name) ? 'stacked' : name === 'fuse' ? 'FUSE' : 'network');

const FS_IOC_GETFLAGS = 0x80086601;
const FS_IMMUTABLE_FL = 0x10;
const FS_APPEND_FL = 0x20;
const FS_CASEFOLD_FL = 0x4000_0000;

/** Attributes of chattr(1); a file system without them fails, and is fine. */
function checkFlags(named: NamedDirectory, fd: number): void {
  const value = Buffer.alloc(8);
  if (isErrno(ioctl(fd, FS_IOC_GETFLAGS, value))) return;
  const flags = value.readUInt32LE(0);
  if ((flags & (FS_IMMUTABLE_FL | FS_APPEND_FL)) !== 0) {
    const letter = (flags & FS_IMMUTABLE_FL) !== 0 ? 'i' : 'a';
    throw refusal(named, `it has the attribute ${letter} of chattr(1): its files cannot be renamed or removed`);
  }
  if ((flags & FS_CASEFOLD_FL) !== 0) {
    throw refusal(named, 'names in it do not distinguish between upper and lower case', 'Choose another directory.');
  }
}

/** The bytes of the path of an open directory, with a slash at its end. */
function pathOf(fd: number): Buffer {
  const path = readlinkSync(`/proc/self/fd/${fd}`, { encoding: 'buffer' });
  return path.at(-1) === 0x2f ? path : Buffer.concat([path, Buffer.from('/')]);
}

/** A mount point below an open directory. A mount that other mounts hide is on another mount. */
function mountedInside(fd: number, mounts: readonly MountEntry[]): string | undefined {
  const [mountId, path] = [mountIdOfFd(fd), pathOf(fd)];
  return mounts.find(
    ({ parentId, mountpointBytes }) =>
      parentId === mountId && Buffer.from(mountpointBytes).subarray(0, path.length).equals(path),
  )?.mountpoint;
}

/** The problem of two directories together; undefined if there is none. */
export type Relation =
  | 'same'
  | 'first is inside'
  | 'second is inside'
  | 'other mount'
  | 'other file system'
  | undefined;

/** How two open directories lie to each other. */
export function relationOf(first: number, second: number): Relation | Errno {
  const [one, two] = [placeOf(first), placeOf(second)];
  if (isErrno(one)) return one;
  if (isErrno(two)) return two;
  if (isSamePlace(one, two)) return 'same';
  const inFirst = isInside(second, one);
  if (inFirst === true) return 'second is inside';
  const inSecond = isInside(first, two);
  if (inSecond === true) return 'first is inside';
  if (mountIdOfFd(first) !== mountIdOfFd(second)) return 'other mount';
  // subvolumes of btrfs are one mount, and have a device number each
  return one.dev === two.dev ? undefined : 'other file system';
}

/** Whether the open directory `fd` is somewhere below `place`. */
export function isInside(fd: number, place: Place): boolean | Errno {
  let at = fd;
  let here = placeOf(fd);
  try {
    for (;;) {
      if (isErrno(here)) return here;
      const parent = openAt(at, PARENT, O_PATH | constants.O_DIRECTORY);
      if (at !== fd) closeFd(at);
      at = fd;
      if (isErrno(parent)) return parent;
      at = parent;
      const above = placeOf(parent);
      if (isErrno(above)) return above;
      if (isSamePlace(above, place)) return true;
      // the parent of the root is the root
      if (isSamePlace(above, here)) return false;
      here = above;
    }
  } finally {
    if (at !== fd) closeFd(at);
  }
}

/**
 * Checks that workdir and upperdir fit together, as overlayfs does.
 * @throws CfsError (mount)
 */
export function checkRelation(upper: NamedDirectory, upperFd: number, work: NamedDirectory, workFd: number): void {
  const relation = relationOf(upperFd, workFd);
  if (isErrno(relation)) throw failed(work, `cannot compare it with upperdir ${upper.path}`, relation);
  if (relation === undefined) return;
  const beside = `Choose a directory beside ${upper.path}.`;
  const reasons: Readonly<Record<Exclude<Relation, undefined>, string>> = {
    same: 'it is the upperdir itself',
    'first is inside': `the upperdir ${upper.path} is inside of it`,
    'second is inside': `it is inside of the upperdir ${upper.path}`,
    'other mount': `it is on another mount than the upperdir ${upper.path}: files cannot be renamed from one to the other`,
    'other file system': `it is on another file system or subvolume than the upperdir ${upper.path}`,
  };
  throw refusal(work, reasons[relation], beside);
}
