/** What shells complete in a command line of a tool, from its definition. Pure. */
import type { CommandDefinition, OptionDefinition } from '../definition.ts';
import { mountOptionsOf } from './page.ts';

/**
 * What a word is:
 * - `image`: a file, by preference named *.cfs, or a directory on which one is mounted
 * - `inside`: a path in the image that an earlier operand names
 * - `file-or-inside`: a path in the image that `--image` names; a file if there is no such option
 * - `mount-options`: words for `-o`, separated by commas
 * - `none`: nothing can be proposed
 */
export type Kind =
  | 'image'
  | 'inside'
  | 'file-or-inside'
  | 'file'
  | 'directory'
  | 'mount-options'
  | 'none'
  | { readonly words: readonly string[] };

export interface CompletedOption {
  /** "-R", "--recursive". */
  readonly names: readonly string[];
  /** Undefined if the option takes no value. */
  readonly value: Kind | undefined;
  readonly valueName: string;
  readonly isOptional: boolean;
  readonly description: string;
}

export interface CompletedOperand {
  readonly name: string;
  readonly kind: Kind;
  /** Also for all words after it. */
  readonly isVariadic: boolean;
}

export interface CompletedCommand {
  readonly name: string;
  readonly description: string;
  readonly options: readonly CompletedOption[];
  readonly operands: readonly CompletedOperand[];
}

export interface CompletedTool extends CompletedCommand {
  readonly commands: readonly CompletedCommand[];
  /** Each word for `-o`; those that take a value end in "=". */
  readonly mountOptions: readonly string[];
}

export function completionsOf(tool: CommandDefinition): CompletedTool {
  return { ...ofCommand(tool), commands: tool.commands.map(ofCommand), mountOptions: mountWords(tool) };
}

function ofCommand(command: CommandDefinition): CompletedCommand {
  const isImage = (name: string): boolean => kindOf(name) === 'image';
  const pathKind = command.operands.some(({ name }) => isImage(name))
    ? 'inside'
    : command.options.some(({ long }) => long === '--image')
      ? 'file-or-inside'
      : 'file';
  const operands = command.commands.length > 0 ? [] : command.operands;
  return {
    name: command.name,
    description: firstClause(command.description),
    options: command.options.map(ofOption),
    operands: operands.map(({ name, isVariadic }) => ({
      name,
      kind: /^path$/i.test(name) ? pathKind : kindOf(name),
      isVariadic,
    })),
  };
}

function ofOption({ short, long, value, isOptional, choices, description }: OptionDefinition): CompletedOption {
  const kind = value === undefined ? undefined : choices.length > 0 ? { words: choices } : kindOf(value);
  return {
    names: [short, long].flatMap((name) => name ?? []),
    value: kind,
    valueName: value ?? '',
    isOptional,
    description: firstClause(description),
  };
}

/** By the names that operands and values have in the help. */
function kindOf(name: string): Kind {
  const word = name.toUpperCase();
  if (word === 'OPTIONS') return 'mount-options';
  if (/^(?:IMAGE|OLD|NEW)\b/.test(word)) return 'image';
  if (/^(?:DIR|MOUNT|MOUNTPOINT|SOURCE|STORE)\b/.test(word)) return 'directory';
  if (/^(?:FILE|KEY|PUB|PATH)\b/.test(word)) return 'file';
  return 'none';
}

/** Short enough for a list of completions. */
const firstClause = (text: string): string => (text.split(/[:;(]| \(|\. /, 1)[0] as string).trim();

function mountWords(tool: CommandDefinition): string[] {
  const words = mountOptionsOf(tool).flatMap(({ words: text }) => text.replace(/, and .*/, '').split(/, ?/));
  const completed = words.flatMap((word) => {
    const [, name = '', values] = /^([\w_]+)(?:=(.*))?$/.exec(word) ?? [];
    if (values === undefined) return name === '' ? [] : [name];
    return values.includes('|') ? values.split('|').map((value) => `${name}=${value}`) : [`${name}=`];
  });
  return [...new Set(completed)].filter((word) => word !== 'uuid=');
}
