/**
 * What can be read from a damaged table of identities that is nowhere else: the files that the kernel has open, and the
 * numbers of those that it reads and writes itself. While an inode is open, the kernel accepts no other number for it.
 */
import { ORPHAN } from './row-fields.ts';
import {
  BACKING,
  FLAGS,
  GENERATION,
  ID_HIGH,
  ID_LOW,
  LIVE,
  layoutOf,
  OPENS,
  PARENT_HIGH,
  ROW_WORDS,
  ROWS_USED,
} from './table-layout.ts';

/** A row of the damaged table. */
export interface SalvagedRow {
  readonly id: number;
  readonly generation: number;
  /** Whether it had no name. */
  readonly isOrphan: boolean;
  readonly opens: number;
  readonly backing: number;
}

const TWO_TO_32 = 0x1_0000_0000;

/**
 * The rows that look right and say something of the kernel's state. Of two with one id, the first counts.
 * @param memory all bytes of the file, those that are missing as 0
 * @param inodes the capacity that the table was made with
 */
export function salvageRows(memory: ArrayBufferLike, inodes: number): SalvagedRow[] {
  const { rowsAt, words: length } = layoutOf(inodes);
  const words = new Int32Array(memory, 0, Math.min(length, Math.floor(memory.byteLength / 4)));
  const said = words[ROWS_USED] as number;
  const used = said > 0 && said <= inodes ? said : inodes;
  const found = new Map<number, SalvagedRow>();
  for (let at = rowsAt; at < Math.min(rowsAt + used * ROW_WORDS, words.length - ROW_WORDS); at += ROW_WORDS) {
    const flags = words[at + FLAGS] as number;
    const high = words[at + ID_HIGH] as number;
    if ((flags & LIVE) === 0 || high < 0 || high > PARENT_HIGH) continue;
    const id = high * TWO_TO_32 + ((words[at + ID_LOW] as number) >>> 0);
    const row = {
      id,
      generation: (words[at + GENERATION] as number) >>> 0,
      isOrphan: (flags & ORPHAN) !== 0,
      opens: Math.max(words[at + OPENS] as number, 0),
      backing: words[at + BACKING] as number,
    };
    if (id > 1 && !found.has(id) && (row.isOrphan || row.opens > 0 || row.backing !== 0)) found.set(id, row);
  }
  return [...found.values()];
}
