/**
 * The sources of a mount: the image file and the repositories. Each is kept open from the beginning, so that its
 * current path can be determined later without a search: a renamed source has its new path, and a deleted one is known
 * to be gone.
 */
import { closeSync, constants, fstatSync, openSync, readlinkSync } from 'node:fs';
import { EACCES, type Errno, errnoOf, isErrno } from '../base/errno.ts';
import { CfsError, reasonOf } from '../base/error.ts';
import type { FileHandle } from '../base/handle-format.ts';
import { pathBytes, pathText } from '../base/path-text.ts';
import type { SourceKind, SourceRecord } from '../mount-info/source-record.ts';
import type { VerifyMode } from '../objects/repository.ts';
import { openAt } from '../system/descriptors.ts';
import { nameToHandle } from '../system/file-handle.ts';
import { type FileStat, statAt, statFd } from '../system/file-status.ts';
import { fileSystemUuid, uuidText } from '../system/file-system-uuid.ts';
import { isKernelsOwn } from '../system/file-systems.ts';
import { AT_FDCWD, AT_SYMLINK_FOLLOW, O_PATH } from '../system/libc.ts';
import { mountIdOfFd, mountOfId } from '../system/mount-table.ts';

/** A source that is kept open; plain data, for all threads of the process. */
export interface MountSource {
  readonly kind: SourceKind;
  readonly given: string;
  /** Absolute, when the mount was made. */
  readonly path: string;
  readonly id: string;
  /** Of the image file, or the repository's directory. */
  readonly fd: number;
  /** The directory of the image file, -1 for repositories: their handles are connected to their path anyway. */
  readonly directory: number;
  /** The name of the image file in it when it was mounted. */
  readonly name: Uint8Array;
  readonly fsType: string;
  readonly fsUuid: string | undefined;
  /**
   * For a repository: whether only the kernel controlled the file system of its objects when the mount was made. Absent
   * from an older program.
   */
  readonly isKernelsOwn?: boolean;
  /** It is the cache of remote repositories. Absent if not. */
  readonly isCache?: true;
}

/** O_PATH: a descriptor for names only. */
const NAME_DIRECTORY = O_PATH | constants.O_DIRECTORY;

/**
 * The image as a source, which owns `fd` from now on.
 * @param given the path as given to cfs-mount
 * @param fd the open image file
 */
export function imageSource(given: string, id: string, fd: number): MountSource {
  // if the image was given by a symbolic link, the directory of the file itself
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

/** The image is served without its directory, too: this process may be unable to reach it by its path. */
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
 * @throws CfsError (store) if it cannot be opened
 */
export function repositorySource(given: string, path: string, uuid: string, isCache = false): MountSource {
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
      ...(isCache ? { isCache } : {}),
    };
  } catch (error) {
    throw new CfsError('store', `Cannot open repository ${path}: ${reasonOf(error)}`, { cause: error });
  }
}

/**
 * One of the directories of an upper layer as a source, which does not own `fd`.
 * @param path absolute, as given
 */
export function layerSource(kind: 'upperdir' | 'workdir', path: string, fd: number): MountSource {
  return { kind, given: path, path, id: '', fd, ...NOWHERE, ...fileSystemOf(fd) };
}

function fileSystemOf(fd: number): Pick<MountSource, 'fsType' | 'fsUuid'> {
  const uuid = fileSystemUuid(fd, fstatSync(fd).dev);
  return {
    fsType: mountOfId(mountIdOfFd(fd))?.type ?? 'unknown',
    fsUuid: uuid === undefined ? undefined : uuidText(uuid),
  };
}

/** The objects may be on a separate file system. */
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

/** A directory that may be searched but not read still serves objects; its file system's uuid is then unknown. */
function openDirectory(path: string): number {
  try {
    return openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
  } catch (error) {
    if (errnoOf(error) !== EACCES) throw error;
    return openSync(path, NAME_DIRECTORY);
  }
}

/**
 * How the objects of a repository are verified: as requested, or block by block if its file system may return different
 * bytes each time.
 */
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

/**
 * Source number `index` in its current state. Queries only open files: no path is walked, except to check for a deleted
 * file.
 */
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

/**
 * The kernel's suffix for the path of a deleted file; nlink of a deleted directory is 0 on most file systems, but not
 * on overlayfs.
 */
function isDeleted(path: Buffer, own: FileStat): boolean {
  const isMarked = path.subarray(-DELETED.length).equals(DELETED);
  // a file may have such a name
  return isMarked && !isSameFile(own, statAt(AT_FDCWD, path));
}

/** Undefined if the path is too long for the kernel to report. */
function pathOfFd(fd: number): Buffer | undefined {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`, 'buffer');
  } catch {
    return undefined;
  }
}

/** The directory of the image file, if the file is still there: by its first name, or by its current one. */
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
