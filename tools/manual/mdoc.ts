/** Words and paragraphs in mdoc(7), the language of manual pages. Pure. */

/** Text on a line of its own: no character of it has a meaning, and it begins no macro. */
export function escaped(text: string): string {
  const plain = text.replace(/\\/g, '\\e').replace(/…/g, '...').replace(/[–—]/g, '\\(en').replace(/→/g, '->');
  return /^[.']/.test(plain) ? `\\&${plain}` : plain;
}

/** One argument of a macro: quoted if it has blanks, and not taken for another macro. */
export function argument(text: string): string {
  const plain = escaped(text).replace(/"/g, '\\(dq');
  if (/\s/.test(plain)) return `"${plain}"`;
  // names of macros have two letters, or three, the last of which is small; delimiters are one character
  return /^[A-Z%][a-zA-Z][a-z1]?$|^[.,:;()[\]?!|]$/.test(plain) ? `\\&${plain}` : plain;
}

/** Longer lines are a matter of style for `mandoc -Tlint`. */
const COLUMNS = 78;

/** A paragraph: each sentence begins a line. */
export const paragraph = (text: string): string[] =>
  text
    .replace(/\s*\n\s*/g, ' ')
    .trim()
    .split(/(?<=[A-Za-z0-9)"'`][.:]) +(?=[A-Z])/)
    .filter((sentence) => sentence !== '')
    .flatMap(folded)
    .map(escaped);

function folded(text: string): string[] {
  const lines: string[] = [];
  for (const word of text.split(/ +/)) {
    const last = lines.at(-1);
    if (last === undefined || last.length + word.length + 1 > COLUMNS) lines.push(word);
    else lines[lines.length - 1] = `${last} ${word}`;
  }
  return lines;
}

/** Lines as they are. */
export const literal = (lines: readonly string[]): string[] => [
  '.Bd -literal -compact',
  ...lines.map((line) => (line === '' ? '.Pp' : escaped(line))),
  '.Ed',
];

export interface Item {
  /** The line of `.It`, in mdoc. */
  readonly head: string;
  readonly body: readonly string[];
}

export function list(items: readonly Item[]): string[] {
  if (items.length === 0) return [];
  return ['.Bl -tag -width Ds', ...items.flatMap(({ head, body }) => [`.It ${head}`, ...body]), '.El'];
}

/** Markdown of a paragraph or cell: code, bold and links. */
export function ofMarkdown(text: string): string[] {
  const parts = text
    .replace(/\[([^\]]+)\]\([^)]+\)/g, '$1')
    .replace(/\*\*([^*]+)\*\*/g, '$1')
    .split(/(`[^`]+`)/);
  return paragraph(parts.map((part) => (part.startsWith('`') ? part.slice(1, -1) : part)).join(''));
}

/** Operands and options of a synopsis, as commander writes them: `[options] IMAGE [PATH...]`, `--from <FILE>`. */
export function synopsis(usage: string): string {
  const tokens = usage.replace(/[<>]/g, '').match(/\[|\]|[^\s[\]]+/g) ?? [];
  const words = tokens.map((token) => {
    if (token === '[') return 'Oo';
    if (token === ']') return 'Oc';
    if (token.startsWith('-')) return `Fl ${token.slice(1)}`;
    if (token === '…' || token === '...') return 'No ...';
    const isRepeated = token.endsWith('...');
    return `Ar ${argument(isRepeated ? token.slice(0, -3) : token)}${isRepeated ? ' ...' : ''}`;
  });
  return words.join(' ');
}
