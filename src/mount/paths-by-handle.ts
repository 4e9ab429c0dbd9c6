/** The paths that handles lead to on the file systems that are mounted now. */
import { closeSync, constants, fstatSync, openSync, readlinkSync, statSync } from 'node:fs';
import { isErrno } from '../base/errno.ts';
import type { FileHandle } from '../base/handle-format.ts';
import type { SavedSource } from '../mount-info/saved-sources.ts';
import { closeFd } from '../system/descriptors.ts';
import { openByHandle } from '../system/file-handle.ts';
import { fileSystemUuid, uuidText } from '../system/file-system-uuid.ts';
import { O_PATH } from '../system/libc.ts';
import { listMounts } from '../system/mount-table.ts';
import type { UuidMode } from './option-words.ts';

/** The uuid of the file system of a directory; undefined if it has none. */
export function fileSystemUuidAt(path: string): string | undefined {
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
 * The paths that the handle of a saved source leads to: on file systems with the saved uuid, or with `off` of the saved
 * type, as after a disk was copied and got a new uuid. None for users that may not open handles, and for a file without
 * a path known to the kernel.
 */
export function pathsByHandle(
  { fsType, fsUuid, dev }: Pick<SavedSource, 'fsType' | 'fsUuid' | 'dev'>,
  handle: FileHandle,
  uuid: UuidMode,
): Buffer[] {
  const paths: Buffer[] = [];
  for (const { type, mountpointBytes, device } of listMounts()) {
    if (type !== fsType) continue;
    if (uuid === 'on' && fsUuid === undefined && device !== dev) continue;
    const isRight = (root: number): boolean => uuid === 'off' || fsUuidOf(root) === fsUuid;
    const path = openThrough(Buffer.from(mountpointBytes), handle, isRight);
    if (path !== undefined && !paths.some((known) => known.equals(path))) paths.push(path);
  }
  return paths;
}

function openThrough(mountpoint: Buffer, handle: FileHandle, isRight: (root: number) => boolean): Buffer | undefined {
  let root: number;
  try {
    root = openSync(mountpoint, constants.O_RDONLY | constants.O_DIRECTORY);
  } catch {
    return undefined; // a file, or not accessible to this user
  }
  try {
    if (!isRight(root)) return undefined;
    const fd = openByHandle(root, handle, O_PATH);
    if (isErrno(fd)) return undefined;
    try {
      return pathOf(fd);
    } finally {
      closeFd(fd);
    }
  } finally {
    closeSync(root);
  }
}

/**
 * A path of the open file. The kernel's path may be another file's: through a bind mount, and for a file whose name it
 * does not know.
 */
function pathOf(fd: number): Buffer | undefined {
  try {
    const path = readlinkSync(`/proc/self/fd/${fd}`, { encoding: 'buffer' });
    const [open, named] = [fstatSync(fd, { bigint: true }), statSync(path, { bigint: true })];
    return open.dev === named.dev && open.ino === named.ino ? path : undefined;
  } catch {
    return undefined;
  }
}
