/** Makes the table of identities complete: only then it says which files of the image were moved. */
import { isErrno } from '../../base/errno.ts';
import { ROOT_INO } from '../../fs/filesystem.ts';
import { readDirectory } from '../../system/directory-listing.ts';
import { emptyFileStatus, statusAt } from '../../system/file-status.ts';
import { DIRECTORY } from '../../upper/identity-table.ts';
import { directoryOf } from '../directories.ts';
import { adopt, isWhiteoutEntry } from '../entries.ts';
import type { Layer } from '../layer.ts';
import { isCrowded } from '../orphans.ts';
import { forgetEarlier } from '../scan.ts';

const status = emptyFileStatus();

/**
 * Adopts all files of the upper layer, unless that was done before. The lock is free between two directories: files
 * that are made or moved meanwhile are in the table anyway.
 */
export function completeTable(layer: Layer): void {
  const { state } = layer;
  if (state.isComplete) return;
  let isWhole = true;
  const left = [ROOT_INO];
  for (let ino = left.pop(); ino !== undefined; ino = left.pop()) {
    const directory = ino;
    state.hold(() => {
      layer.tree.tidy();
      if (!adoptAll(layer, directory, left) || isCrowded(layer)) isWhole = false;
    });
  }
  if (!isWhole) return;
  state.hold(() => forgetEarlier(layer));
  state.setComplete(true);
}

/** Adopts the entries of a directory. @param below gets its directories */
function adoptAll(layer: Layer, ino: number, below: number[]): boolean {
  const { table } = layer;
  const directory = directoryOf(layer, ino);
  // it was removed meanwhile
  if (isErrno(directory) || directory.fd < 0) return true;
  const listed: Uint8Array[] = [];
  let isWhole = !isErrno(readDirectory(directory.fd, (name) => listed.push(name)));
  for (const name of listed) {
    if (statusAt(directory.fd, name, status) !== 0 || isWhiteoutEntry(layer, directory, name, status)) continue;
    const row = adopt(layer, directory, name, status);
    if (isErrno(row)) isWhole = false;
    else if ((table.flags(row) & DIRECTORY) !== 0) below.push(table.id(row));
  }
  return isWhole;
}
