/**
 * The sources of a mount: the image file and the repositories. Each is kept open from the beginning, so that it can be
 * told later where it is now, without a walk: what was renamed has its new path, what is gone is known to be gone.
 */
import { closeSync, constants, fstatSync, openSync, readlinkSync } from 'node:fs';
import { EACCES, type Errno, errnoOf, isErrno } from '../base/errno.ts';
import { CfsError, reasonOf } from '../base/error.ts';
import type { FileHandle } from '../base/handle-format.ts';
import { pathBytes, pathText } from '../base/path-text.ts';
import type { SourceKind, SourceRecord } from '../mount-info/source-record.ts';
import type { VerifyMode } from '../objects/repository.ts';
import { nameToHandle } from '../system/file-handle.ts';
import { type FileStat, statAt, statFd } from '../system/file-status.ts';
import { fileSystemUuid, uuidText } from '../system/file-system-uuid.ts';
import { isKernelsOwn } from '../system/file-systems.ts';
import { AT_FDCWD, AT_SYMLINK_FOLLOW, O_PATH } from '../system/libc.ts';

import { mountIdOfFd, mountOfId } from '../system/mount-table.ts';
import { openAt } from '../system/syscall.ts';

/** A source that is kept open; plain data, for all threads of the process. */
export interface MountSource {
  readonly kind: SourceKind;
  readonly given: string;
  /** Absolute, as it was when the mount was made. */
  readonly path: string;
  readonly id: string;
  /** Of the image file, or the repository's directory. */
  readonly fd: number;
  /** The directory of the image file, -1 for repositories: their handles are connected to their path anyway. */
  readonly directory: number;
  /** Of the image file in it when it was mounted. */
  readonly name: Uint8Array;
  readonly fsType: string;
  readonly fsUuid: string | undefined;
  /** Of a repository: whether the file system of its objects was the kernel's own when the mount was made. An older program does not say it. */
  readonly isKernelsOwn?: boolean;
}

/** O_PATH: a descriptor that only names the file. */
const NAME_DIRECTORY = O_PATH | constants.O_DIRECTORY;

/**
 * The image as a source, which owns `fd` from now on.
 * @param given how it was given to cfs-mount
 * @param fd the open image file
 */
export function imageSource(given: string, id: string, fd: number): MountSource {
  // where the image was given by a symbolic link, the directory of the file itself
  const real = pathOfFd(fd);
  const { directory, name } = real === undefined ? NOWHERE : openParent(real);
  return {
    kind: 'image',
    given,
    path: real === undefined ? given : pathText(real),
    id,
    fd,
    directory,
    name,
    ...fileSystemOf(fd),
  };
}

const NOWHERE = { directory: -1, name: new Uint8Array(0) } as const;

/** The image is served without its directory, too: it may be one that this process cannot reach by its path. */
function openParent(path: Buffer): Pick<MountSource, 'directory' | 'name'> {
  const { directory, name } = splitPath(path);
  try {
    return { directory: openSync(directory, NAME_DIRECTORY), name };
  } catch {
    return NOWHERE;
  }
}

/**
 * A repository as a source.
 * @param path absolute
 * @throws CfsError (store) where it cannot be opened
 */
export function repositorySource(given: string, path: string, uuid: string): MountSource {
  try {
    const fd = openDirectory(path);
    return {
      kind: 'repository',
      given,
      path,
      id: uuid,
      fd,
      ...NOWHERE,
      ...fileSystemOf(fd),
      ...objectsFileSystemOf(fd),
    };
  } catch (error) {
    throw new CfsError('store', `Cannot open repository ${path}: ${reasonOf(error)}`, { cause: error });
  }
}

function fileSystemOf(fd: number): Pick<MountSource, 'fsType' | 'fsUuid'> {
  const uuid = fileSystemUuid(fd, fstatSync(fd).dev);
  return {
    fsType: mountOfId(mountIdOfFd(fd))?.type ?? 'unknown',
    fsUuid: uuid === undefined ? undefined : uuidText(uuid),
  };
}

/** The objects may lie on a file system of their own. */
function objectsFileSystemOf(directory: number): Pick<MountSource, 'isKernelsOwn'> {
  const fd = openAt(directory, OBJECTS, NAME_DIRECTORY);
  if (isErrno(fd)) return { isKernelsOwn: isKernelsOwn(directory) };
  try {
    return { isKernelsOwn: isKernelsOwn(fd) };
  } finally {
    closeSync(fd);
  }
}
const OBJECTS = Buffer.from('objects');

/** One that may be searched but not read still serves objects; its file system's uuid is then not known. */
function openDirectory(path: string): number {
  try {
    return openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
  } catch (error) {
    if (errnoOf(error) !== EACCES) throw error;
    return openSync(path, NAME_DIRECTORY);
  }
}

/** How the objects of a repository are verified, as the mount asks: block by block where its file system may give other bytes each time. */
export function verifyModeOf({ isKernelsOwn: isOwn = true }: MountSource, verify: VerifyMode): VerifyMode {
  return !isOwn && (verify === 'auto' || verify === 'open') ? 'read' : verify;
}

export function closeSource({ fd, directory }: MountSource): void {
  closeSync(fd);
  if (directory >= 0) closeSync(directory);
}

function handleOfFd(fd: number): FileHandle | undefined {
  const result = nameToHandle(`/proc/self/fd/${fd}`, AT_SYMLINK_FOLLOW);
  return isErrno(result) ? undefined : result.handle;
}

/** Source number `index` as it is now. Asks only about what is open: no path is walked, but where it ends as those of deleted files do. */
export function describeSource(sources: readonly MountSource[], index: number): SourceRecord {
  const source = sources[index] as MountSource;
  const { kind, given, id, fd, fsType, fsUuid } = source;
  const stat = statFd(fd);
  if (isErrno(stat)) throw new Error(`source ${index} cannot be asked: ${stat}`);
  const mountId = mountIdOfFd(fd) ?? 0;
  const isMounted = stat.nlink > 0 && mountOfId(mountId) !== undefined;
  const shown = isMounted ? pathOfFd(fd) : undefined;
  const path = shown === undefined || isDeleted(shown, stat) ? undefined : shown;
  return {
    kind,
    index,
    count: sources.length,
    given: pathBytes(given),
    path,
    device: { major: Math.floor(stat.device / 0x10_0000), minor: stat.device % 0x10_0000 },
    ino: (BigInt(stat.inodeHigh) << 32n) | BigInt(stat.inodeLow),
    fsType,
    fsUuid,
    mountId,
    handle: handleOfFd(fd),
    parent: parentOf(source, stat, path),
    id,
  };
}

const DELETED = Buffer.from(' (deleted)');

/** What the kernel writes behind the path of a deleted file; nlink of a deleted directory is 0 on most file systems, but not on overlayfs. */
function isDeleted(path: Buffer, own: FileStat): boolean {
  const isMarked = path.subarray(-DELETED.length).equals(DELETED);
  // a file may be named so
  return isMarked && !isSameFile(own, statAt(AT_FDCWD, path));
}

/** Undefined for a path that is too long for the kernel to say. */
function pathOfFd(fd: number): Buffer | undefined {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`, 'buffer');
  } catch {
    return undefined;
  }
}

/** The directory of the image file, where the file is still there: by its first name, or by the one that it has now. */
function parentOf({ directory, name }: MountSource, own: FileStat, path: Buffer | undefined): SourceRecord['parent'] {
  if (directory < 0) return undefined;
  const names = [name, ...(path === undefined ? [] : [splitPath(path).name])];
  const there = names.find((candidate) => isSameFile(own, statAt(directory, candidate)));
  const handle = there === undefined ? undefined : handleOfFd(directory);
  return handle && there && { handle, name: there };
}

const isSameFile = (one: FileStat, other: FileStat | Errno): boolean =>
  !isErrno(other) &&
  one.device === other.device &&
  one.inodeLow === other.inodeLow &&
  one.inodeHigh === other.inodeHigh;

function splitPath(path: Buffer): { readonly directory: Buffer; readonly name: Buffer } {
  const slash = path.lastIndexOf(0x2f);
  return { directory: path.subarray(0, Math.max(slash, 1)), name: path.subarray(slash + 1) };
}
