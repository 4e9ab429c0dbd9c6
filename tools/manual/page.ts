/** The manual page of a tool, in mdoc(7), from the definition of its command line. Pure. */
import type { CommandDefinition, OperandDefinition, OptionDefinition } from '../definition.ts';
import { argument, escaped, type Item, list, literal, ofMarkdown, paragraph, synopsis } from './mdoc.ts';

export interface PageContext {
  /** Such as "November 29, 2026". */
  readonly date: string;
  /** Rows of docs/exit-status.md: status, meaning. */
  readonly statuses: readonly (readonly string[])[];
  /** Rows of docs/environment.md: variable, meaning, the tools that read it. */
  readonly variables: readonly (readonly string[])[];
}

/** Manual pages that each page names, besides those of its own tools. */
const ALSO = ['cfs 7', 'cfs-manifest 5', 'cfs-repository 5', 'cfs.conf 5', 'mount.cfs 8'];
const TOOLS = ['cfs-checkpoint 1', 'cfs-info 1', 'cfs-mkimage 1', 'cfs-mount 1', 'cfs-repo 1'];

/** A part of the text that the help ends with. */
interface Section {
  /** Undefined before the first heading. */
  readonly title: string | undefined;
  readonly lines: readonly string[];
}

export function toolPage(tool: CommandDefinition, context: PageContext): string {
  const name = tool.name;
  const sections = sectionsOf(tool.after);
  return `${[
    `.Dd ${context.date}`,
    `.Dt ${name.toUpperCase()} 1`,
    '.Os',
    '.Sh NAME',
    `.Nm ${name}`,
    `.Nd ${summaryOf(tool)}`,
    '.Sh SYNOPSIS',
    ...synopsisOf(tool),
    '.Sh DESCRIPTION',
    ...paragraph(tool.description),
    ...leafBody(tool),
    ...commandsOf(tool),
    ...sections.filter(({ title }) => title !== 'Examples').flatMap(sectionText),
    ...environmentOf(name, context),
    '.Sh EXIT STATUS',
    ...list(context.statuses.map(([status = '', meaning = '']) => ({ head: status, body: ofMarkdown(meaning) }))),
    ...sections.filter(({ title }) => title === 'Examples').flatMap(sectionText),
    '.Sh SEE ALSO',
    ...seeAlso(name),
  ].join('\n')}\n`;
}

/** The first sentence, for `.Nd`: without capital and full stop. */
function summaryOf({ description }: CommandDefinition): string {
  const first = (description.split(/[.:] |\.$/, 1)[0] as string).trim();
  return escaped(first.charAt(0).toLowerCase() + first.slice(1));
}

function synopsisOf(tool: CommandDefinition): string[] {
  if (tool.commands.length === 0) {
    return tool.usage.split('\n').flatMap((line) => {
      const usage = line.trim().replace(new RegExp(`^${tool.name} `), '');
      return [`.Nm`, `.${synopsis(usage)}`];
    });
  }
  return tool.commands.flatMap((command) => [`.Nm`, `.Cm ${command.name}`, `.${synopsis(command.usage)}`]);
}

const operandItem = (operand: OperandDefinition): Item => ({
  head: `Ar ${argument(operand.name)}`,
  body: paragraph(operand.description),
});

function optionItem({ short, long, value, isOptional, description }: OptionDefinition): Item {
  const flags = [short, long].flatMap((flag) => (flag === undefined ? [] : [`Fl ${argument(flag.slice(1))}`]));
  const ending = value === undefined ? '' : isOptional ? ` Ns Op = Ns Ar ${argument(value)}` : ` Ar ${argument(value)}`;
  return { head: `${flags.join(' , ')}${ending}`, body: paragraph(sentence(description)) };
}

const sentence = (text: string): string =>
  text === '' ? '' : text.charAt(0).toUpperCase() + text.slice(1) + (/\.\)?$/.test(text) ? '' : '.');

/** Operands and options. */
function leafBody(command: CommandDefinition): string[] {
  const operands = command.operands.filter(({ description }) => description !== '').map(operandItem);
  return [...list(operands), ...list(command.options.map(optionItem))];
}

function commandsOf(tool: CommandDefinition): string[] {
  if (tool.commands.length === 0) return [];
  const common = commonOptions(tool.commands);
  const isCommon = (option: OptionDefinition): boolean => common.some((other) => isSame(option, other));
  return [
    '.Sh COMMANDS',
    'Each command has these options:',
    ...list(common.map(optionItem)),
    ...tool.commands.flatMap((command) => [
      `.Ss ${command.name}`,
      `.Nm ${tool.name}`,
      `.Cm ${command.name}`,
      `.${synopsis(command.usage)}`,
      '.Pp',
      ...paragraph(sentence(command.description)),
      ...leafBody({ ...command, options: command.options.filter((option) => !isCommon(option)) }),
      ...sectionsOf(command.after).flatMap(sectionText),
    ]),
  ];
}

const isSame = (a: OptionDefinition, b: OptionDefinition): boolean =>
  a.long === b.long && a.short === b.short && a.value === b.value;

/** The options of the first command that all others have, too; one of them may describe its own more closely. */
function commonOptions(commands: readonly CommandDefinition[]): OptionDefinition[] {
  const [first] = commands;
  const isEverywhere = (option: OptionDefinition): boolean =>
    commands.every(({ options }) => options.some((other) => isSame(option, other)));
  return (first?.options ?? []).filter(isEverywhere);
}

/** The text is divided at lines such as "Examples:". */
function sectionsOf(after: string): Section[] {
  const sections: Section[] = [];
  let current: { title: string | undefined; lines: string[] } = { title: undefined, lines: [] };
  for (const line of after.split('\n')) {
    const title = /^([A-Z][a-z]+(?: [a-z]+)?):$/.exec(line)?.[1];
    if (title === undefined) {
      current.lines.push(line);
      continue;
    }
    sections.push(current);
    current = { title, lines: [] };
  }
  return [...sections, current].filter(({ lines }) => lines.some((line) => line.trim() !== ''));
}

function sectionText({ title, lines }: Section): string[] {
  const head = title === undefined ? ['.Pp'] : [`.Sh ${title.toUpperCase()}`];
  const body = title?.endsWith('options') === true ? list(definitionItems(lines)) : blocks(lines);
  return [...head, ...body];
}

/** Indented lines as they are, others as paragraphs. */
function blocks(lines: readonly string[]): string[] {
  const out: string[] = [];
  let group: string[] = [];
  let isIndented = false;
  const close = (): void => {
    if (group.length > 0)
      out.push(...(out.length > 0 ? ['.Pp'] : []), ...(isIndented ? literal(group) : paragraph(group.join('\n'))));
    group = [];
  };
  for (const line of lines) {
    const indented = line.startsWith(' ');
    if (line.trim() === '' || indented !== isIndented) close();
    if (line.trim() !== '') group.push(line.replace(/^ {2}/, ''));
    isIndented = indented;
  }
  close();
  return out;
}

/** "  word   meaning", with further lines that are indented deeper; or "  word, and the meaning". */
function definitionItems(lines: readonly string[]): Item[] {
  return wordsAndMeanings(lines).map(({ words, meaning }) => {
    const [, short = words, rest = meaning] = meaning === '' ? (/^(.*), (and .*)$/.exec(words) ?? []) : [];
    return { head: `Cm ${argument(short)}`, body: paragraph(sentence(rest)) };
  });
}

/** The entries of a list of words in a help text. */
export function wordsAndMeanings(lines: readonly string[]): { words: string; meaning: string }[] {
  const entries: { words: string; meaning: string }[] = [];
  for (const line of lines.filter((text) => text.trim() !== '')) {
    const [, words, meaning = ''] = /^ {2}(\S.*?)(?: {2,}(.*))?$/.exec(line) ?? [];
    const last = entries.at(-1);
    if (words !== undefined) entries.push({ words, meaning });
    else if (last !== undefined) last.meaning += ` ${line.trim()}`;
  }
  return entries;
}

/** The entries of the section "Mount options" of the help. */
export const mountOptionsOf = (tool: CommandDefinition): { words: string; meaning: string }[] =>
  wordsAndMeanings(sectionsOf(tool.after).find(({ title }) => title === 'Mount options')?.lines ?? []);

function environmentOf(name: string, { variables }: PageContext): string[] {
  const own = variables.filter(([, , readers = '']) => /^all/.test(readers) || readers.includes(name));
  if (own.length === 0) return [];
  return [
    '.Sh ENVIRONMENT',
    ...list(
      own.map(([variable = '', meaning = '']) => ({
        head: `Ev ${argument(variable.replaceAll('`', ''))}`,
        body: ofMarkdown(sentence(meaning)),
      })),
    ),
  ];
}

function seeAlso(name: string): string[] {
  const pages = [...TOOLS, ...ALSO].filter((page) => page !== `${name} 1`);
  const section = (page: string): string => page.slice(page.indexOf(' ') + 1);
  pages.sort((a, b) => section(a).localeCompare(section(b)) || a.localeCompare(b));
  return pages.map((page, i) => `.Xr ${page}${i < pages.length - 1 ? ' ,' : ''}`);
}
