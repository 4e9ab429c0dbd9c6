/** Whether names of the image are seen in the mount. */
import { ENOENT, type Errno, isErrno } from '../base/errno.ts';
import { ROOT_INO } from '../fs/filesystem.ts';
import { directoryOfDirent, direntName } from '../manifest/lookup.ts';
import { emptyFileStatus, type FileStatus, statusAt } from '../system/file-status.ts';
import { ORPHAN, UPPER } from '../upper/identity-table.ts';
import { type Directory, directoryOf, isDirectoryMode } from './directories.ts';
import { entryOf } from './entries.ts';
import type { Layer } from './layer.ts';
import { lowerOf } from './layer-rows.ts';
import { readLayerXattrs } from './layer-xattrs.ts';
import { isPassing } from './passing-errors.ts';

const status: FileStatus = emptyFileStatus();
/** Names that are being looked for, by this thread: adopting a directory on the way may ask for them again. */
const sought = new Set<number>();

/** As `Layer.isShown`. */
export function isShownAt(layer: Layer, dirent: number): boolean | Errno {
  if (sought.has(dirent)) return false;
  sought.add(dirent);
  try {
    const directory = directoryWith(layer, dirent);
    if (isErrno(directory) || directory === undefined) return directory ?? false;
    return isAtItsPlace(layer, directory, dirent);
  } finally {
    sought.delete(dirent);
  }
}

/** The directory in which a name of the image is seen; undefined if it is hidden. */
function directoryWith(layer: Layer, dirent: number): Directory | Errno | undefined {
  const { tables, imageNames } = layer;
  const path: number[] = [];
  for (let at = directoryOfDirent(tables, dirent); at !== 0; at = directoryOfDirent(tables, path[0] as number)) {
    path.unshift(imageNames.direntOf(at));
  }
  let directory = directoryOf(layer, ROOT_INO);
  for (const step of path) {
    if (isErrno(directory)) break;
    const lower = tables.dirents.inode[step] as number;
    const id = layer.idOf(lower);
    const entry = entryOf(layer, directory, direntName(tables, step));
    if (isErrno(entry) && isPassing(entry)) return entry;
    // it may have another name
    if ((isErrno(entry) || entry.ino !== id) && !isElsewhere(layer, id, lower)) return undefined;
    directory = directoryOf(layer, id);
    if (!isErrno(directory) && directory.lower !== lower) return undefined;
  }
  return isErrno(directory) && !isPassing(directory) ? undefined : directory;
}

/** Whether a directory of the upper layer is known that is merged with one of the image. */
function isElsewhere(layer: Layer, id: number, lower: number): boolean {
  const { table } = layer;
  layer.confirm(id, false);
  const row = table.find(id);
  return row >= 0 && (table.flags(row) & (UPPER | ORPHAN)) === UPPER && lowerOf(table, row) === lower;
}

/** Whether the inode of a name is seen there, or its copy: a file that was copied to it by hand is none. */
function isAtItsPlace(layer: Layer, { fd }: Directory, dirent: number): boolean | Errno {
  const { tables, names } = layer;
  const name = direntName(tables, dirent);
  const lower = tables.dirents.inode[dirent] as number;
  const looked = fd < 0 ? ENOENT : statusAt(fd, name, status);
  if (isErrno(looked)) return looked === ENOENT ? true : isPassing(looked) && looked;
  const { mode } = status;
  const xattrs = readLayerXattrs(names, fd, name, mode);
  if (isErrno(xattrs)) return isPassing(xattrs) && xattrs;
  const { origin, own, opacity, redirect } = xattrs;
  if (isDirectoryMode(mode)) {
    return isDirectoryMode(tables.inodes.mode[lower] as number) && opacity !== 'opaque' && redirect === undefined;
  }
  return own === undefined && origin !== undefined && 'id' in origin && origin.id === layer.idOf(lower);
}
