/**
 * The table of identities after a rebase: a new one, because keys and numbers of changes are of one image. Rows keep
 * their numbers, by which the journal of backing ids has them.
 */

import { rowOfId } from '../../manifest/lookup.ts';
import type { ManifestTables } from '../../manifest/tables.ts';
import {
  DIRECTORY,
  type IdentityTable,
  INDEXED,
  METACOPY,
  NEW,
  OPAQUE,
  ORPHAN,
  UPPER,
} from '../../upper/identity-table.ts';
import { EXTRAS } from '../../upper/table-layout.ts';
import { newIdentity, OUTDATED, setLower } from '../layer-rows.ts';
import type { DroppedRow, KeptRow } from './rows.ts';

/**
 * Fills an empty table.
 * @param before the table of the mount, complete
 * @param tables of the new image, with the identities of the mount
 * @returns false if there is no room
 */
export function fillNextTable(
  before: IdentityTable,
  table: IdentityTable,
  tables: ManifestTables,
  kept: readonly KeptRow[],
  dropped: readonly DroppedRow[],
): boolean {
  const keptRows = new Map(kept.map((one) => [one.row, one]));
  const droppedRows = new Map(dropped.map((one) => [one.row, one]));
  const ids = { table: before, rowInImage: (id: number): number => rowOfId(tables, id) };
  const gaps: number[] = [];
  let next = 0;
  for (const row of before.rows()) {
    const flags = before.flags(row);
    const gone = droppedRows.get(row);
    const isOpen = before.opens(row) > 0;
    const isOfImage = (flags & UPPER) === 0 || gone !== undefined;
    const isForgotten = (flags & (ORPHAN | UPPER)) === ORPHAN;
    if (isForgotten || (isOfImage && !isOpen && gone?.isOutdated !== true)) continue;
    for (; next < row; next++) {
      const { id, generation } = newIdentity(ids);
      const gap = table.find(id) < 0 ? table.add(id, generation) : -1;
      if (gap < 0) return false;
      gaps.push(gap);
    }
    if (table.add(before.id(row), before.generation(row)) !== row) return false;
    next = row + 1;
    for (let i = 0; i < EXTRAS; i++) table.setExtra(row, i, before.extra(row, i));
    table.addOpens(row, before.opens(row));
    table.setBacking(row, before.backing(row));
    if (isOfImage) {
      table.setFlags(row, gone?.isOutdated === true ? OUTDATED : 0, 0);
      setLower(table, row, -1);
      continue;
    }
    table.setUpper(row, before.upperLow(row), before.upperHigh(row));
    for (const { parent, name } of before.names(row)) if (!table.addName(row, parent, name)) return false;
    const one = keptRows.get(row);
    const lower = one === undefined || one.lower === 0 ? -1 : rowOfId(tables, one.lower);
    const isMerged = (flags & DIRECTORY) !== 0 && lower >= 0;
    const isInImage = one?.isInImage === true;
    table.setFlags(row, (flags & ~(NEW | (isMerged ? OPAQUE : 0))) | (isInImage ? 0 : NEW), 0);
    // a file with data of its own may have one, too
    setLower(table, row, isMerged || (flags & (METACOPY | INDEXED)) !== 0 ? lower : -1);
  }
  for (const gap of gaps) table.remove(gap);
  return true;
}
