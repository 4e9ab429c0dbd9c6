/** Completion for zsh: a function for compinit, which calls _arguments. Pure. */
import type { CompletedCommand, CompletedOption, CompletedTool, Kind } from './completion.ts';

const ENGINE = String.raw`
_cfs_images() { _files -g '*.cfs' || _files }

# paths in the image that --image or the first operand names
_cfs_inside() {
  local image=\${(Q)opt_args[--image]:-\${(Q)line[1]}} above
  image=\${~image}
  [[ -f $image ]] || return 1
  local word=\${(Q)PREFIX}
  above=\${word%/*}/
  local -a names directories files
  names=(\${(f)"$(cfs-info ls -p -- $image /$above 2>/dev/null)"})
  directories=(\${(M)names:#*/}) files=(\${names:#*/})
  compset -P '*/'
  local expl result=1
  _wanted -V names expl 'path in the image' compadd -S '' -a directories && result=0
  _wanted -V names expl 'path in the image' compadd -a files && result=0
  return result
}

_cfs_file_or_inside() { if [[ -n $opt_args[--image] ]]; then _cfs_inside; else _files; fi }
`.replaceAll('\\$', '$');

export function zshCompletion(tool: CompletedTool): string {
  const { name, commands } = tool;
  const prefix = `_${name.replace(/\W/g, '_')}`;
  return `#compdef ${name}
# zsh completion of ${name}, made from the definitions of its options
${ENGINE.replaceAll('_cfs_', `${prefix}_`).trim()}

${prefix}_mount_options() {
  _values -s , 'mount option' ${tool.mountOptions.length === 0 ? "'none'" : mountValues(tool.mountOptions)}
}

${prefix}() {
  local context state state_descr line
  typeset -A opt_args
${commands.length === 0 ? leafBody(tool, prefix, '  ') : treeBody(tool, prefix)}
}

${prefix} "$@"
`;
}

function treeBody(tool: CompletedTool, prefix: string): string {
  const list = [...tool.commands, { name: 'help', description: 'show the help of a command' }];
  const described = list.map(({ name, description }) => quoted(`${name.replaceAll(':', '\\:')}:${description}`));
  return `  _arguments -C ${[...tool.options.map(optionSpec(prefix)), "'1: :->command'", "'*:: :->operands'"].join(' \\\n    ')} && return 0
  case $state in
  command)
    local -a commands=(${described.join('\n      ')})
    _describe command commands
    ;;
  operands)
    case $line[1] in
${tool.commands.map((command) => `    ${command.name})\n${leafBody(command, prefix, '      ')}\n      ;;`).join('\n')}
    esac
    ;;
  esac`;
}

function leafBody({ options, operands }: CompletedCommand, prefix: string, indent: string): string {
  const specs = [
    ...options.map(optionSpec(prefix)),
    ...operands.map(({ name, kind, isVariadic }, i) =>
      quoted(`${isVariadic ? '*' : `${i + 1}`}:${name}:${action(kind, prefix)}`),
    ),
  ];
  return `${indent}_arguments -s ${specs.join(` \\\n${indent}  `)}`;
}

const optionSpec =
  (prefix: string) =>
  ({ names, value, valueName, isOptional, description }: CompletedOption): string => {
    // an option that takes a value can be repeated: this list does not know which cannot
    const exclusive =
      value === undefined && names.length > 1 ? `'(${names.join(' ')})'` : value === undefined ? '' : "'*'";
    const separator = isOptional ? '=-' : '';
    const flags =
      names.length > 1 ? `{${names.map((name) => `${name}${separator}`).join(',')}}` : `${names[0]}${separator}`;
    const colon = isOptional ? '::' : ':';
    const ending = value === undefined ? '' : `${colon}${valueName}:${action(value, prefix)}`;
    return `${exclusive}${flags}${quoted(`[${description.replace(/[[\]]/g, '')}]${ending}`)}`;
  };

function action(kind: Kind, prefix: string): string {
  if (typeof kind !== 'string') return `(${kind.words.join(' ')})`;
  if (kind === 'image') return `${prefix}_images`;
  if (kind === 'inside') return `${prefix}_inside`;
  if (kind === 'file-or-inside') return `${prefix}_file_or_inside`;
  if (kind === 'mount-options') return `${prefix}_mount_options`;
  if (kind === 'directory') return '_files -/';
  return kind === 'file' ? '_files' : ' ';
}

/** `_values` wants one specification for each name, with its values. */
function mountValues(words: readonly string[]): string {
  const values = new Map<string, string[] | undefined>();
  for (const word of words) {
    const [name = '', value] = word.split('=');
    if (value === undefined) values.set(name, undefined);
    else values.set(name, [...(values.get(name) ?? []), ...(value === '' ? [] : [value])]);
  }
  return [...values]
    .map(([name, list]) => {
      if (list === undefined) return name;
      return quoted(`${name}:${name}:${list.length > 0 ? `(${list.join(' ')})` : '_files'}`);
    })
    .join(' ');
}

const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;
