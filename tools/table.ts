/** Tables for people. */
import { oneLine } from '../src/base/bytes.ts';

/** Lines of columns that are as wide as their widest cell; the last one is as it is. */
export function formatTable(heads: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const shown = rows.map((row) => row.map(oneLine));
  const widths = heads.map((head, i) => Math.max(head.length, ...shown.map((row) => (row[i] ?? '').length)));
  return [heads, ...shown].map((row) =>
    row
      .map((cell, i) => (i === row.length - 1 ? cell : cell.padEnd(widths[i] as number)))
      .join('  ')
      .trimEnd(),
  );
}
