/**
 * Filling a new table of identities for a server that takes over, because that of the last one was damaged. The upper
 * layer has nearly all: ids in xattrs, and files without a name among the orphans, which are named by their ids. Only
 * the damaged table had what the kernel has open. With `userxattr`, symbolic links and devices have their ids in the
 * table alone: the kernel gets ESTALE for the old ones, and looks the names up again.
 */
import { ENOSPC, type Errno, isErrno } from '../base/errno.ts';
import type { InodeIdentity } from '../base/handle-format.ts';
import { readDirectory } from '../system/directory-listing.ts';
import { emptyFileStatus, statusAt } from '../system/file-status.ts';
import { systemError } from '../system/libc.ts';
import { DIRECTORY, ORPHAN, UPPER } from '../upper/identity-table.ts';
import type { SalvagedRow } from '../upper/table-salvage.ts';
import { adoptRoot } from './begin-layer.ts';
import { flagsOf } from './entries.ts';
import type { Layer } from './layer.ts';
import { MAPPABLE, setFile, setLower, WRITTEN } from './layer-rows.ts';
import { readLayerXattrs } from './layer-xattrs.ts';
import type { LayerOpenTable } from './open-table.ts';
import { adoptAll, adoptIndex } from './scan.ts';
import { parseOrphanName } from './upper-tree.ts';

const status = emptyFileStatus();

/** Under the lock, before the first request. @param salvaged rows of the damaged table */
export function rebuildTable(layer: Layer, openTable: LayerOpenTable, salvaged: readonly SalvagedRow[]): void {
  const { table, tables } = layer;
  adoptRoot(layer);
  const adopted = adoptIndex(layer);
  if (isErrno(adopted)) throw systemError(adopted, 'read', 'the index of hard links');
  adoptAll(layer);
  const known = new Map(salvaged.map((row) => [row.id, row]));
  const orphans = adoptOrphans(layer, known);
  // those that are missing would be removed
  if (isErrno(orphans)) throw systemError(orphans, 'read', 'the files without names');
  for (const { id, isOrphan, opens, backing } of salvaged) {
    const lower = layer.rowInImage(id);
    let row = table.find(id);
    if (row < 0 && lower >= 0) row = table.add(id, tables.inodes.generation[lower] as number);
    if (row < 0) continue;
    table.addOpens(row, opens);
    openTable.setBacking(row, backing);
    if (isOrphan && (table.flags(row) & UPPER) === 0) table.setFlags(row, ORPHAN, 0);
  }
  // which files are open for writing, or mapped, was in the damaged table alone
  for (const row of table.rows()) {
    if ((table.flags(row) & (UPPER | DIRECTORY)) === UPPER) table.setFlags(row, WRITTEN | MAPPABLE, 0);
  }
}

/** Files among the orphans that have no other name. */
function adoptOrphans(layer: Layer, salvaged: ReadonlyMap<number, InodeIdentity>): 0 | Errno {
  const { directories, table, tables, names } = layer;
  if (directories.orphans < 0) return 0;
  let missed: 0 | Errno = 0;
  const listed = readDirectory(directories.orphans, (name) => {
    const id = parseOrphanName(name);
    if (id < 0 || table.find(id) >= 0) return;
    const looked = statusAt(directories.orphans, name, status);
    if (isErrno(looked)) {
      missed = looked;
      return;
    }
    if (table.findUpper(status.inoLow, status.inoHigh) >= 0) return;
    const xattrs = readLayerXattrs(names, directories.orphans, name, status.mode);
    if (isErrno(xattrs)) {
      missed = xattrs;
      return;
    }
    const lower = layer.rowInImage(id);
    const { own, origin } = xattrs;
    const ofImage = lower < 0 ? undefined : { id, generation: tables.inodes.generation[lower] as number };
    const candidates = [ofImage, own, origin !== undefined && 'id' in origin ? origin : undefined, salvaged.get(id)];
    const identity = candidates.find((one) => one?.id === id);
    if (identity === undefined) return;
    const row = table.add(id, identity.generation);
    if (row < 0) {
      missed = ENOSPC;
      return;
    }
    setFile(table, row, status);
    setLower(table, row, lower);
    table.setFlags(row, flagsOf(layer, status.mode, xattrs, lower >= 0) | ORPHAN, 0);
  });
  return isErrno(listed) ? listed : missed;
}
