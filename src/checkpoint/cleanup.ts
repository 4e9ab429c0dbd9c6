/**
 * `cfs-checkpoint cleanup`: removes what a checkpoint has left in a mount that will not be restored: the names that it,
 * or CRIU, gave to unlinked files, its claim, and that files are linkable.
 */

import { closeSync, constants, openSync, readdirSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { ENOENT, ENOTTY, EPERM, type Errno, isErrno } from '../base/errno.ts';
import { CfsError } from '../base/error.ts';
import { type FileHandle, fuseHandle, fuseIdentity } from '../base/handle-format.ts';
import { pathBytes, pathText } from '../base/path-text.ts';
import { S_IFDIR, S_IFMT } from '../base/stat-bits.ts';
import { askMountAt, mountpointOf } from '../mount-info/ask-mount-at.ts';
import { closeFd } from '../system/descriptors.ts';
import { inodeOf, statAt } from '../system/file-status.ts';
import { errnoText } from '../system/libc.ts';
import { removeDirectoryAt, unlinkAt } from '../system/names.ts';
import { isProcessIdentity, isRunning } from '../system/process-identity.ts';
import { readList } from './check.ts';
import { requireLastingHandles } from './lasting-handles.ts';
import { releaseNames } from './names.ts';
import { claimsOf, endClaim, type MountClaim, makeLinkable } from './orphan-ioctls.ts';
import { openDirectory } from './restore-files.ts';
import { FILES_FILE, idText } from './saved-files.ts';
import { idInDefaultName } from './unlinked-names.ts';

export interface CleanedUp {
  /** Names that were removed, from the mount's root. */
  readonly removed: readonly string[];
  /** Checkpoints that are alive, and the directories of their lists. */
  readonly kept: readonly { readonly id: string; readonly directory: string }[];
}

/**
 * Cleans up after one checkpoint, by its list.
 * @param directory of the lists
 * @throws CfsError: `usage` if there is no list or mount; `system` if something cannot be removed
 */
export async function cleanUp(directory: string, mount: string): Promise<CleanedUp> {
  const { checkpoint, files } = readList(join(directory, FILES_FILE));
  await releaseNames(directory);
  return inMount(mount, (root) => {
    const removed: string[] = [];
    const ofCriu = new CriuNames(root);
    for (const { handle, path, unlinked } of files) {
      if (unlinked === undefined) continue;
      if (unlinked.relinked !== undefined) {
        if (removeIfSame(root, unlinked.relinked, handle)) removed.push(unlinked.relinked);
        continue;
      }
      takeBack(root, handle);
      removed.push(...ofCriu.remove(path, handle));
    }
    if (checkpoint !== undefined) requireDone(endClaim(root, checkpoint), 'end the claim of the checkpoint');
    return { removed, kept: [] };
  });
}

/**
 * Cleans up after all checkpoints whose lists are gone, and that do not run.
 * @param directory may have the list of one that is alive, wherever it was made
 */
export function cleanUpAll(directory: string, mount: string): CleanedUp {
  return inMount(mount, (root) => {
    const claims = claimsOf(root);
    if (isErrno(claims)) return requireDone(claims, 'read the claims of checkpoints') as never;
    const here = listedId(directory);
    const removed: string[] = [];
    const kept: { id: string; directory: string }[] = [];
    const alive = new Set<bigint>();
    for (const claim of claims) {
      const { directory: listed, names, process } = parseText(claim.text);
      const isAlive = claim.isComplete
        ? here === claim.id || (listed !== undefined && listedId(listed) === claim.id)
        : isProcessIdentity(process) && isRunning(process);
      if (isAlive) {
        alive.add(claim.id);
        kept.push({ id: idText(claim.id), directory: listed ?? '' });
        continue;
      }
      removed.push(...removeNames(root, claim, names ?? ''));
      requireDone(endClaim(root, claim.id), 'end the claim of a checkpoint');
    }
    removed.push(...removeUnclaimed(root, alive));
    return { removed, kept };
  });
}

/** The line that `prepare` wrote; nothing of it is trusted. */
function parseText(text: string): { directory?: string; names?: string; process?: unknown } {
  try {
    const { directory, names, process } = JSON.parse(text) as Record<string, unknown>;
    return {
      ...(typeof directory === 'string' ? { directory } : {}),
      ...(typeof names === 'string' && !names.split('/').includes('..') ? { names } : {}),
      process,
    };
  } catch {
    return {};
  }
}

/** The id in the list of a directory; undefined if there is none. */
function listedId(directory: string): bigint | undefined {
  try {
    return readList(join(directory, FILES_FILE)).checkpoint;
  } catch {
    return undefined;
  }
}

function inMount<T>(mount: string, work: (root: number) => T): T {
  requireLastingHandles(mount, askMountAt(mount).mount);
  const mountpoint = mountpointOf(mount);
  if (mountpoint === undefined) throw new CfsError('usage', `Cannot find the root of the mount at ${mount}`);
  const root = openSync(Buffer.from(mountpoint), constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    return work(root);
  } finally {
    closeSync(root);
  }
}

function requireDone(result: unknown, what: string): void {
  if (!isErrno(result)) return;
  const hint = result === EPERM ? 'That takes CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH.' : undefined;
  // a mount that is not writable has nothing to clean up
  if (result === ENOTTY) throw new CfsError('usage', 'The mount is not a writable one');
  throw new CfsError('system', `Cannot ${what}: ${errnoText(result)}`, { hint });
}

const inoOf = (handle: FileHandle): number => fuseIdentity(handle)?.id ?? 0;

/** Removes a name if it is that of the file. */
function removeIfSame(root: number, path: string, handle: FileHandle): boolean {
  const dir = openDirectory(root, dirname(path) === '.' ? '' : dirname(path));
  if (isErrno(dir)) return requireGone(dir, path);
  try {
    return removeAt(dir, pathBytes(basename(path)), inoOf(handle), path);
  } finally {
    closeFd(dir);
  }
}

function removeAt(dir: number, name: Uint8Array, ino: number, shown: string): boolean {
  const stat = statAt(dir, name);
  if (isErrno(stat)) return requireGone(stat, shown);
  if (inodeOf(stat) !== ino) return false;
  const isDirectory = (stat.mode & S_IFMT) === S_IFDIR;
  const removed = (isDirectory ? removeDirectoryAt : unlinkAt)(dir, name);
  return isErrno(removed) ? requireGone(removed, shown) : true;
}

function requireGone(errno: Errno, path: string): false {
  if (errno === ENOENT) return false;
  throw new CfsError('system', `Cannot remove ${path}: ${errnoText(errno)}`);
}

/** A file without a name is not linkable any more; nothing is done if it is gone. */
function takeBack(root: number, handle: FileHandle): void {
  const identity = fuseIdentity(handle);
  if (identity !== undefined) makeLinkable(root, { ino: identity.id, generation: identity.generation });
}

const CRIU_NAME = /^link_remap\.\d+$/;

/** The names that CRIU gave to unlinked files: `link_remap.N` in their directory, or, if that is gone, above it. */
class CriuNames {
  readonly #root: number;
  /** Names by inode, of directories that were looked into. */
  readonly #known = new Map<string, Map<number, string>>();

  constructor(root: number) {
    this.#root = root;
  }

  /** Removes the one of a file. @param path that it had, absolute in the mount */
  remove(path: string, handle: FileHandle): string[] {
    const parent = dirname(path.replace(/^\/+/, ''));
    const directory = this.#existing(parent === '.' ? '' : parent);
    const name = this.#namesIn(directory).get(inoOf(handle));
    const found = directory === '' ? name : `${directory}/${name}`;
    return name !== undefined && found !== undefined && removeIfSame(this.#root, found, handle) ? [found] : [];
  }

  #existing(path: string): string {
    if (path === '' || this.#known.has(path)) return path;
    const fd = openDirectory(this.#root, path);
    if (!isErrno(fd)) {
      closeFd(fd);
      return path;
    }
    const above = dirname(path);
    return this.#existing(above === '.' ? '' : above);
  }

  #namesIn(path: string): Map<number, string> {
    const known = this.#known.get(path);
    if (known !== undefined) return known;
    const names = new Map<number, string>();
    this.#known.set(path, names);
    const fd = openDirectory(this.#root, path);
    if (isErrno(fd)) return names;
    for (const name of readdirSync(`/proc/self/fd/${fd}`)) {
      const stat = CRIU_NAME.test(name) ? statAt(fd, pathBytes(name)) : ENOENT;
      if (typeof stat !== 'number') names.set(inodeOf(stat), name);
    }
    closeFd(fd);
    return names;
  }
}

/** Removes the names of a claim. @param directory of all of them */
function removeNames(root: number, claim: MountClaim, directory: string): string[] {
  return claim.names.flatMap(({ ino, generation, name }) => {
    const path = directory === '' ? pathText(name) : `${directory}/${pathText(name)}`;
    return removeIfSame(root, path, fuseHandle({ id: ino, generation })) ? [path] : [];
  });
}

const USUAL = 'lost+found/checkpoint';

/** Removes names of the default template that no claim has: those of a machine that crashed. */
function removeUnclaimed(root: number, alive: ReadonlySet<bigint>): string[] {
  const dir = openDirectory(root, USUAL);
  if (isErrno(dir)) return [];
  try {
    const names = readdirSync(`/proc/self/fd/${dir}`);
    return names.flatMap((name) => {
      const id = idInDefaultName(name);
      if (id === undefined || alive.has(id)) return [];
      const stat = statAt(dir, Buffer.from(name));
      if (isErrno(stat)) return [];
      const path = `${USUAL}/${name}`;
      return removeAt(dir, Buffer.from(name), inodeOf(stat), path) ? [path] : [];
    });
  } finally {
    closeFd(dir);
  }
}
