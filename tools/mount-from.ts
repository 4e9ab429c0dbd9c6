/**
 * `cfs-mount --from`: the sources of a saved list, found again. A source is where it was, or where its handle leads to
 * now; and it is the same one, by the uuids of repository and file system, unless -o uuid=off says not to look.
 */
import { closeSync, constants, fstatSync, openSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { exactUtf8, printable } from '../src/bytes.ts';
import { isErrno } from '../src/errno.ts';
import { CfsError, reasonOf } from '../src/error.ts';
import { openByHandle } from '../src/file-handle.ts';
import { fileSystemUuid, uuidText } from '../src/file-system-uuid.ts';
import type { FileHandle } from '../src/handle-format.ts';
import { listMounts } from '../src/mount-table.ts';
import { openRepository } from '../src/store/local.ts';
import { closeFd } from '../src/syscall.ts';
import type { UuidMode } from './mount-options.ts';
import { parseSavedSources, type SavedSource, type SavedSources } from './saved-sources.ts';

/** The name of the list in a directory of a checkpoint. */
export const SOURCES_FILE = 'cfs-sources.json';

/**
 * Reads a saved list.
 * @param path a file, or a directory with a SOURCES_FILE in it
 * @throws CfsError (usage)
 */
export function readSavedSources(path: string): SavedSources {
  let text: string;
  try {
    const file = statSync(path).isDirectory() ? join(path, SOURCES_FILE) : path;
    text = readFileSync(file, 'utf8');
  } catch (error) {
    throw new CfsError('usage', `Cannot read the source list ${path}: ${reasonOf(error)}`, { cause: error });
  }
  return parseSavedSources(text, path);
}

/** As text for the rest of the program. @throws CfsError (usage) where it is not UTF-8 */
export function textPath(path: Uint8Array, what: string): string {
  const text = exactUtf8(path);
  if (text !== undefined) return text;
  throw new CfsError('usage', `Cannot use ${what} ${printable(path)}: its path is not UTF-8; move it`);
}

/** Where the image is now: where it was, else at its name in the directory that its handle leads to. */
export function findImage(image: SavedSource, uuid: UuidMode): string {
  const path = image.path !== undefined && isThere(image.path) ? image.path : byParent(image, uuid);
  if (path !== undefined) return textPath(path, 'image');
  throw new CfsError(
    'image',
    `Cannot find the image ${image.path === undefined ? image.id : printable(image.path)}: it is not there any more, and its directory's handle does not lead to it. Give IMAGE and MOUNTPOINT beside --from.`,
  );
}

function byParent(image: SavedSource, uuid: UuidMode): Buffer | undefined {
  const { parent } = image;
  if (parent === undefined) return undefined;
  const paths = pathsByHandle(image, parent.handle, uuid).map((dir) =>
    Buffer.concat([dir, Buffer.from('/'), parent.name]),
  );
  return paths.find(isThere);
}

const isThere = (path: Buffer): boolean => statSync(path, { throwIfNoEntry: false }) !== undefined;

/** Where the repositories are now, in the same order. @throws CfsError (store) that says which was not found, or is another one */
export function findRepositories(saved: SavedSources, from: string, uuid: UuidMode): string[] {
  return saved.repositories.map((repository) => findRepository(repository, from, uuid));
}

function findRepository(saved: SavedSource, from: string, uuid: UuidMode): string {
  const there = saved.path === undefined || !isThere(saved.path) ? undefined : textPath(saved.path, 'repository');
  const problem = there === undefined ? undefined : whyAnother(there, saved);
  if (there !== undefined && (problem === undefined || (uuid === 'off' && isRepository(there)))) return there;
  // what took its place, or nothing, is where it was: it may have been moved
  const { handle } = saved;
  const moved =
    handle === undefined ? [] : pathsByHandle(saved, handle, uuid).map((path) => textPath(path, 'repository'));
  const found = moved.find((path) => (uuid === 'on' ? whyAnother(path, saved) === undefined : isRepository(path)));
  if (found !== undefined) return found;
  const name = saved.path === undefined ? saved.id : printable(saved.path);
  if (there === undefined) {
    throw new CfsError(
      'store',
      `Cannot find repository ${name} of ${from}: it is not there any more, and its handle leads to none. Mount its file system, or mount the image with --repo instead of --from.`,
    );
  }
  throw new CfsError('store', `Cannot use repository ${name} of ${from}: ${problem}`);
}

function isRepository(path: string): boolean {
  try {
    openRepository(path);
    return true;
  } catch {
    return false;
  }
}

/** What tells that `path` is not the repository that was saved; undefined where it is. */
function whyAnother(path: string, saved: SavedSource): string | undefined {
  let uuid: string;
  let fsUuid: string | undefined;
  try {
    ({ uuid } = openRepository(path));
    fsUuid = fsUuidAt(path);
  } catch (error) {
    return reasonOf(error);
  }
  const hint = '-o uuid=off accepts that where all repositories lie on one file system.';
  if (uuid !== saved.id) return `its uuid is ${uuid}, and was ${saved.id}: it is another repository. ${hint}`;
  if (fsUuid === saved.fsUuid) return undefined;
  return `the uuid of its file system is ${fsUuid ?? 'none'}, and was ${saved.fsUuid ?? 'none'}: it lies on another disk, or on a copy. ${hint}`;
}

function fsUuidAt(path: string): string | undefined {
  const fd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    return fsUuidOf(fd);
  } finally {
    closeSync(fd);
  }
}

function fsUuidOf(fd: number): string | undefined {
  const uuid = fileSystemUuid(fd, fstatSync(fd).dev);
  return uuid === undefined ? undefined : uuidText(uuid);
}

/**
 * Where the handle of a directory leads to on the file systems that are mounted now: those of the saved uuid, or
 * with `off` of the saved type, as after a disk was copied and got a new uuid.
 */
function pathsByHandle(saved: SavedSource, handle: FileHandle, uuid: UuidMode): Buffer[] {
  const paths: Buffer[] = [];
  for (const { type, mountpointBytes, device } of listMounts()) {
    if (type !== saved.fsType) continue;
    if (uuid === 'on' && saved.fsUuid === undefined && device !== saved.dev) continue;
    const path = openThrough(
      Buffer.from(mountpointBytes),
      handle,
      (fd) => uuid === 'off' || fsUuidOf(fd) === saved.fsUuid,
    );
    if (path !== undefined) paths.push(path);
  }
  return paths;
}

function openThrough(mountpoint: Buffer, handle: FileHandle, isRight: (fd: number) => boolean): Buffer | undefined {
  let root: number;
  try {
    root = openSync(mountpoint, constants.O_RDONLY | constants.O_DIRECTORY);
  } catch {
    return undefined; // a file, or not for this user
  }
  try {
    if (!isRight(root)) return undefined;
    const fd = openByHandle(root, handle, constants.O_RDONLY | constants.O_DIRECTORY);
    if (isErrno(fd)) return undefined;
    const path = readlinkSync(`/proc/self/fd/${fd}`, { encoding: 'buffer' });
    closeFd(fd);
    return isThere(path) ? path : undefined;
  } finally {
    closeSync(root);
  }
}

/**
 * What -o uuid=off demands: without uuids nothing but their common file system tells repositories apart.
 * @throws CfsError (store) that names two file systems
 */
export function requireOneFileSystem(repositories: readonly string[]): void {
  const [first, ...others] = repositories.map((path) => ({ path, file: placeOf(path) }));
  if (first === undefined) return;
  for (const { path, file } of others) {
    const isSame = file.dev === first.file.dev || (file.uuid !== undefined && file.uuid === first.file.uuid);
    if (isSame) continue;
    throw new CfsError(
      'store',
      `Cannot mount with -o uuid=off: repositories ${first.path} and ${path} lie on different file systems. Without uuids they must all lie on one.`,
    );
  }
}

function placeOf(path: string): { dev: number; uuid: string | undefined } {
  try {
    return { dev: statSync(path).dev, uuid: fsUuidAt(path) };
  } catch (error) {
    throw new CfsError('store', `Cannot open repository ${path}: ${reasonOf(error)}`, { cause: error });
  }
}
