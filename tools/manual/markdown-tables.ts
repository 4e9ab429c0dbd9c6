/** The tables in the documents that manual pages repeat. Pure. */

/** The cells of each row of the first table in `text` whose head begins with `head`, without head and rule. */
export function rowsOf(text: string, head: string): string[][] {
  const lines = text.split('\n');
  const at = lines.findIndex((line) => line.startsWith(`| ${head} |`));
  if (at < 0) throw new Error(`there is no table with the head "${head}"`);
  const rest = lines.slice(at + 2);
  const end = rest.findIndex((line) => !line.startsWith('|'));
  return rest.slice(0, end < 0 ? rest.length : end).map((line) =>
    line
      .slice(1, -1)
      .split(/(?<!\\)\|/)
      .map((cell) => cell.trim().replace(/\\\|/g, '|')),
  );
}
