/** `cfs-info du`: the space of directories. */
import { statSync } from 'node:fs';
import { type Command, Option } from 'commander';
import { oneLine, printable } from '../../src/base/bytes.ts';
import { CfsError } from '../../src/base/error.ts';
import { jsonText } from '../../src/base/json-text.ts';
import {
  type DirectoryUsage,
  directoryUsage,
  listUsage,
  sharedObjects,
} from '../../src/manifest/diff/directory-usage.ts';
import { isDirectory } from '../../src/manifest/lookup.ts';
import type { ManifestTables } from '../../src/manifest/tables.ts';
import { type ExitStatus, integerOption, printError } from '../cli.ts';
import { type ColorWhen, colorOption, painter } from '../color.ts';
import { formatBytes, formatCount } from '../format.ts';
import { formatTable } from '../table.ts';
import { usageBar } from '../usage-bar.ts';
import { writeNcdu } from './ncdu.ts';
import { tryEach } from './operands.ts';
import type { Output } from './output.ts';
import { findPath, type ImagePath, type NamedTables } from './paths.ts';
import { readImage } from './read-image.ts';

export interface DuOptions {
  readonly maxDepth: number;
  readonly ncdu?: boolean;
  readonly color: ColorWhen;
  readonly json?: boolean;
}

const DEEPEST = 1_000_000;

const HELP = `
  total   the different contents at and below the directory, each counted once
  unique  of these, contents that no file outside of it has: neither in its image, nor in another IMAGE
  shared  the others: total = unique + shared
Sizes are those of contents, without metadata. The last operand is a PATH if this machine has no file of that name.
--ncdu writes every file with its size: equal contents count for each file, hard links once.`;

export function addDu(program: Command, out: Output, setStatus: (status: ExitStatus) => void): void {
  program
    .command('du')
    .description('show the space of a directory, or of the whole image, and of the directories in it')
    .argument('<image...>')
    .usage('[options] <image...> [path]')
    .option(
      '-d, --max-depth <N>',
      'show directories to this depth below it',
      integerOption('--max-depth', 0, DEEPEST),
      1,
    )
    .addOption(
      new Option('--ncdu', "every file as 'ncdu -f' reads them, of one image").conflicts(['json', 'maxDepth', 'color']),
    )
    .addOption(colorOption())
    .option('--json', 'one JSON value on standard output')
    .addHelpText('after', HELP)
    .action((words: string[], options: DuOptions) => setStatus(du(words, options, out)));
}

function du(
  words: readonly string[],
  { maxDepth, ncdu = false, color, json = false }: DuOptions,
  out: Output,
): ExitStatus {
  const last = words.at(-1) as string;
  const path = words.length > 1 && !isFile(last) ? last : undefined;
  const images = path === undefined ? words : words.slice(0, -1);
  if (ncdu && images.length > 1) throw new CfsError('usage', '--ncdu takes one image');
  const read = images.map((name): NamedTables => ({ name, tables: readImage(name).tables }));
  noteHashes(read);
  const shared = sharedObjects(read.map(({ tables }) => tables));
  const found: Found[] = [];
  let answered = 0;
  const status = tryEach(images, json, out, (name) => {
    const i = answered++;
    const { tables } = read[i] as NamedTables;
    const start = directoryAt(tables, name, path);
    if (ncdu) {
      writeNcdu(tables, start, out);
      return;
    }
    const sums = directoryUsage(tables, shared[i] as Uint8Array);
    for (const usage of listUsage(tables, sums, start.row, start.path, maxDepth)) {
      if (json) out.jsonElement(jsonOf(name, usage));
      else found.push({ ...usage, image: name });
    }
  });
  if (json) out.jsonEnd();
  else if (!ncdu && found.length > 0) writeTable(found, images.length === 1, color, out);
  return status;
}

const isFile = (word: string): boolean => statSync(word, { throwIfNoEntry: false })?.isFile() === true;

function noteHashes(images: readonly NamedTables[]): void {
  const [first, ...others] = images;
  const other = others.find(({ tables }) => tables.header.hash !== first?.tables.header.hash);
  if (first === undefined || other === undefined) return;
  const [a, b] = [first.tables.header.hash, other.tables.header.hash];
  printError('cfs-info', `${first.name} names contents by ${a} and ${other.name} by ${b}: they share nothing`);
}

function directoryAt(tables: ManifestTables, image: string, path = '/'): ImagePath {
  const start = findPath(tables, image, path);
  if (isDirectory(tables, start.row)) return start;
  throw new CfsError(
    'usage',
    `${printable(start.path)} in image ${image} is not a directory; 'cfs-info stat' shows it`,
  );
}

function jsonOf(image: string, { path, depth, entries, files, size, total, unique }: DirectoryUsage): object {
  const { text, base64 } = jsonText(path);
  const shared = total - unique;
  return { image, path: text, pathBase64: base64, depth, entries, files, size, total, unique, shared };
}

/** A directory, and the image that has it. */
interface Found extends DirectoryUsage {
  readonly image: string;
}

function writeTable(found: readonly Found[], isOne: boolean, color: ColorWhen, out: Output): void {
  const largest = Math.max(0, ...found.filter(({ depth }) => depth === 0).map(({ total }) => total));
  const heads = ['files', 'total', 'unique', 'shared'];
  const cells = found.map(({ files, total, unique }) => [
    formatCount(files),
    ...[total, unique, total - unique].map(formatBytes),
  ]);
  const names = found.map(({ image, path }) => `${isOne ? '' : `${oneLine(image)}:`}${printable(path)}`);
  const [head = '', ...lines] = formatTable(heads, cells, true);
  const bar = usageBar(head.length, longest(names), painter(color));
  out.text(`${head}  ${bar?.head ?? ''}path\n`);
  for (const [i, line] of lines.entries()) {
    const { total, unique } = found[i] as Found;
    out.text(`${line}  ${bar?.draw(unique, total, largest) ?? ''}${names[i]}\n`);
  }
}

const longest = (names: readonly string[]): number => names.reduce((most, { length }) => Math.max(most, length), 0);
