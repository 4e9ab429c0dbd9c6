/** The differences between two images in numbers, and the largest ones. No I/O. */
import { S_IFMT, S_IFREG } from '../base/stat-bits.ts';
import { type Aspect, type Change, diffTables } from '../manifest/diff/diff.ts';
import { type ManifestTables, u64 } from '../manifest/tables.ts';

/** One change. */
export interface ComparedEntry {
  readonly kind: Change['kind'];
  /** As bytes: the new path; of a removed entry the old one. */
  readonly path: Uint8Array;
  /** The old path, if it was renamed. */
  readonly from?: Uint8Array;
  /** The changes of the file; empty if it was added or removed. */
  readonly what: readonly Aspect[];
  /** The size of the file, as added, removed, or new minus old; 0 if it is no regular file. */
  readonly bytes: number;
}

export interface Amounts {
  readonly entries: number;
  /** Sizes of regular files; of changed and renamed ones new minus old. */
  readonly bytes: number;
}

/** The result of a comparison. */
export interface Comparison {
  readonly added: Amounts;
  readonly removed: Amounts;
  readonly changed: Amounts;
  readonly renamed: Amounts;
  /** In path order; those with the greatest sizes if there are more than the limit. */
  readonly lines: readonly ComparedEntry[];
}

/** @param limit the greatest number of lines */
export function compareTables(old: ManifestTables, now: ManifestTables, limit: number): Comparison {
  const counts = {
    added: { entries: 0, bytes: 0 },
    removed: { entries: 0, bytes: 0 },
    changed: { entries: 0, bytes: 0 },
    renamed: { entries: 0, bytes: 0 },
  };
  const lines: { readonly line: ComparedEntry; readonly at: number }[] = [];
  let at = 0;
  for (const change of diffTables(old, now)) {
    const before = 'old' in change ? sizeOf(old, change.old.row) : 0;
    const after = 'new' in change ? sizeOf(now, change.new.row) : 0;
    const count = counts[change.kind];
    count.entries++;
    count.bytes += change.kind === 'removed' ? before : after - before;
    lines.push({ line: lineOf(change, after - before), at: at++ });
    // only the largest ones are kept
    if (lines.length > 2 * limit + 1000) keepLargest(lines, limit);
  }
  keepLargest(lines, limit);
  lines.sort((a, b) => a.at - b.at);
  return { ...counts, lines: lines.map(({ line }) => line) };
}

function keepLargest(lines: { readonly line: ComparedEntry; readonly at: number }[], limit: number): void {
  if (lines.length <= limit) return;
  lines.sort((a, b) => Math.abs(b.line.bytes) - Math.abs(a.line.bytes) || a.at - b.at);
  lines.length = limit;
}

function lineOf(change: Change, bytes: number): ComparedEntry {
  const { kind } = change;
  if (kind === 'added') return { kind, path: change.new.path, what: [], bytes };
  if (kind === 'removed') return { kind, path: change.old.path, what: [], bytes };
  const { old, new: now, what } = change;
  return { kind, path: now.path, ...(kind === 'renamed' && { from: old.path }), what, bytes };
}

const sizeOf = (tables: ManifestTables, row: number): number =>
  ((tables.inodes.mode[row] as number) & S_IFMT) === S_IFREG ? u64(tables.inodes.size, row) : 0;
