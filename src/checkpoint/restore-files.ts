/**
 * `cfs-checkpoint restore-files`: opens the files that a checkpoint named, hands their descriptors on, and removes the
 * names. All files are opened, and handed on, before the first name is removed: if that fails, nothing is lost.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, constants, openSync } from 'node:fs';
import { constants as osConstants } from 'node:os';
import { join } from 'node:path';
import { ENOENT, type Errno, isErrno } from '../base/errno.ts';
import { CfsError, reasonOf } from '../base/error.ts';
import { formatHandle, fuseIdentity } from '../base/handle-format.ts';
import { pathBytes, pathText } from '../base/path-text.ts';
import { S_IFDIR, S_IFMT, S_IFREG } from '../base/stat-bits.ts';
import { askMountAt, mountpointOf } from '../mount-info/ask-mount-at.ts';
import { connectTo, sendDescriptors } from '../system/descriptor-passing.ts';
import { closeFd, openAt } from '../system/descriptors.ts';
import { statFd } from '../system/file-status.ts';
import { errnoText, O_PATH } from '../system/libc.ts';
import { removeDirectoryAt, unlinkAt } from '../system/names.ts';
import { readList } from './check.ts';
import { requireLastingHandles } from './lasting-handles.ts';
import { endClaim } from './orphan-ioctls.ts';
import { FILES_FILE, type SavedFile, type SavedUnlinked } from './saved-files.ts';

const DIRECTORY = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;
const O_ACCMODE = 3;
const U32 = 0x1_0000_0000;

/** A file as the receiver of its descriptor gets it described. */
export interface RestoredFile {
  /** Its number in the command, or its position among the descriptors that a socket gets. */
  readonly fd: number;
  /** That it had before it was unlinked, in the mount. */
  readonly path: string;
  readonly handle: string;
  readonly descriptors: SavedUnlinked['descriptors'];
}

/** Files of a checkpoint that have their new names still, open. */
export interface OpenedFiles {
  readonly mountpoint: string;
  readonly files: readonly { readonly fd: number; readonly saved: SavedFile }[];
  /** Removes their names, and ends the claim. @throws CfsError (system) */
  removeNames(): void;
  close(): void;
}

/**
 * Opens all files that a checkpoint named.
 * @param directory of the lists
 * @throws CfsError: `usage` if there is no list or mount; `system` if one of the files is not there or is another one;
 *   nothing is changed then
 */
export function openRelinked(directory: string, mount: string): OpenedFiles {
  const list = readList(join(directory, FILES_FILE));
  requireLastingHandles(mount, askMountAt(mount).mount);
  const mountpoint = mountpointOf(mount);
  if (mountpoint === undefined) throw new CfsError('usage', `Cannot find the root of the mount at ${mount}`);
  const root = openSync(Buffer.from(mountpoint), constants.O_RDONLY | constants.O_DIRECTORY);
  const names = list.files.flatMap((saved) => placeOf(saved));
  const opened: { fd: number; saved: SavedFile; dir: number; name: Uint8Array; isDirectory: boolean }[] = [];
  const directories = new Map<string, number>();
  const close = (): void => {
    for (const { fd } of opened) closeFd(fd);
    for (const fd of directories.values()) closeFd(fd);
    closeSync(root);
  };
  try {
    for (const { saved, unlinked, parent, name } of names) {
      const dir = directories.get(parent) ?? openDirectory(root, parent);
      if (isErrno(dir)) throw missing(saved, dir);
      directories.set(parent, dir);
      const fd = openFile(dir, name, unlinked, saved);
      if (isErrno(fd)) throw missing(saved, fd);
      opened.push({ fd, saved, dir, name, isDirectory: isDirectory(unlinked) });
    }
  } catch (error) {
    close();
    throw error;
  }
  const removeNames = (): void => {
    for (const { saved, dir, name, isDirectory: is } of opened) {
      const removed = (is ? removeDirectoryAt : unlinkAt)(dir, name);
      if (isErrno(removed) && removed !== ENOENT) {
        throw new CfsError('system', `Cannot remove ${saved.unlinked?.relinked}: ${errnoText(removed)}`);
      }
    }
    if (list.checkpoint !== undefined) endClaim(root, list.checkpoint);
  };
  return {
    mountpoint: pathText(mountpoint),
    files: opened.map(({ fd, saved }) => ({ fd, saved })),
    removeNames,
    close,
  };
}

interface NamedPlace {
  readonly saved: SavedFile;
  readonly unlinked: SavedUnlinked;
  readonly parent: string;
  readonly name: Uint8Array;
}

function placeOf(saved: SavedFile): NamedPlace[] {
  const { unlinked } = saved;
  if (unlinked?.relinked === undefined) return [];
  const parts = unlinked.relinked.split('/');
  const name = pathBytes(parts.pop() as string);
  return [{ saved, unlinked, parent: parts.join('/'), name }];
}

const isDirectory = ({ mode }: SavedUnlinked): boolean => (mode & S_IFMT) === S_IFDIR;

/** An open directory of the mount. @param path from its root, '' for that */
export function openDirectory(root: number, path: string): number | Errno {
  let fd = openAt(root, pathBytes('.'), DIRECTORY);
  for (const part of path === '' ? [] : path.split('/')) {
    if (isErrno(fd)) return fd;
    const next = openAt(fd, pathBytes(part), DIRECTORY);
    closeFd(fd);
    fd = next;
  }
  return fd;
}

/** Opens it for reading, and for writing if a process had; one that is no regular file only by name (O_PATH). */
function openFile(dir: number, name: Uint8Array, unlinked: SavedUnlinked, { handle }: SavedFile): number | Errno {
  const fd = openAt(dir, name, flagsFor(unlinked) | constants.O_NOFOLLOW);
  if (isErrno(fd)) return fd;
  const stat = statFd(fd);
  const isSame = !isErrno(stat) && stat.inodeHigh * U32 + stat.inodeLow === fuseIdentity(handle)?.id;
  if (isSame) return fd;
  closeFd(fd);
  return isErrno(stat) ? stat : ENOENT;
}

function flagsFor(unlinked: SavedUnlinked): number {
  if (isDirectory(unlinked)) return DIRECTORY;
  if ((unlinked.mode & S_IFMT) !== S_IFREG) return O_PATH;
  const isForWriting = ({ flags }: { readonly flags: string }): boolean =>
    (Number.parseInt(flags, 8) & O_ACCMODE) !== constants.O_RDONLY;
  return unlinked.descriptors.some(isForWriting) ? constants.O_RDWR : constants.O_RDONLY;
}

function missing({ path, unlinked }: SavedFile, errno: Errno): CfsError {
  const reason = errno === ENOENT ? 'it is not there, or another file has its name' : errnoText(errno);
  return new CfsError('system', `Cannot restore ${path}, which the checkpoint named ${unlinked?.relinked}: ${reason}`);
}

/** The variable that describes the descriptors to the command: JSON, an array of RestoredFile. */
export const VARIABLE = 'CFS_RESTORED_FILES';
/** This argument of the command becomes one `--inherit-fd` of CRIU for each descriptor. */
export const INHERIT = '{inherit-fd}';
const FIRST = 3;
/** MAX_ARG_STRLEN of the kernel. */
const LONGEST_VARIABLE = 131_072;

const describe = ({ files }: OpenedFiles, first: number): RestoredFile[] =>
  files.map(({ saved: { path, handle, unlinked } }, i) => ({
    fd: first + i,
    path,
    handle: formatHandle(handle),
    descriptors: unlinked?.descriptors ?? [],
  }));

/**
 * Runs a command that inherits the descriptors, from 3 on; the names are removed as soon as it runs.
 * @returns its exit status, 128 and the number for a signal
 * @throws CfsError (system) if it cannot be started: the names stay then
 */
export async function restoreToCommand(opened: OpenedFiles, command: readonly string[]): Promise<number> {
  const [program = '', ...rest] = command;
  const descriptions = describe(opened, FIRST);
  const inherit = descriptions.flatMap(({ fd, path }) => [
    '--inherit-fd',
    `fd[${fd}]:${`${opened.mountpoint}${path}`.replace(/^\/+/, '')}`,
  ]);
  const args = rest.flatMap((word) => (word === INHERIT ? inherit : [word]));
  const described = JSON.stringify(descriptions);
  if (described.length + VARIABLE.length + 2 > LONGEST_VARIABLE) {
    throw new CfsError('system', `Cannot describe ${opened.files.length} files to a command: too many`, {
      hint: 'A socket takes any number.',
    });
  }
  const child = spawn(program, args, {
    stdio: ['inherit', 'inherit', 'inherit', ...opened.files.map(({ fd }) => fd)],
    env: { ...process.env, [VARIABLE]: described },
  });
  const exited = once(child, 'exit') as Promise<[number | null, NodeJS.Signals | null]>;
  try {
    await once(child, 'spawn');
  } catch (error) {
    exited.catch(() => undefined);
    throw new CfsError('system', `Cannot start ${program}: ${reasonOf(error)}`, { cause: error });
  }
  opened.removeNames();
  opened.close();
  const [status, signal] = await exited;
  return status ?? 128 + (signal === null ? 0 : osConstants.signals[signal]);
}

/** One message to a socket: descriptions of up to 100 files, as a line of JSON, with their descriptors. */
const FILES_A_MESSAGE = 100;

/**
 * Sends the descriptors to a Unix stream socket that listens at `path`: each message is a line of JSON, an array of
 * RestoredFile, and has the descriptors in its order. The names are removed when all were sent.
 * @throws CfsError (system); the names stay then
 */
export function restoreToSocket(opened: OpenedFiles, path: string): void {
  const socket = connectTo(pathBytes(path));
  const failure = (errno: Errno): CfsError =>
    new CfsError('system', `Cannot send to the socket ${path}: ${errnoText(errno)}`);
  if (isErrno(socket)) throw failure(socket);
  try {
    const descriptions = describe(opened, 0);
    for (let from = 0; from < descriptions.length; from += FILES_A_MESSAGE) {
      const to = Math.min(from + FILES_A_MESSAGE, descriptions.length);
      const line = Buffer.from(`${JSON.stringify(descriptions.slice(from, to))}\n`);
      const sent = sendDescriptors(
        socket,
        line,
        opened.files.slice(from, to).map(({ fd }) => fd),
      );
      if (isErrno(sent)) throw failure(sent);
    }
  } finally {
    closeFd(socket);
  }
  opened.removeNames();
  opened.close();
}
