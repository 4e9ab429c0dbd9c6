/** Tables for people. */
import { oneLine } from '../src/base/bytes.ts';

/**
 * Lines of columns that are as wide as their widest cell; the last one is as it is.
 * @param isPadded the last one, too: something follows
 */
export function formatTable(
  heads: readonly string[],
  rows: readonly (readonly string[])[],
  isPadded = false,
): string[] {
  const shown = rows.map((row) => row.map(oneLine));
  const widths = heads.map((head, i) => Math.max(head.length, ...shown.map((row) => (row[i] ?? '').length)));
  return [heads, ...shown].map((row) => {
    const cells = row.map((cell, i) => (i === row.length - 1 && !isPadded ? cell : cell.padEnd(widths[i] as number)));
    return isPadded ? cells.join('  ') : cells.join('  ').trimEnd();
  });
}
