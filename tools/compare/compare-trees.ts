#!/usr/bin/env node
import { oneLine } from '../../src/base/bytes.ts';
/** Compares two directory trees for a person: `make demo` compares a mount with its source. */
import { CfsError } from '../../src/base/error.ts';
import { EXIT, type ExitStatus, makeCommand, printJson, runTool } from '../cli.ts';
import { formatCounted } from '../format.ts';
import { COMPARED_FIELDS, type ComparedField, type CompareResult, compareTrees } from './compare.ts';

interface Options {
  readonly ignore?: ReadonlySet<ComparedField>;
  readonly skipNonUtf8: boolean;
  readonly json: boolean;
}

function parseFields(text: string): ReadonlySet<ComparedField> {
  const known: ReadonlySet<string> = new Set(COMPARED_FIELDS);
  const fields = text.split(',').map((field) => field.trim());
  for (const field of fields) {
    if (!known.has(field)) {
      throw new CfsError('usage', `--ignore knows no field "${field}"; there are ${COMPARED_FIELDS.join(', ')}`);
    }
  }
  return new Set(fields as ComparedField[]);
}

function summary(result: CompareResult): string {
  const what = [
    formatCounted(result.entries, 'entry', 'entries'),
    formatCounted(result.files, 'file', 'files'),
    formatCounted(result.bytes, 'byte', 'bytes'),
    ...(result.skipped > 0 ? [`${result.skipped} not UTF-8 and passed over`] : []),
  ].join(', ');
  const verdict =
    result.differenceCount === 0 ? 'equal' : formatCounted(result.differenceCount, 'difference', 'differences');
  return `${what}: ${verdict}`;
}

function table(result: CompareResult): string[] {
  const rows = result.differences.map(({ path, field, left, right }) => [field, left, right, path].map(oneLine));
  rows.unshift(['FIELD', 'LEFT', 'RIGHT', 'PATH']);
  // the path comes last and is never padded: it may be thousands of bytes long
  const widths = [0, 1, 2].map((i) => Math.min(40, Math.max(...rows.map((row) => (row[i] as string).length))));
  const lines = rows.map((row) => row.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join('  '));
  const rest = result.differenceCount - result.differences.length;
  return rest > 0 ? [...lines, `and ${rest} more`] : lines;
}

async function main(argv: readonly string[]): Promise<ExitStatus> {
  const command = makeCommand(
    'compare-trees',
    'Compare two directory trees: every field of every name, and every byte.',
    '  compare-trees /srv/rootfs /mnt/image\n  compare-trees --ignore nlink,mtimeNsec --skip-non-utf8 /srv/rootfs /mnt/image',
  )
    .argument('<left>', 'the reference tree, usually the source of an image')
    .argument('<right>', "the tree to compare, usually the image's mount")
    .option(
      '--ignore <fields>',
      `do not compare these, separated by commas: ${COMPARED_FIELDS.join(', ')}`,
      parseFields,
    )
    .option('--skip-non-utf8', 'skip names and link targets that are not UTF-8', false)
    .option('--json', 'print the result as one JSON object', false)
    .addHelpText('after', `\nExit status: ${EXIT.ok} if the trees are equal, ${EXIT.found} if they differ.`);
  command.parse(argv);
  const { ignore, skipNonUtf8, json } = command.opts<Options>();
  const [left, right] = command.args as [string, string];
  const result = compareTrees(left, right, { ...(ignore === undefined ? {} : { ignore }), skipNonUtf8 });
  if (json) printJson(result);
  else {
    if (result.differenceCount > 0) process.stdout.write(`${table(result).join('\n')}\n`);
    process.stdout.write(`${summary(result)}\n`);
  }
  return result.differenceCount === 0 ? EXIT.ok : EXIT.found;
}

await runTool('compare-trees', main);
