/**
 * `cfs-checkpoint check`: checks that all files of a checkpoint are unchanged in a mount. The handle shows it: its
 * generation differs if type or content does. A checkpoint tool itself compares sizes at best.
 */
import { closeSync, constants, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ESTALE, isErrno } from '../base/errno.ts';
import { CfsError, reasonOf } from '../base/error.ts';
import { S_IFDIR, S_IFMT } from '../base/stat-bits.ts';
import { askMountAt } from '../mount-info/ask-mount-at.ts';
import { closeFd } from '../system/descriptors.ts';
import { openByHandle } from '../system/file-handle.ts';
import { errnoText, O_PATH } from '../system/libc.ts';
import { requireLastingHandles } from './lasting-handles.ts';
import { namesState } from './names.ts';
import { FILES_FILE, parseSavedFiles, type SavedFile, type SavedFiles } from './saved-files.ts';

export interface CheckedFile {
  readonly path: string;
  readonly uses: readonly string[];
  /** Undefined if the file is unchanged. */
  readonly problem: string | undefined;
}

/**
 * @param warn called if names of watched files may have been lost before the dump
 * @throws CfsError: `usage` if there is no such list or mount, or it has driver=fuse-native; `system` if handles cannot
 *   be opened
 */
export function check(directory: string, mount: string, warn: (line: string) => void): CheckedFile[] {
  const { files } = readList(join(directory, FILES_FILE));
  if (files.some(isWatched) && namesState(directory) === 'lost') warn(LOST);
  // another file system's inodes could have the same numbers
  requireLastingHandles(mount, askMountAt(mount).mount);
  const root = openSync(mount, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    return files.filter(isKept).map((file) => ({ path: file.path, uses: file.uses, problem: problemOf(root, file) }));
  } finally {
    closeSync(root);
  }
}

const LOST =
  'the names of watched files were not held until the dump was done: if memory was scarce, the restore cannot find them';

/** A directory that was removed, and got no new name, does not outlive its mount. */
const isKept = ({ unlinked }: SavedFile): boolean =>
  unlinked === undefined || unlinked.relinked !== undefined || (unlinked.mode & S_IFMT) !== S_IFDIR;

const isWatched = ({ uses }: SavedFile): boolean => uses.some((use) => / watch of fd \d+$/.test(use));

/** @throws CfsError (usage) */
export function readList(path: string): SavedFiles {
  try {
    return parseSavedFiles(readFileSync(path, 'utf8'), path);
  } catch (error) {
    if (error instanceof CfsError) throw error;
    throw new CfsError('usage', `Cannot read ${path}: ${reasonOf(error)}`, { cause: error });
  }
}

function problemOf(root: number, { handle, path }: SavedFile): string | undefined {
  const fd = openByHandle(root, handle, O_PATH);
  if (!isErrno(fd)) {
    closeFd(fd);
    return undefined;
  }
  if (fd === ESTALE) return 'changed, replaced or removed';
  throw new CfsError('system', `Cannot open the handle of ${path}: ${errnoText(fd)}`);
}
