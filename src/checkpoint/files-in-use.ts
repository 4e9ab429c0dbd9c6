/** The files of a mount that processes use, with the kind of use; each file is named by its handle. */

import { type BigIntStats, readdirSync, readFileSync, statSync } from 'node:fs';
import { isErrno } from '../base/errno.ts';
import { type FileHandle, formatHandle } from '../base/handle-format.ts';
import { makeDevice } from '../base/stat-bits.ts';
import { nameToHandle } from '../system/file-handle.ts';
import { AT_SYMLINK_FOLLOW } from '../system/libc.ts';
import { parseWatches } from './watches.ts';

export interface UsedFile {
  readonly handle: FileHandle;
  /** "cwd", "exe", "root", "fd 3", "mapping", "inotify watch of fd 4": each prefixed by the process. */
  readonly uses: readonly string[];
  /** Whether it is watched. */
  readonly isWatched: boolean;
}

/**
 * The files of the file system with this st_dev that the processes use.
 * @param pids processes that may end during the scan: files that cannot be read are left out
 */
export function filesInUse(pids: readonly number[], dev: bigint): UsedFile[] {
  const found = new Map<string, { handle: FileHandle; uses: string[]; isWatched: boolean }>();
  const add = (handle: FileHandle, use: string, isWatched: boolean): void => {
    const key = formatHandle(handle);
    const file = found.get(key) ?? { handle, uses: [], isWatched: false };
    found.set(key, file);
    if (!file.uses.includes(use)) file.uses.push(use);
    file.isWatched ||= isWatched;
  };
  for (const pid of pids) {
    for (const { path, use } of placesOf(pid)) {
      const handle = handleAt(path, dev);
      if (handle !== undefined) add(handle, `${pid} ${use}`, false);
    }
    for (const fd of listing(`/proc/${pid}/fdinfo`)) {
      for (const { kind, device, handle } of parseWatches(textOf(`/proc/${pid}/fdinfo/${fd}`))) {
        if (makeDevice(device) === dev) add(handle, `${pid} ${kind} watch of fd ${fd}`, true);
      }
    }
  }
  return [...found.values()];
}

function handleAt(path: string, dev: bigint): FileHandle | undefined {
  let stat: BigIntStats;
  try {
    stat = statSync(path, { bigint: true });
  } catch {
    return undefined; // closed in the meantime, or not a file of any file system
  }
  if (stat.dev !== dev) return undefined;
  const found = nameToHandle(path, AT_SYMLINK_FOLLOW);
  return isErrno(found) ? undefined : found.handle;
}

/** Links in /proc to the files that a process uses. */
function placesOf(pid: number): { path: string; use: string }[] {
  const process = `/proc/${pid}`;
  return [
    ...['cwd', 'root', 'exe'].map((use) => ({ path: `${process}/${use}`, use })),
    ...listing(`${process}/fd`).map((fd) => ({ path: `${process}/fd/${fd}`, use: `fd ${fd}` })),
    ...listing(`${process}/map_files`).map((range) => ({ path: `${process}/map_files/${range}`, use: 'mapping' })),
  ];
}

function listing(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}

function textOf(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return '';
  }
}
