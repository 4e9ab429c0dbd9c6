/** The lines of changes, which several commands print. */
import { printable } from '../../src/base/bytes.ts';
import type { Change } from '../../src/manifest/diff/diff.ts';
import type { Color, Paint } from '../color.ts';
import { formatCount } from '../format.ts';

export const LETTERS = { added: 'A', removed: 'D', changed: 'M', renamed: 'R' } as const;

export const LETTER_COLORS: Readonly<Record<Change['kind'], Color>> = {
  added: 'green',
  removed: 'red',
  changed: 'yellow',
  renamed: 'cyan',
};

export function lineOf(change: Change, paint: Paint): string {
  const { kind } = change;
  const color = LETTER_COLORS[kind];
  switch (kind) {
    case 'added':
      return `${paint(color, `${LETTERS[kind]} ${printable(change.new.path)}`)}\n`;
    case 'removed':
      return `${paint(color, `${LETTERS[kind]} ${printable(change.old.path)}`)}\n`;
    case 'changed':
      return `${paint(color, LETTERS[kind])} ${printable(change.new.path)}  ${change.what.join(',')}\n`;
    case 'renamed': {
      const notes = noteList(change);
      const paths = `${printable(change.old.path)} -> ${printable(change.new.path)}`;
      return `${paint(color, LETTERS[kind])} ${paths}${notes.length > 0 ? `  ${notes.join(' ')}` : ''}\n`;
    }
  }
}

function noteList(change: Change & { readonly kind: 'renamed' }): string[] {
  return [
    ...(change.what.length > 0 ? [change.what.join(',')] : []),
    ...(change.below > 0 ? [`(${formatCount(change.below)} below)`] : []),
  ];
}

/** What a line of a tree has behind the name. */
export function notesOf(change: Change): string {
  if (change.kind === 'changed') return change.what.join(',');
  if (change.kind !== 'renamed') return '';
  return [`from ${printable(change.old.path)}`, ...noteList(change)].join('  ');
}
