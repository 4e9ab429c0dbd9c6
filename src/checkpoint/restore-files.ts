/**
 * `cfs-checkpoint restore-files`: opens the files that a checkpoint named, hands their descriptors on, and removes the
 * names. All files are opened, and handed on, before the first name is removed: if that fails, nothing is lost.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { constants, openSync, readdirSync } from 'node:fs';
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
import { inodeOf, statFd } from '../system/file-status.ts';
import { errnoText, O_PATH } from '../system/libc.ts';
import { removeDirectoryAt, unlinkAt } from '../system/names.ts';
import { openFilesLimit } from '../system/resource-limits.ts';
import { readList } from './check.ts';
import { requireLastingHandles } from './lasting-handles.ts';
import { endClaim } from './orphan-ioctls.ts';
import { FILES_FILE, type SavedFile, type SavedUnlinked } from './saved-files.ts';

const DIRECTORY = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;
const O_ACCMODE = 3;

/** A file as the receiver of its descriptor gets it described. */
export interface RestoredFile {
  /** Its number in the command, or its position among the descriptors that a socket gets. */
  readonly fd: number;
  /** That it had before it was unlinked, in the mount. */
  readonly path: string;
  readonly handle: string;
  readonly descriptors: SavedUnlinked['descriptors'];
}

/** Files of a checkpoint that have their new names still, all of which were opened once. */
export interface RelinkedFiles {
  readonly mountpoint: string;
  readonly files: readonly SavedFile[];
  /** How many of them this process may open at once. If that are all, they stay open. */
  readonly most: number;
  /** Runs `work` with the open files with these indices, `to` not included. @throws CfsError (system) */
  withDescriptors<T>(from: number, to: number, work: (fds: readonly number[]) => T): T;
  /** Removes their names, and ends the claim. @throws CfsError (system) */
  removeNames(): void;
  close(): void;
}

/** Descriptors that stay free: for directories, a socket, and starting a command. */
const RESERVED = 12;

/**
 * Opens all files that a checkpoint named. They stay open if this process may open that many.
 * @param directory of the lists
 * @throws CfsError: `usage` if there is no list or mount; `system` if one of the files is not there or is another one;
 *   nothing is changed then
 */
export function openRelinked(directory: string, mount: string): RelinkedFiles {
  const list = readList(join(directory, FILES_FILE));
  requireLastingHandles(mount, askMountAt(mount).mount);
  const mountpoint = mountpointOf(mount);
  if (mountpoint === undefined) throw new CfsError('usage', `Cannot find the root of the mount at ${mount}`);
  const places = list.files.flatMap((saved) => placeOf(saved));
  const most = Math.max(1, openFilesLimit() - openFiles() - RESERVED);
  const isKeeping = places.length <= most;
  const parents = new Parents(openSync(Buffer.from(mountpoint), constants.O_RDONLY | constants.O_DIRECTORY));
  const kept: number[] = [];
  const open = (place: NamedPlace): number => {
    const dir = parents.open(place.parent);
    const fd = isErrno(dir) ? dir : openFile(dir, place);
    if (isErrno(fd)) throw missing(place.saved, fd);
    return fd;
  };
  const close = (): void => {
    for (const fd of kept.splice(0)) closeFd(fd);
    parents.close();
  };
  try {
    for (const place of places) {
      const fd = open(place);
      if (isKeeping) kept.push(fd);
      else closeFd(fd);
    }
  } catch (error) {
    close();
    throw error;
  }
  return {
    mountpoint: pathText(mountpoint),
    files: places.map(({ saved }) => saved),
    most,
    withDescriptors: (from, to, work) => {
      if (isKeeping) return work(kept.slice(from, to));
      const fds: number[] = [];
      try {
        for (const place of places.slice(from, to)) fds.push(open(place));
        return work(fds);
      } finally {
        for (const fd of fds) closeFd(fd);
      }
    },
    removeNames: () => {
      for (const { saved, unlinked, parent, name } of places) {
        const dir = parents.open(parent);
        const removed = isErrno(dir) ? dir : (isDirectory(unlinked) ? removeDirectoryAt : unlinkAt)(dir, name);
        if (isErrno(removed) && removed !== ENOENT) {
          throw new CfsError('system', `Cannot remove ${saved.unlinked?.relinked}: ${errnoText(removed)}`);
        }
      }
      if (list.checkpoint !== undefined) endClaim(parents.root, list.checkpoint);
    },
    close,
  };
}

/** The number of files that this process has open. */
const openFiles = (): number => readdirSync('/proc/self/fd').length;

/** Directories of the mount with the names; the last one stays open, and most names are in one. */
class Parents {
  readonly root: number;
  #path: string | undefined;
  #fd = -1;

  constructor(root: number) {
    this.root = root;
  }

  open(path: string): number | Errno {
    if (path === this.#path) return this.#fd;
    this.#forget();
    const fd = openDirectory(this.root, path);
    if (!isErrno(fd)) [this.#path, this.#fd] = [path, fd];
    return fd;
  }

  close(): void {
    this.#forget();
    closeFd(this.root);
  }

  #forget(): void {
    if (this.#path !== undefined) closeFd(this.#fd);
    this.#path = undefined;
  }
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
function openFile(dir: number, { name, unlinked, saved: { handle } }: NamedPlace): number | Errno {
  const fd = openAt(dir, name, flagsFor(unlinked) | constants.O_NOFOLLOW);
  if (isErrno(fd)) return fd;
  const stat = statFd(fd);
  const isSame = !isErrno(stat) && inodeOf(stat) === fuseIdentity(handle)?.id;
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

const describe = ({ files }: RelinkedFiles, first: number): RestoredFile[] =>
  files.map(({ path, handle, unlinked }, i) => ({
    fd: first + i,
    path,
    handle: formatHandle(handle),
    descriptors: unlinked?.descriptors ?? [],
  }));

/**
 * Runs a command that inherits the descriptors, from 3 on; the names are removed as soon as it runs.
 * @returns its exit status, 128 and the number for a signal
 * @throws CfsError (system) if it cannot be started, or this process may not open all files: the names stay then
 */
export async function restoreToCommand(opened: RelinkedFiles, command: readonly string[]): Promise<number> {
  const [program = '', ...rest] = command;
  const count = opened.files.length;
  if (count > opened.most) {
    throw new CfsError('system', `Cannot open ${count} files at once for a command`, {
      hint: `This process may have ${openFilesLimit()} open: raise the hard limit ('ulimit -Hn'). A socket takes any number.`,
    });
  }
  const descriptions = describe(opened, FIRST);
  const inherit = descriptions.flatMap(({ fd, path }) => [
    '--inherit-fd',
    `fd[${fd}]:${`${opened.mountpoint}${path}`.replace(/^\/+/, '')}`,
  ]);
  const args = rest.flatMap((word) => (word === INHERIT ? inherit : [word]));
  const described = JSON.stringify(descriptions);
  if (described.length + VARIABLE.length + 2 > LONGEST_VARIABLE) {
    throw new CfsError('system', `Cannot describe ${count} files to a command: too many`, {
      hint: 'A socket takes any number.',
    });
  }
  const child = opened.withDescriptors(0, count, (fds) =>
    withoutGaps(FIRST + count, () =>
      spawn(program, args, {
        stdio: ['inherit', 'inherit', 'inherit', ...fds],
        env: { ...process.env, [VARIABLE]: described },
      }),
    ),
  );
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

/**
 * Calls `work` while all descriptors below `end` are in use. If a command cannot be started, libuv reports that through
 * a pipe. If one of the descriptors that the command inherits takes the number of that pipe, the report is written to
 * that file, and the command counts as started.
 */
function withoutGaps<T>(end: number, work: () => T): T {
  const fillers: number[] = [];
  try {
    for (let last = -1; last < end; fillers.push(last)) last = openSync('/dev/null', constants.O_RDONLY);
    return work();
  } finally {
    for (const fd of fillers) closeFd(fd);
  }
}

/** One message to a socket: descriptions of up to 100 files, as a line of JSON, with their descriptors. */
const FILES_A_MESSAGE = 100;

/**
 * Sends the descriptors to a Unix stream socket that listens at `path`: each message is a line of JSON, an array of
 * RestoredFile, and has the descriptors in its order. The names are removed when all were sent.
 * @throws CfsError (system); the names stay then
 */
export function restoreToSocket(opened: RelinkedFiles, path: string): void {
  const socket = connectTo(pathBytes(path));
  const failure = (errno: Errno): CfsError =>
    new CfsError('system', `Cannot send to the socket ${path}: ${errnoText(errno)}`);
  if (isErrno(socket)) throw failure(socket);
  try {
    const descriptions = describe(opened, 0);
    const each = Math.min(FILES_A_MESSAGE, opened.most);
    for (let from = 0; from < descriptions.length; from += each) {
      const to = Math.min(from + each, descriptions.length);
      const line = Buffer.from(`${JSON.stringify(descriptions.slice(from, to))}\n`);
      const sent = opened.withDescriptors(from, to, (fds) => sendDescriptors(socket, line, fds));
      if (isErrno(sent)) throw failure(sent);
    }
  } finally {
    closeFd(socket);
  }
  opened.removeNames();
  opened.close();
}
