/**
 * Marks of what changes, in the table of identities: for `changes` since an earlier call. docs/changes.md says what
 * they promise. A mark is set before the change, so that a server that is killed in between has set it; and after it,
 * because the lock may have been free meanwhile, and a call may have begun.
 *
 * Content that the kernel writes by itself is not seen here. So a file that is open for writing, or that may be mapped,
 * counts as changing all the time; it is marked when that ends.
 */
import { isErrno } from '../base/errno.ts';
import type { Layer } from './layer.ts';
import { MAPPABLE, WRITTEN } from './layer-rows.ts';

/** Marks an inode, if it has a row: one without gets its mark with the row. */
export function markChanged({ table }: Layer, ino: number): void {
  const row = table.find(ino);
  if (row >= 0) table.markChanged(row);
}

/** Under the lock: makes a change of these inodes; of a directory, of its names. Without effect nothing is marked. */
export function changing<T>(layer: Layer, inodes: readonly number[], change: () => T): T {
  if (layer.settings.readOnly) return change();
  for (const ino of inodes) markChanged(layer, ino);
  const result = change();
  if (!isErrno(result as number)) for (const ino of inodes) markChanged(layer, ino);
  return result;
}

/** Under the lock: notes that a row's file is opened for writing. */
export function noteWritten({ table }: Layer, row: number): void {
  table.setFlags(row, WRITTEN, 0);
  table.markChanged(row);
}

/**
 * Under the lock: whether a row's content may change at any time. If it could and no longer can, the row is marked.
 * @param isForgotten the kernel has no inode any more, and so no mapping
 */
export function mayChange({ table, state }: Layer, row: number, isForgotten: boolean = false): boolean {
  const flags = table.flags(row);
  if ((flags & (WRITTEN | MAPPABLE)) === 0) return false;
  const isOpen = table.opens(row) > 0 || state.isOpening;
  if (isOpen || ((flags & MAPPABLE) !== 0 && !isForgotten)) {
    if (!isOpen && (flags & WRITTEN) !== 0) settle();
    return true;
  }
  settle();
  return false;

  function settle(): void {
    table.markChanged(row);
    table.setFlags(row, 0, WRITTEN);
  }
}
