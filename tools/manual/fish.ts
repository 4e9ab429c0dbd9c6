/** Completion for fish. Pure. */
import type { CompletedCommand, CompletedOption, CompletedTool, Kind } from './completion.ts';

const ENGINE = String.raw`
# the operands before the cursor, a line each; arguments: the options that take a value
function __cfs_operands
    set -l words (commandline -opc)
    set -e words[1]
    set -l ended
    while set -q words[1]
        set -l word $words[1]
        set -e words[1]
        if test -z "$ended" -a "$word" = --
            set ended 1
        else if test -z "$ended"; and string match -q -- '-?*' $word
            contains -- $word $argv; and set -e words[1]
        else
            printf '%s\n' $word
        end
    end
end

# arguments: the first operand or "", from which operand and to which one, the options that take a value
function __cfs_at
    set -l operands (__cfs_operands $argv[4..-1])
    if test -n "$argv[1]"
        test "$operands[1]" = "$argv[1]"; or return 1
        set -e operands[1]
    end
    set -l count (count $operands)
    test $count -ge $argv[2] -a $count -le $argv[3]
end

# paths in the image that --image or an operand names; arguments: the operand's place, the options that take a value
function __cfs_inside
    set -l words (commandline -opc)
    set -l at (contains -i -- --image $words)
    set -l image
    if test -n "$at"
        set image $words[(math $at + 1)]
    else
        set -l operands (__cfs_operands $argv[2..-1])
        set image $operands[$argv[1]]
    end
    set image (string replace -r '^~/' "$HOME/" -- $image)
    test -f "$image"; and command -q cfs-info; or return
    set -l word (commandline -ct | string unescape 2>/dev/null)
    string match -q '/*' -- $word; or set word /$word
    set -l above (string replace -r '[^/]*$' '' -- $word)
    for name in (cfs-info ls -p -- $image $above 2>/dev/null)
        echo $above$name
    end
end

# as __cfs_inside if there is the option --image
function __cfs_file_or_inside
    if contains -- --image (commandline -opc)
        __cfs_inside $argv
    else
        __fish_complete_path (commandline -ct)
    end
end

# the words after the last comma
function __cfs_after_comma
    set -l before (commandline -ct | string replace -r '[^,]*$' '')
    printf "$before%s\n" $argv
end
`;

export function fishCompletion(tool: CompletedTool): string {
  const { name } = tool;
  const prefix = `__${name.replace(/\W/g, '_')}_`;
  const commands = tool.commands.map(({ name: command, description }) =>
    line(name, `-n ${quoted(at('', 0, 0, tool, prefix))} -a ${command} -d ${quoted(description)}`),
  );
  return `# fish completion of ${name}, made from the definitions of its options
${ENGINE.replaceAll('__cfs_', prefix).trim()}

complete -c ${name} -f
${[
  ...tool.options.map((option) =>
    optionLine(name, option, tool, tool.commands.length === 0 ? undefined : at('', 0, 0, tool, prefix), prefix),
  ),
  ...commands,
  ...(tool.commands.length === 0 ? [tool] : tool.commands).flatMap((command) => commandLines(tool, command, prefix)),
].join('\n')}
`;
}

const line = (tool: string, rest: string): string => `complete -c ${tool} ${rest}`;

/** A condition: the number of operands before the word, not counting the command. */
function at(command: string, from: number, to: number, { options }: CompletedCommand, prefix: string): string {
  return [`${prefix}at`, command === '' ? "''" : command, from, to, ...valued(options)].join(' ');
}

const valued = (options: readonly CompletedOption[]): string[] =>
  options.flatMap(({ names, value, isOptional }) => (value === undefined || isOptional ? [] : names));

/** More operands than a command line has. */
const MANY = 1_000_000;

function commandLines(tool: CompletedTool, command: CompletedCommand, prefix: string): string[] {
  const word = command === tool ? '' : command.name;
  const options =
    command === tool
      ? []
      : command.options.map((option) =>
          optionLine(tool.name, option, tool, at(word, 0, MANY, command, prefix), prefix, command),
        );
  const operands = command.operands.flatMap(({ kind, isVariadic }, i) => {
    const proposed = proposal(kind, tool, command, prefix, word === '' ? 1 : 2);
    if (proposed === undefined) return [];
    return [line(tool.name, `-n ${quoted(at(word, i, isVariadic ? MANY : i, command, prefix))} ${proposed}`)];
  });
  return [...options, ...operands];
}

function optionLine(
  name: string,
  { names, value, isOptional, description }: CompletedOption,
  tool: CompletedTool,
  condition: string | undefined,
  prefix: string,
  command: CompletedCommand = tool,
): string {
  const flags = names.map((flag) => (flag.startsWith('--') ? `-l ${flag.slice(2)}` : `-s ${flag.slice(1)}`));
  const takes =
    value === undefined || isOptional
      ? ''
      : ` -x ${proposal(value, tool, command, prefix, 1) ?? ''}`.replace(' -x -F', ' -r -F');
  const when = condition === undefined ? '' : `-n ${quoted(condition)} `;
  return line(name, `${when}${flags.join(' ')}${takes.trimEnd()} -d ${quoted(description)}`);
}

/** Undefined if nothing can be proposed. */
function proposal(
  kind: Kind,
  tool: CompletedTool,
  { options }: CompletedCommand,
  prefix: string,
  imageAt: number,
): string | undefined {
  if (typeof kind !== 'string') return `-a ${quoted(kind.words.join(' '))}`;
  if (kind === 'inside' || kind === 'file-or-inside')
    return `-a ${quoted(`(${[`${prefix}${kind.replaceAll('-', '_')}`, imageAt, ...valued(options)].join(' ')})`)}`;
  if (kind === 'mount-options') return `-a ${quoted(`(${prefix}after_comma ${tool.mountOptions.join(' ')})`)}`;
  if (kind === 'directory') return "-a '(__fish_complete_directories)'";
  if (kind === 'image') return "-k -a '(__fish_complete_suffix .cfs)'";
  return kind === 'file' ? '-F' : undefined;
}

const quoted = (text: string): string => `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;
