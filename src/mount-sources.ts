/**
 * The sources of a mount: the image file and the repositories. Each is kept open from the beginning, so that it can be
 * told later where it is now, without a walk: what was renamed has its new path, what is gone is known to be gone.
 */
import { closeSync, constants, fstatSync, openSync, readlinkSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import { EACCES, errnoOf, isErrno } from './errno.ts';
import { CfsError, reasonOf } from './error.ts';
import { nameToHandle, O_PATH } from './file-handle.ts';
import { mountIdOf, statAt, statFd } from './file-status.ts';
import { fileSystemUuid, uuidText } from './file-system-uuid.ts';
import type { FileHandle } from './handle-format.ts';
import { mountOfId } from './mount-table.ts';
import type { SourceKind, SourceRecord } from './source-record.ts';

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
  readonly name: string;
  readonly fsType: string;
  readonly fsUuid: string | undefined;
}

/** O_PATH: a descriptor that only names the file. */
const NAME_DIRECTORY = O_PATH | constants.O_DIRECTORY;

/**
 * The image as a source, which owns `fd` from now on.
 * @param given how it was given to cfs-mount
 * @param fd the open image file
 * @throws CfsError (system); `fd` is left to the caller then
 */
export function imageSource(given: string, id: string, fd: number): MountSource {
  try {
    // where the image was given by a symbolic link, the directory of the file itself
    const real = readlinkSync(`/proc/self/fd/${fd}`);
    const directory = openSync(dirname(real), NAME_DIRECTORY);
    return { kind: 'image', given, path: real, id, fd, directory, name: basename(real), ...fileSystemOf(fd) };
  } catch (error) {
    throw new CfsError('system', `Cannot find the directory of ${given}: ${reasonOf(error)}`, { cause: error });
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
    return { kind: 'repository', given, path, id: uuid, fd, directory: -1, name: '', ...fileSystemOf(fd) };
  } catch (error) {
    throw new CfsError('store', `Cannot open repository ${path}: ${reasonOf(error)}`, { cause: error });
  }
}

function fileSystemOf(fd: number): Pick<MountSource, 'fsType' | 'fsUuid'> {
  const uuid = fileSystemUuid(fd, fstatSync(fd).dev);
  return {
    fsType: mountOfId(idOfMount(fd))?.type ?? 'unknown',
    fsUuid: uuid === undefined ? undefined : uuidText(uuid),
  };
}

/** One that may be searched but not read still serves objects; its file system's uuid is then not known. */
function openDirectory(path: string): number {
  try {
    return openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
  } catch (error) {
    if (errnoOf(error) !== EACCES) throw error;
    return openSync(path, NAME_DIRECTORY);
  }
}

export function closeSource({ fd, directory }: MountSource): void {
  closeSync(fd);
  if (directory >= 0) closeSync(directory);
}

const idOfMount = (fd: number): number => {
  const id = mountIdOf(fd);
  return isErrno(id) ? -1 : id;
};

function handleOfFd(fd: number): FileHandle | undefined {
  const result = nameToHandle(`/proc/self/fd/${fd}`, AT_SYMLINK_FOLLOW);
  return isErrno(result) ? undefined : result.handle;
}
const AT_SYMLINK_FOLLOW = 0x400;

/** Source number `index` as it is now. Asks only about what is open: no path is walked. */
export function describeSource(sources: readonly MountSource[], index: number): SourceRecord {
  const source = sources[index] as MountSource;
  const { kind, given, id, fd, fsType, fsUuid } = source;
  const stat = statFd(fd);
  if (isErrno(stat)) throw new Error(`source ${index} cannot be asked: ${stat}`);
  const mountId = idOfMount(fd);
  const isGone = stat.nlink === 0 || mountOfId(mountId) === undefined;
  return {
    kind,
    index,
    count: sources.length,
    given: Buffer.from(given),
    path: isGone ? undefined : readlinkSync(`/proc/self/fd/${fd}`, 'buffer'),
    device: { major: Math.floor(stat.device / 0x10_0000), minor: stat.device % 0x10_0000 },
    ino: stat.inodeHigh * 0x1_0000_0000 + stat.inodeLow,
    fsType,
    fsUuid,
    mountId,
    handle: handleOfFd(fd),
    parent: parentOf(source),
    id,
  };
}

function parentOf({ fd, directory, name }: MountSource): SourceRecord['parent'] {
  if (directory < 0) return undefined;
  const own = statFd(fd);
  const there = statAt(directory, Buffer.from(name));
  if (isErrno(own) || isErrno(there)) return undefined;
  const isSame = own.device === there.device && own.inodeLow === there.inodeLow && own.inodeHigh === there.inodeHigh;
  const handle = isSame ? handleOfFd(directory) : undefined;
  return handle === undefined ? undefined : { handle, name: Buffer.from(name) };
}
