/** The first steps of a new mount: the table of identities, if there is one, is of an earlier mount. */
import { isErrno } from '../base/errno.ts';
import { S_IFDIR } from '../base/stat-bits.ts';
import { ROOT_INO } from '../fs/filesystem.ts';
import { emptyFileStatus, statusOf } from '../system/file-status.ts';
import { systemError } from '../system/libc.ts';
import { emptyDirectory } from '../upper/empty-directory.ts';
import { DIRECTORY, OPAQUE, UPPER } from '../upper/identity-table.ts';
import { mayChange } from './change-marks.ts';
import { flagsOf } from './entries.ts';
import { notedInode, restoreFilled } from './fill-notes.ts';
import type { Layer } from './layer.ts';
import { EARLIER, FORGOTTEN, LABELED, LINKABLE, MAPPABLE, SEEN, setFile, setLower } from './layer-rows.ts';
import { readLayerXattrs } from './layer-xattrs.ts';
import { hasLabel } from './metadata.ts';
import { adoptIndex } from './scan.ts';
import { dropUnfinishedClaims } from './unfinished-claims.ts';

const EMPTY: Uint8Array = Uint8Array.of();

/** Removes what an earlier mount has left, and adopts the root and the index. Nothing is open. */
export function beginLayer(layer: Layer): void {
  const { table, directories } = layer;
  if (directories.orphans >= 0) emptyDirectory(directories.orphans, (name) => notedInode(name) >= 0);
  const rows = [...table.rows()];
  for (const row of rows) {
    const isGone = (table.flags(row) & UPPER) === 0 || (table.nameCount(row) === 0 && table.id(row) !== ROOT_INO);
    if (isGone) table.remove(row);
    else {
      mayChange(layer, row, true);
      // the files may have been changed between two mounts
      table.setFlags(row, EARLIER, SEEN | FORGOTTEN | LINKABLE | MAPPABLE);
    }
  }
  adoptRoot(layer);
  const adopted = adoptIndex(layer);
  // without it, a link that was changed would show the content of the image
  if (isErrno(adopted)) throw systemError(adopted, 'read', 'the index of hard links');
  restoreFilled(layer);
  dropUnfinishedClaims(layer);
}

/** The root has a row in each table. */
export function adoptRoot(layer: Layer): void {
  const { table, tables, directories } = layer;
  const status = emptyFileStatus();
  statusOf(directories.upper, status);
  const known = table.find(ROOT_INO);
  const row = known >= 0 ? known : table.add(ROOT_INO, tables.inodes.generation[0] as number);
  setFile(table, row, status);
  setLower(table, row, 0);
  const xattrs = readLayerXattrs(layer.names, directories.upper, EMPTY, S_IFDIR);
  // the root is merged in any case
  const flags = isErrno(xattrs) ? UPPER | DIRECTORY : flagsOf(layer, S_IFDIR, xattrs, true);
  const labels = hasLabel(directories.upper) ? LABELED : 0;
  table.setFlags(row, (flags & ~OPAQUE) | labels, OPAQUE | EARLIER);
}
