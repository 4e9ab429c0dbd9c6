/**
 * The file of the table of identities, `work/cfs-ids` in W. It outlives the mount, if that ends in good order;
 * otherwise it is made anew, because it is a cache. If the disk has no room for it, the table is in memory: it then
 * outlives the server, and not the mount.
 */

import { randomFillSync } from 'node:crypto';
import { constants } from 'node:fs';
import { EOPNOTSUPP, type Errno, isErrno } from '../base/errno.ts';
import { closeFd, openAt } from '../system/descriptors.ts';
import { renameAt, unlinkAt } from '../system/directory-calls.ts';
import { fallocateFd, syncFd, truncateFd } from '../system/file-content-calls.ts';
import { emptyFileStatus, statusOf } from '../system/file-status.ts';
import { mapFile } from '../system/mapped-file.ts';
import { memfdCreate } from '../system/memfd.ts';
import { IdentityTable, type Reserve, scatteredBytes, tableBytes } from './identity-table.ts';
import { isSound } from './table-check.ts';
import { type SalvagedRow, salvageRows } from './table-salvage.ts';
import { TABLE_NAME } from './work-directory.ts';

/**
 * Inodes that the kernel may know at the same time, and those of the upper layer. Unused parts of the file are holes.
 */
const INODES = 2 ** 21;
const BYTES = tableBytes(INODES);
const NEXT_NAME: Uint8Array = Buffer.from('cfs-ids.next');
const OPEN = constants.O_RDWR | constants.O_NOFOLLOW;
const MAKE = OPEN | constants.O_CREAT | constants.O_EXCL;

/** An open table. */
export interface TableFile {
  readonly fd: number;
  readonly table: IdentityTable;
  /** Why a new table is not on the disk, although it should be. */
  readonly notKept?: Errno;
}

/**
 * Opens the table for a new mount, or makes it if there is none that can be used.
 * @param work W/work, an open directory, which this mount alone uses
 * @param key 32 bytes: the layers that the table is for
 */
export function openTable(work: number, key: Uint8Array): TableFile | Errno {
  const kept = keptTable(work, key);
  if (kept !== undefined) return kept;
  const made = makeTable(work, key);
  if (!isErrno(made)) return made;
  const inMemory = tableInMemory(key);
  return isErrno(inMemory) ? inMemory : { ...inMemory, notKept: made };
}

/** A table for one mount, which changes nothing on the disk. */
export function tableInMemory(key: Uint8Array): TableFile | Errno {
  const memory = memfdCreate('cfs-ids');
  return isErrno(memory) ? memory : newTable(memory, key, 0);
}

/** The table that an earlier server of the mount has left. */
export interface ResumedTable extends TableFile {
  /** What a damaged table still had: the table is a new one then, and the upper layer must be searched. */
  readonly salvaged?: readonly SalvagedRow[];
}

/**
 * The table of an earlier server of the mount, with its last change finished. One that is damaged, or was truncated, is
 * made anew in the same file, which the server after this one inherits, too. It is not for a later mount.
 */
export function resumeTable(fd: number): ResumedTable | Errno {
  const status = emptyFileStatus();
  const looked = statusOf(fd, status);
  if (isErrno(looked)) return looked;
  const isWhole = status.size >= BYTES;
  // a missing part would be a signal (SIGBUS)
  const completed = isWhole ? 0 : truncateFd(fd, BYTES);
  const memory = isErrno(completed) ? completed : mapFile(fd, BYTES);
  if (isErrno(memory)) return memory;
  const table = isWhole ? IdentityTable.open(memory, reserveIn(fd)) : undefined;
  if (table !== undefined && isSound(memory)) return { fd, table };
  const salvaged = salvageRows(memory, INODES);
  const emptied = truncateFd(fd, 0);
  if (isErrno(emptied)) return emptied;
  // a file without a name is in memory
  const made = tableIn(fd, randomFillSync(new Uint8Array(32)), status.nlink === 0 ? 0 : scatteredBytes(INODES));
  return isErrno(made) ? made : { fd, table: made, salvaged };
}

/**
 * Makes an empty table beside the one of the mount, which it replaces by `nameNextTable`; in memory if the disk has no
 * room for it.
 */
export function makeNextTable(work: number, key: Uint8Array): TableFile | Errno {
  unlinkAt(work, NEXT_NAME);
  const fd = openAt(work, NEXT_NAME, MAKE, 0o600);
  const made = isErrno(fd) ? fd : newTable(fd, key, scatteredBytes(INODES));
  if (!isErrno(made)) return made;
  unlinkAt(work, NEXT_NAME);
  return tableInMemory(key);
}

/** Without effect if that is in memory: the next mount makes a new one. */
export function nameNextTable(work: number): void {
  if (isErrno(renameAt(work, NEXT_NAME, work, TABLE_NAME, 0))) unlinkAt(work, TABLE_NAME);
}

/** The same table, for another thread. */
export function attachTable(fd: number): IdentityTable | undefined | Errno {
  const memory = mapFile(fd, BYTES);
  return isErrno(memory) ? memory : IdentityTable.attach(memory, reserveIn(fd));
}

/**
 * To be called before the first change of a mount: a table that is on the disk from then on is one to make anew.
 * @param isDurable also after a power failure
 */
export function beginChanges({ fd, table }: TableFile, isDurable: boolean): 0 | Errno {
  if (!table.isClean) return 0;
  table.setClean(false);
  return isDurable ? syncFd(fd, true) : 0;
}

/** To be called after the last change of a mount: the next one will use the table. */
export function endChanges({ fd, table }: TableFile): 0 | Errno {
  const synced = syncFd(fd, true);
  if (isErrno(synced)) return synced;
  table.setClean(true);
  return syncFd(fd, true);
}

function keptTable(work: number, key: Uint8Array): TableFile | undefined {
  const fd = openAt(work, TABLE_NAME, OPEN);
  if (isErrno(fd)) return undefined;
  const table = usableTable(fd, key);
  if (table !== undefined) return { fd, table };
  closeFd(fd);
  return undefined;
}

function usableTable(fd: number, key: Uint8Array): IdentityTable | undefined {
  const status = emptyFileStatus();
  if (isErrno(statusOf(fd, status)) || status.size !== BYTES) return undefined;
  const memory = mapFile(fd, BYTES);
  if (isErrno(memory)) return undefined;
  const found = IdentityTable.attach(memory);
  if (found?.isClean !== true || !Buffer.from(found.upperKey).equals(key)) return undefined;
  const table = IdentityTable.open(memory, reserveIn(fd));
  return table !== undefined && isSound(memory) ? table : undefined;
}

function makeTable(work: number, key: Uint8Array): TableFile | Errno {
  unlinkAt(work, TABLE_NAME);
  const fd = openAt(work, TABLE_NAME, MAKE, 0o600);
  const made = isErrno(fd) ? fd : newTable(fd, key, scatteredBytes(INODES));
  if (isErrno(made)) unlinkAt(work, TABLE_NAME);
  return made;
}

/**
 * Makes the table in an empty file; closes it if that is not possible.
 * @param reserved the first bytes, which must have room
 */
function newTable(fd: number, key: Uint8Array, reserved: number): TableFile | Errno {
  const made = tableIn(fd, key, reserved);
  if (!isErrno(made)) return { fd, table: made };
  closeFd(fd);
  return made;
}

function tableIn(fd: number, key: Uint8Array, reserved: number): IdentityTable | Errno {
  const truncated = truncateFd(fd, BYTES);
  if (isErrno(truncated)) return truncated;
  const hasRoom = reserved === 0 ? 0 : reserve(fd, 0, reserved);
  if (isErrno(hasRoom)) return hasRoom;
  const memory = mapFile(fd, BYTES);
  return isErrno(memory) ? memory : IdentityTable.create(memory, INODES, key, reserveIn(fd));
}

/** A file system without fallocate(2) is used all the same. */
function reserve(fd: number, offset: number, length: number): 0 | Errno {
  const result = fallocateFd(fd, 0, offset, length);
  return result === EOPNOTSUPP ? 0 : result;
}

const reserveIn =
  (fd: number): Reserve =>
  (offset, length) =>
    reserve(fd, offset, length) === 0;
