/** Colours on terminals: `--color`, and NO_COLOR (https://no-color.org). */
import { Option } from 'commander';
import { CfsError } from '../src/base/error.ts';
import { configured } from '../src/system/config-files.ts';

export type ColorWhen = 'auto' | 'always' | 'never';

const WHEN: readonly ColorWhen[] = ['auto', 'always', 'never'];

/** The option of commands that colour their output. */
export const colorOption = (): Option =>
  new Option('--color <WHEN>', 'colours: auto (on a terminal, unless NO_COLOR is set), always, never')
    .choices(WHEN)
    .argParser(colorWhen)
    .default('auto');

function colorWhen(word: string): ColorWhen {
  const when = WHEN.find((known) => known === word);
  if (when === undefined) throw new CfsError('usage', `--color takes ${WHEN.join(', ')}, not "${word}"`);
  return when;
}

/** Parameters of SGR, which ends with 39 or 22. */
const CODES = { red: 31, green: 32, yellow: 33, blue: 34, cyan: 36, bold: 1, dim: 2 } as const;

export type Color = keyof typeof CODES;

/** Puts a colour around text. */
export type Paint = (color: Color, text: string) => string;

const plain: Paint = (_, text) => text;

const colored: Paint = (color, text) => {
  if (text === '') return '';
  const code = CODES[color];
  return `\x1b[${code}m${text}\x1b[${code < 10 ? 22 : 39}m`;
};

/** For standard output. */
export function painter(
  when: ColorWhen,
  isTerminal: boolean = process.stdout.isTTY === true,
  environment: Readonly<Record<string, string | undefined>> = process.env,
): Paint {
  if (when !== 'auto') return when === 'always' ? colored : plain;
  const isAllowed = (environment['NO_COLOR'] ?? '') === '';
  const wanted = isAllowed ? configured('color')?.value : undefined;
  if (wanted === 'always' || wanted === 'never') return wanted === 'always' ? colored : plain;
  const isWanted = isAllowed && environment['TERM'] !== 'dumb';
  return isTerminal && isWanted ? colored : plain;
}
