/**
 * `cfs-checkpoint prepare`: the steps before a checkpoint tool dumps processes that use a mount.
 *
 * Such a tool finds a watched file by its handle and then asks /proc/self/fd for its path. That is "/" while the kernel
 * has no name of the inode, because it was not looked up again after it was evicted. So each is looked up once.
 */
import { closeSync, constants, lstatSync, openSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { printable } from '../base/bytes.ts';
import { isErrno } from '../base/errno.ts';
import { CfsError, reasonOf } from '../base/error.ts';
import { type FileHandle, formatHandle } from '../base/handle-format.ts';
import { pathText } from '../base/path-text.ts';
import { SOURCES_FILE } from '../mount/find-sources.ts';
import { askMountAt, mountpointOf } from '../mount-info/ask-mount-at.ts';

import { pathOfFd } from '../mount-info/open-path.ts';
import { jsonOfSources } from '../mount-info/saved-sources.ts';
import { closeFd } from '../system/descriptors.ts';
import { replaceFile } from '../system/durable-file.ts';
import { openByHandle } from '../system/file-handle.ts';
import { errnoText, O_PATH } from '../system/libc.ts';
import { filesInUse, type UsedFile } from './files-in-use.ts';
import { requireLastingHandles } from './lasting-handles.ts';
import { makeAllLinkable, type Naming, relinkAll } from './name-unlinked.ts';
import { forgetNames, type HolderSettings, holdNames } from './names.ts';
import { processTree } from './processes.ts';
import { FILES_FILE, formatSavedFiles } from './saved-files.ts';
import type { NameTemplate } from './unlinked-names.ts';

export interface PreparedDump {
  readonly mountpoint: string;
  /** The named processes and their descendants. */
  readonly processes: readonly number[];
  readonly files: number;
  readonly watched: number;
  /** Files and directories that were unlinked. */
  readonly unlinked: number;
  /** How many of them have no name and are linkable now. */
  readonly linkable: number;
  /** How many of them have a new name. */
  readonly relinked: number;
  /** The process that holds watched files, and those without a name; undefined if there are none, or not wanted. */
  readonly holder: number | undefined;
  /** The list for cfs-mount --from, and the list of files for `check`. */
  readonly sourceList: string;
  readonly fileList: string;
}

export interface PrepareOptions {
  /** Whether the names of watched files are held until the processes end. */
  readonly hold: boolean;
  /** How unlinked files are named; undefined: they are only made linkable. */
  readonly relink?: NameTemplate | undefined;
  /** Receives a line for each file without a path that a checkpoint tool could use, and if names cannot be held. */
  readonly warn: (line: string) => void;
}

/**
 * @param mount a directory of the mount
 * @param directory for the lists
 * @throws CfsError: `usage` if an argument is not a mount or process, or the mount has driver=fuse-native; `system` if
 *   a watched file cannot be found
 */
export async function prepare(
  mount: string,
  pids: readonly number[],
  directory: string,
  { hold, relink, warn }: PrepareOptions,
): Promise<PreparedDump> {
  const { mount: record, sources } = askMountAt(mount);
  requireLastingHandles(mount, record);
  const mountpoint = mountpointOf(mount) ?? record.mountpoint;
  const processes = processTree(pids);
  const root = openSync(Buffer.from(mountpoint), constants.O_RDONLY | constants.O_DIRECTORY);
  let naming: Naming | undefined;
  try {
    const files = filesInUse(processes, statSync(mount, { bigint: true }).dev);
    const named = files.filter(({ unlinked }) => unlinked === undefined);
    const unlinked = files.filter((file) => file.unlinked !== undefined);
    const found = new Map(named.map((file) => [file.handle, lookUp(root, file, warn)] as const));
    if (relink !== undefined && unlinked.length > 0) naming = relinkAll(root, unlinked, relink, directory);
    const linkable = relink === undefined ? makeAllLinkable(root, unlinked) : 0;
    const sourceList = join(directory, SOURCES_FILE);
    const fileList = join(directory, FILES_FILE);
    save(sourceList, `${JSON.stringify(jsonOfSources(record, mountpoint, sources), null, 2)}\n`);
    save(
      fileList,
      formatSavedFiles(files, (handle) => found.get(handle)?.shown ?? new Uint8Array(), naming),
    );
    naming?.complete();
    const relinked = naming?.names.size ?? 0;
    naming = undefined;
    const watched = files.filter(({ isWatched }) => isWatched);
    const names = watched.flatMap(({ handle }) => nameBelow(mountpoint, found.get(handle)?.path) ?? []);
    const handles = relink === undefined ? unlinked.map(({ handle }) => formatHandle(handle)) : [];
    const settings = { directory, mountpoint: pathText(mountpoint), names, handles, pids: processes };
    await forgetNames(directory);
    const holder = hold && names.length + handles.length > 0 ? await holderOf(settings, warn) : undefined;
    const counts = {
      files: files.length,
      watched: watched.length,
      unlinked: unlinked.length,
      linkable,
      relinked,
    };
    return { mountpoint: printable(mountpoint), processes, ...counts, holder, sourceList, fileList };
  } finally {
    naming?.undo();
    closeSync(root);
  }
}

/** Undefined if they cannot be held: the lists are valid nevertheless. */
async function holderOf(settings: HolderSettings, warn: (line: string) => void): Promise<number | undefined> {
  try {
    return await holdNames(settings);
  } catch (error) {
    if (!(error instanceof CfsError)) throw error;
    warn(`${error.message}. Dump at once: if memory becomes scarce before, the restore may fail.`);
    return undefined;
  }
}

/** As text of base/path-text.ts, without a leading slash; undefined for a path that another mount hides. */
function nameBelow(mountpoint: Uint8Array, path: Buffer | undefined): string | undefined {
  const above = Buffer.from(mountpoint);
  if (path === undefined || path.equals(above)) return undefined;
  const begin = above.length === 1 ? 1 : above.length + 1;
  const isBelow = path.subarray(0, above.length).equals(above) && path[begin - 1] === 0x2f;
  return isBelow ? pathText(path.subarray(begin)) : undefined;
}

/** Makes the kernel look up a path of the file. @returns that path, and the one to show: that in the image */
function lookUp(
  root: number,
  { handle, uses }: UsedFile,
  warn: (line: string) => void,
): { readonly path: Buffer | undefined; readonly shown: Uint8Array } {
  const { path, imagePath, problem, isTooLong } = placeOf(root, handle, uses);
  // continue with the others: a checkpoint tool itself reports that it cannot name this one
  if (isTooLong) warn(`${nameOf(handle, uses)}, has ${problem}. CRIU cannot dump the processes that use it.`);
  if (isTooLong) return { path: undefined, shown: imagePath ?? new Uint8Array() };
  if (path === undefined) throw new CfsError('system', `Cannot find the path of ${nameOf(handle, uses)}: ${problem}`);
  // connects a disconnected inode to its name; the result is ignored
  lstatSync(path);
  return { path, shown: imagePath ?? path };
}

function placeOf(root: number, handle: FileHandle, uses: readonly string[]): ReturnType<typeof pathOfFd> {
  const fd = openByHandle(root, handle, O_PATH);
  if (isErrno(fd)) throw new CfsError('system', `Cannot open ${nameOf(handle, uses)}: ${errnoText(fd)}`);
  try {
    return pathOfFd(fd);
  } finally {
    closeFd(fd);
  }
}

const nameOf = (handle: FileHandle, uses: readonly string[]): string =>
  `handle ${formatHandle(handle)}, which process ${uses[0]} uses`;

function save(path: string, text: string): void {
  try {
    replaceFile(path, Buffer.from(text), true);
  } catch (error) {
    throw new CfsError('system', `Cannot write ${path}: ${reasonOf(error)}`, { cause: error });
  }
}
