/** Manual pages and completions, which `scripts/build` makes from the definitions of the command lines. */
import { mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import type { CommandDefinition } from '../../tools/definition.ts';
import { useScratch } from './harness.ts';
import { HERE, OWN_TOOLS, run, succeed } from './run.ts';

const scratch = useScratch();
const SHARE = join(OWN_TOOLS.dist, 'share');
const TOOLS = ['cfs-checkpoint', 'cfs-info', 'cfs-mkimage', 'cfs-mount', 'cfs-repo'] as const;

const pages = [1, 5, 7, 8].flatMap((section) =>
  readdirSync(join(SHARE, `man/man${section}`)).map((name) => join(SHARE, `man/man${section}`, name)),
);

/** A page as text, in lines that are not broken; bold letters are printed twice, with a backspace. */
const shown = async (page: string): Promise<string> => {
  const parts = (await succeed(['mandoc', '-Tascii', '-O', 'width=1000', page])).split('\b');
  return parts.map((part, i) => (i < parts.length - 1 ? part.slice(0, -1) : part)).join('');
};

test('there is a page for each tool, for the formats and for cfs as a whole', () => {
  const names = [
    ...TOOLS.map((tool) => `${tool}.1`),
    'cfs-manifest.5',
    'cfs-repository.5',
    'cfs.conf.5',
    'cfs.7',
    'mount.cfs.8',
  ];
  expect(pages.map((page) => basename(page))).toEqual(names);
});

test.each(pages)('mandoc finds nothing to say of %s', async (page) => {
  const { stdout, stderr } = await run(['mandoc', '-Tlint', '-W', 'style', page]);
  // whether other pages are installed is a matter of the machine
  const lines = `${stdout}${stderr}`.split('\n').filter((line) => !/referenced manual not found|mandoc\.db/.test(line));
  expect(lines).toEqual(['']);
});

describe.each(TOOLS)('the page of %s', (tool) => {
  test('has every command, operand and option of the help', async () => {
    const definition = JSON.parse(await succeed(HERE.tool(tool, ['--definition']))) as CommandDefinition;
    const text = await shown(join(SHARE, 'man/man1', `${tool}.1`));
    const commands = [definition, ...definition.commands];
    expect(definition.commands.length).toBeGreaterThan(/info|repo|checkpoint/.test(tool) ? 2 : -1);
    for (const { name, options, operands, description } of commands) {
      expect(text).toContain(name);
      expect(text.toLowerCase()).toContain(description.toLowerCase().split(/[.:,]/, 1)[0]);
      const words = [
        ...options.flatMap(({ short, long }) => [short, long]),
        ...operands.map((operand) => operand.name),
      ];
      expect(words.filter((word) => word !== undefined && !text.includes(word))).toEqual([]);
    }
  });

  test('has exit statuses, examples and references', async () => {
    const text = await shown(join(SHARE, 'man/man1', `${tool}.1`));
    const heads = text.match(/^[A-Z][A-Z ]+$/gm);
    expect(heads).toEqual(expect.arrayContaining(['SYNOPSIS', 'ENVIRONMENT', 'EXIT STATUS', 'EXAMPLES', 'SEE ALSO']));
  });
});

/** Lines, and what shells propose at their end. */
const LINES: readonly (readonly [string, readonly string[]])[] = [
  ['cfs-info l', ['log', 'ls']],
  ['cfs-info ls --sl', ['--slash']],
  ['cfs-info ls x', ['x.cfs']],
  ['cfs-info ls x.cfs /', ['/usr/']],
  ['cfs-info ls -l x.cfs /usr/', ['/usr/a:b', '/usr/it is/', '/usr/share/']],
  ['cfs-info stat x.cfs /usr /usr/sh', ['/usr/share/']],
  ['cfs-info diff x.cfs x.cfs /usr/sh', ['/usr/share/']],
  ['cfs-info handle --image x.cfs /usr/sh', ['/usr/share/']],
  ['cfs-info handle tre', ['tree']],
  ['cfs-info where tre', ['tree']],
  ['cfs-info ls missing.cfs /usr/', []],
  ['cfs-mount -o driver=k', ['driver=kernel']],
  ['cfs-mount -o noexec,vol', ['noexec,volatile']],
  ['cfs-mount --from li', ['list.json']],
  ['cfs-mkimage --hash ', ['blake3', 'fsverity-sha256']],
  ['cfs-mkimage --store st', ['store']],
  ['cfs-repo gc --keep x', ['x.cfs']],
  ['cfs-repo stat sto', ['store']],
  ['cfs-checkpoint pre', ['prepare']],
];

describe('completion', () => {
  const bin = scratch.at('bin');
  const work = scratch.at('work');
  const options = { cwd: work, env: { ...process.env, PATH: `${bin}:${process.env['PATH']}`, HOME: work } };

  beforeAll(async () => {
    for (const directory of [bin, work, join(work, 'store'), join(work, 'tree')]) mkdirSync(directory);
    for (const tool of TOOLS) symlinkSync(`${OWN_TOOLS.dist}/tools/${tool}.js`, join(bin, tool));
    for (const name of ['usr/share', 'usr/it is']) mkdirSync(join(work, 'tree', name), { recursive: true });
    writeFileSync(join(work, 'tree/usr/a:b'), '');
    writeFileSync(join(work, 'list.json'), '');
    await succeed(
      HERE.tool('cfs-mkimage', ['--quiet', '--store', scratch.store, join(work, 'tree'), join(work, 'x.cfs')]),
    );
  });

  /** Proposals in the forms in which the shells insert them, without quotes and the end of a directory. */
  const plain = (hits: readonly string[]): string[] =>
    [...new Set(hits.map((hit) => hit.replaceAll('\\', '').replace(/^(store|tree)\/$/, '$1')))].sort();

  const expectLines = (outputs: readonly string[]): void => {
    expect(outputs.map((text, i) => [LINES[i]?.[0], plain(text.split('\n').filter((hit) => hit !== ''))])).toEqual(
      LINES,
    );
  };

  test('by bash', async () => {
    // as readline calls the function: words are divided at blanks, = and :
    const script = `for line; do
      tool=\${line%% *}
      source "$SHARE/bash-completion/completions/$tool"
      COMP_LINE=$line COMP_POINT=\${#line}
      mapfile -t COMP_WORDS < <(grep -oE '[=:]+|[^ =:]+' <<<"$line")
      [[ $line != *' ' ]] || COMP_WORDS+=('')
      COMP_CWORD=$((\${#COMP_WORDS[@]} - 1))
      before=\${line##* }; [[ $before == *[=:]* ]] && before=\${before%[=:]*}= || before=
      "_\${tool//-/_}" "$tool"
      ((\${#COMPREPLY[@]} == 0)) || printf "$before%s\\n" "\${COMPREPLY[@]}"
      echo '<end>'
    done`;
    const lines = LINES.map(([line]) => line);
    const env = { ...options.env, SHARE };
    const text = await succeed(['bash', '--norc', '-c', script, 'bash', ...lines], { ...options, env });
    expectLines(text.split('<end>').slice(0, -1));
  });

  test('by zsh', async () => {
    const hits = scratch.at('zsh-hits');
    const script = join(import.meta.dirname, 'zsh-completions.zsh');
    const lines = LINES.map(([line]) => line);
    await succeed(['zsh', '-f', script, join(SHARE, 'zsh/vendor-completions'), hits, ...lines], options);
    expectLines(readFileSync(hits, 'utf8').split('<end>').slice(0, -1));
  });

  test('by fish', async () => {
    const script = `set fish_complete_path "$SHARE/fish/vendor_completions.d"
      for line in $argv; complete -C $line; echo '<end>'; end`;
    const lines = LINES.map(([line]) => line);
    const env = { ...options.env, SHARE };
    const text = await succeed(['fish', '--no-config', '-c', script, ...lines], { ...options, env });
    const words = text
      .split('<end>')
      .slice(0, -1)
      .map((part) => part.replace(/\t.*$/gm, ''));
    expectLines(words);
  });
});
