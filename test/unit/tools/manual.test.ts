/** Manual pages and completions from the definition of a command line. */
import { Command, Option } from 'commander';
import { describe, expect, test } from 'vitest';
import { definitionOf } from '../../../tools/definition.ts';
import { bashCompletion } from '../../../tools/manual/bash.ts';
import { completionsOf } from '../../../tools/manual/completion.ts';
import { fishCompletion } from '../../../tools/manual/fish.ts';
import { rowsOf } from '../../../tools/manual/markdown-tables.ts';
import { argument, escaped, ofMarkdown, paragraph, synopsis } from '../../../tools/manual/mdoc.ts';
import { toolPage } from '../../../tools/manual/page.ts';
import { zshCompletion } from '../../../tools/manual/zsh.ts';

const program = new Command('cfs-show')
  .description('Shows images. Changes nothing.')
  .option('-n, --dry-run', "don't [really] do it", false);
program
  .command('ls')
  .description('list a directory')
  .argument('<image>')
  .argument('[path...]')
  .option('--json', 'as JSON')
  .addOption(new Option('--hash <NAME>', 'how objects are named').choices(['blake3', 'sha256']))
  .addOption(new Option('--secret').hideHelp())
  .addHelpText('after', '\nOne sentence. Another one.\n  A   added\n');
program.command('top').argument('<MOUNT>').option('--json', 'as JSON').option('--mode [=WHO]', 'for whom');
program.addHelpText(
  'after',
  '\nMount options:\n  verify=a|b            how to verify,\n                        in two lines\n  ro, noatime, and others that mount(8) adds\n\nExamples:\n  cfs-show ls x.cfs',
);
const definition = definitionOf(program);

describe('definitionOf()', () => {
  test('has what the help has, and no hidden option', () => {
    const [ls] = definition.commands;
    expect(ls?.options.map(({ long, value }) => [long, value])).toEqual([
      ['--json', undefined],
      ['--hash', 'NAME'],
      ['--help', undefined],
    ]);
    expect(ls?.options[1]?.choices).toEqual(['blake3', 'sha256']);
    expect(ls?.operands).toEqual([
      { name: 'image', isRequired: true, isVariadic: false, description: '' },
      { name: 'path', isRequired: false, isVariadic: true, description: '' },
    ]);
    expect(ls?.after).toBe('One sentence. Another one.\n  A   added');
  });

  test('distinguishes values that may be left out', () => {
    const option = definition.commands[1]?.options.find(({ long }) => long === '--mode');
    expect(option).toMatchObject({ value: 'WHO', isOptional: true });
  });
});

describe('mdoc', () => {
  test('text cannot become a request', () => {
    expect(escaped('.so /etc/passwd')).toBe('\\&.so /etc/passwd');
    expect(escaped("'a \\fB")).toBe("\\&'a \\efB");
    expect(argument('Ar')).toBe('\\&Ar');
    expect(argument('a "b"')).toBe('"a \\(dqb\\(dq"');
  });

  test('a sentence begins a line, and lines are folded', () => {
    expect(paragraph('One IMAGE.  Two\nthree, i.e. four.')).toEqual(['One IMAGE.', 'Two three, i.e. four.']);
    for (const line of paragraph('word '.repeat(100))) expect(line.length).toBeLessThan(80);
  });

  test('a synopsis has nested options and repeated operands', () => {
    expect(synopsis('[options] --from FILE [[IMAGE] PATH...]')).toBe(
      'Oo Ar options Oc Fl -from Ar FILE Oo Oo Ar IMAGE Oc Ar PATH ... Oc',
    );
  });

  test('of Markdown remains the text', () => {
    expect(ofMarkdown('see `a` and [the page](b.md#c), **now**')).toEqual(['see a and the page, now']);
  });
});

test('rows of a table are found by its head; a bar in a cell is escaped', () => {
  expect(rowsOf('| x | y |\n|---|---|\n\n| a | b |\n|---|---|\n| 1 | 2 \\| 3 |\n\n| 4 | 5 |', 'a')).toEqual([
    ['1', '2 | 3'],
  ]);
  expect(() => rowsOf('', 'a')).toThrow('there is no table with the head "a"');
});

test('a page has the parts in the order of manual pages', () => {
  const page = toolPage(definition, {
    date: 'May 1, 2026',
    statuses: [['0', 'done']],
    variables: [['`A`', 'b', 'all']],
  });
  expect(page.match(/^\.Sh .*$/gm)).toEqual(
    [
      'NAME',
      'SYNOPSIS',
      'DESCRIPTION',
      'COMMANDS',
      'MOUNT OPTIONS',
      'ENVIRONMENT',
      'EXIT STATUS',
      'EXAMPLES',
      'SEE ALSO',
    ].map((head) => `.Sh ${head}`),
  );
  expect(page).toContain('.Nd shows images\n');
  expect(page).toContain('.It Fl -mode Ns Op = Ns Ar WHO\n');
  expect(page).toContain('.It Cm verify=a|b\nHow to verify, in two lines.\n');
  expect(page).toContain('.It Cm "ro, noatime"\nAnd others that mount(8) adds.\n');
  // of each command, and once only
  expect(page.match(/^\.It Fl -json$/gm)).toHaveLength(1);
});

describe('completionsOf()', () => {
  const completed = completionsOf(definition);

  test('a path of a command that takes an image is in the image', () => {
    expect(completed.commands[0]?.operands).toEqual([
      { name: 'image', kind: 'image', isVariadic: false },
      { name: 'path', kind: 'inside', isVariadic: true },
    ]);
    expect(completed.commands[1]?.operands).toEqual([{ name: 'MOUNT', kind: 'directory', isVariadic: false }]);
  });

  test('mount options are words with their values', () => {
    expect(completed.mountOptions).toEqual(['verify=a', 'verify=b', 'ro', 'noatime']);
  });

  test('descriptions with quotes and brackets stay descriptions', () => {
    expect(zshCompletion(completed)).toContain(`'[don'\\''t really do it]'`);
    expect(fishCompletion(completed)).toContain(`-d 'don\\'t [really] do it'`);
    expect(bashCompletion(completed)).toContain(`options='-n --dry-run -h --help'`);
  });
});
