/**
 * `cfs-mount --from`: finds the sources of a saved list. A source is at its saved path, or where its handle leads to
 * now; and it is the same one, by the uuids of repository and file system, unless -o uuid=off turns that check off.
 */
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { printable } from '../base/bytes.ts';
import { isErrno } from '../base/errno.ts';
import { CfsError, reasonOf } from '../base/error.ts';
import type { FileHandle } from '../base/handle-format.ts';
import { type ImageDigest, parseImageDigest } from '../base/image-digest.ts';
import { pathBytes, pathText } from '../base/path-text.ts';
import { imageVerityDigest, readImageId } from '../image/image-file.ts';
import {
  parseSavedSources,
  type SavedLayer,
  type SavedSource,
  type SavedSources,
} from '../mount-info/saved-sources.ts';
import { openRepository } from '../store/open-repository.ts';
import { nameToHandle } from '../system/file-handle.ts';
import { AT_SYMLINK_FOLLOW } from '../system/libc.ts';
import type { UuidMode } from './option-words.ts';
import { fileSystemUuidAt, pathsByHandle } from './paths-by-handle.ts';

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

/**
 * The current path of the image with this id, or fs-verity digest: its old path, its name in the directory that its
 * handle leads to, or the path that its own handle leads to. If another image took its place and it is nowhere else,
 * the old path.
 * @throws CfsError (image) if it was not found
 */
export function findImage(image: SavedSource, digest: string, uuid: UuidMode): string {
  const wanted = parseImageDigest(digest);
  for (const path of placesOfImage(image, uuid)) {
    if (wanted !== undefined && isImageAt(path, wanted)) return pathText(path);
  }
  // the mount reports the problem
  if (image.path !== undefined && whyNotThere(image.path) === undefined) return pathText(image.path);
  throw new CfsError(
    'image',
    `Cannot find the image ${nameOf(image)}: ${whyGone(image)}, and its handles do not lead to it`,
    { hint: 'Give `image` and `mountpoint` beside `from`.' },
  );
}

function* placesOfImage({ path, parent, handle, ...saved }: SavedSource, uuid: UuidMode): Generator<Buffer> {
  if (path !== undefined) yield path;
  if (parent !== undefined) {
    for (const directory of pathsByHandle(saved, parent.handle, uuid)) {
      yield Buffer.concat([directory, Buffer.from('/'), parent.name]);
    }
  }
  // without a path if the kernel does not know one
  if (handle !== undefined) yield* pathsByHandle(saved, handle, uuid);
}

/** False also if there is no readable image. */
function isImageAt(path: Buffer, { kind, hex }: ImageDigest): boolean {
  const text = pathText(path);
  try {
    return hex === (kind === 'id' ? readImageId(text) : imageVerityDigest(text).hex);
  } catch {
    return false;
  }
}

/** Undefined if the path exists. */
function whyNotThere(path: Buffer): string | undefined {
  try {
    return statSync(path, { throwIfNoEntry: false }) === undefined ? 'it no longer exists' : undefined;
  } catch (error) {
    return reasonOf(error);
  }
}

const whyGone = ({ path }: SavedSource): string =>
  (path === undefined ? undefined : whyNotThere(path)) ?? 'it was gone when the list was made';

const nameOf = ({ path, id }: SavedSource): string => printable(path ?? Buffer.from(id));

/**
 * The current paths of the repositories, in the same order. @throws CfsError (store) that names a repository that was
 * not found, or is another one
 */
export function findRepositories(saved: SavedSources, from: string, uuid: UuidMode): string[] {
  return saved.repositories.map((repository) => findRepository(repository, from, uuid));
}

function findRepository(saved: SavedSource, from: string, uuid: UuidMode): string {
  const isThere = saved.path !== undefined && whyNotThere(saved.path) === undefined;
  const there = saved.path === undefined || !isThere ? undefined : pathText(saved.path);
  const problem = there === undefined ? undefined : whyAnother(there, saved);
  if (there !== undefined && (problem === undefined || (uuid === 'off' && isRepository(there)))) return there;
  // if another directory, or none, is at its path, it may have been moved
  const { handle } = saved;
  const moved = handle === undefined ? [] : pathsByHandle(saved, handle, uuid).map(pathText);
  const found = moved.find((path) => (uuid === 'on' ? whyAnother(path, saved) === undefined : isRepository(path)));
  if (found !== undefined) return found;
  if (problem !== undefined) {
    throw new CfsError('store', `Cannot use repository ${nameOf(saved)} of ${from}: ${problem.reason}`, {
      hint: problem.hint,
    });
  }
  throw new CfsError(
    'store',
    `Cannot find repository ${nameOf(saved)} of ${from}: ${whyGone(saved)}, and its handle leads to none`,
    { hint: 'Mount its file system, or mount the image with `repositories` instead of `from`.' },
  );
}

function isRepository(path: string): boolean {
  try {
    openRepository(path);
    return true;
  } catch {
    return false;
  }
}

/** The evidence that `path` is not the saved repository; undefined if it is the same. */
function whyAnother(path: string, saved: SavedSource): { reason: string; hint: string | undefined } | undefined {
  let uuid: string;
  let fsUuid: string | undefined;
  try {
    ({ uuid } = openRepository(path));
    fsUuid = fileSystemUuidAt(path);
  } catch (error) {
    return { reason: reasonOf(error), hint: error instanceof CfsError ? error.hint : undefined };
  }
  const hint = '`uuid=off` accepts that if all repositories are on one file system.';
  if (uuid !== saved.id) {
    const reason = `its uuid is ${uuid}, and was ${printable(Buffer.from(saved.id))}: it is another repository`;
    return { reason, hint };
  }
  if (fsUuid === saved.fsUuid) return undefined;
  const was = saved.fsUuid ?? 'none';
  const reason = `the uuid of its file system is ${fsUuid ?? 'none'}, and was ${was}: it is on another disk, or on a copy`;
  return { reason, hint };
}

/**
 * The current paths of the directories of an upper layer: the saved ones if the same directories are there, else those
 * that their handles lead to. With uuid=off any directory at the saved path is accepted.
 * @throws CfsError (mount) that names a directory that was not found
 */
export function findLayer(
  { upperdir, workdir }: SavedLayer,
  from: string,
  uuid: UuidMode,
): { readonly upperdir: string; readonly workdir?: string } {
  const find = (option: string, saved: SavedSource): string => findDirectory(option, saved, from, uuid);
  return {
    upperdir: find('upperdir', upperdir),
    ...(workdir === undefined ? {} : { workdir: find('workdir', workdir) }),
  };
}

function findDirectory(option: string, saved: SavedSource, from: string, uuid: UuidMode): string {
  const { path, handle } = saved;
  const problem = path === undefined ? whyGone(saved) : whyNotThere(path);
  const there = path === undefined || problem !== undefined ? undefined : pathText(path);
  if (there !== undefined && (handle === undefined || isSameDirectory(there, handle))) return there;
  const [moved] = handle === undefined ? [] : pathsByHandle(saved, handle, uuid).map(pathText);
  const found = moved ?? (uuid === 'off' ? there : undefined);
  if (found !== undefined) return found;
  throw new CfsError(
    'mount',
    `Cannot find ${option} ${nameOf(saved)} of ${from}: ${problem ?? 'another directory is there'}, and its handle leads to none`,
    { hint: 'Give both directories, or `uuid=off` if a copy of them is there.' },
  );
}

function isSameDirectory(path: string, handle: FileHandle): boolean {
  const found = nameToHandle(pathBytes(path), AT_SYMLINK_FOLLOW);
  return !isErrno(found) && found.handle.type === handle.type && Buffer.from(found.handle.bytes).equals(handle.bytes);
}

/**
 * The requirement of -o uuid=off: without uuids only their common file system distinguishes repositories.
 * @throws CfsError (store) that names two repositories on different file systems
 */
export function requireOneFileSystem(repositories: readonly string[]): void {
  const [first, ...others] = repositories.map((path) => ({ path, file: placeOf(path) }));
  if (first === undefined) return;
  for (const { path, file } of others) {
    const isSame = file.dev === first.file.dev || (file.uuid !== undefined && file.uuid === first.file.uuid);
    if (isSame) continue;
    throw new CfsError(
      'store',
      `Cannot mount with uuid=off: repositories ${first.path} and ${path} are on different file systems. Without uuids they must all be on one.`,
    );
  }
}

function placeOf(path: string): { dev: number; uuid: string | undefined } {
  try {
    return { dev: statSync(path).dev, uuid: fileSystemUuidAt(path) };
  } catch (error) {
    throw new CfsError('store', `Cannot open repository ${path}: ${reasonOf(error)}`, { cause: error });
  }
}
