/** Pieces of Markdown as GitHub reads it. No I/O. */

/** Text that is only text in a table. */
export const escapeMarkdown = (text: string): string => text.replace(/[\\|<>*_`[\]]/g, '\\$&').replace(/\s+/g, ' ');

/** A table whose first `left` columns are to the left, the others to the right. Cells are Markdown. */
export function markdownTable(head: readonly string[], rows: readonly (readonly string[])[], left = 1): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  const rule = head.map((_, i) => (i < left ? '---' : '---:'));
  return [line(head), line(rule), ...rows.map(line)].join('\n');
}

export const markdownList = (lines: readonly string[]): string =>
  lines.map((line) => `- ${escapeMarkdown(line)}`).join('\n');
