/** Completion for bash, version 4 and later; it does not need the package bash-completion. Pure. */
import type { CompletedCommand, CompletedTool, Kind } from './completion.ts';

const ENGINE = String.raw`
# the words before the cursor: bash also divides them at = and :
_cfs_words() {
  local i rest=$COMP_LINE word
  words=()
  for ((i = 0; i <= COMP_CWORD; i++)); do
    word=\${COMP_WORDS[i]}
    if ((i > 0)) && [[ -n $word && $rest == "$word"* ]]; then
      words[\${#words[@]} - 1]+=$word
    else
      rest=\${rest#"\${rest%%[![:space:]]*}"}
      words+=("$word")
    fi
    rest=\${rest#"$word"}
  done
}

# a word without its quotes; "~/" is the home directory
_cfs_unquoted() {
  local text=$1
  text=\${text//[\"\']/}
  text=\${text//\\/}
  [[ $text != '~/'* ]] || text=$HOME/\${text:2}
  printf %s "$text"
}

_cfs_quoted() {
  local name
  while IFS= read -r name; do
    case $cur in
    [\"\']*) COMPREPLY+=("$name") ;;
    *) printf -v name %q "$name"; COMPREPLY+=("$name") ;;
    esac
  done
}

_cfs_files() { # -f or -d
  compopt -o filenames 2>/dev/null
  mapfile -t COMPREPLY < <(compgen "$1" -- "$cur")
}

_cfs_images() {
  _cfs_files -d
  local name
  while IFS= read -r name; do COMPREPLY+=("$name"); done < <(compgen -f -X '!*.cfs' -- "$cur")
  ((\${#COMPREPLY[@]} > 0)) || _cfs_files -f
}

# paths in the image IMAGE
_cfs_inside() {
  local image above name word
  image=$(_cfs_unquoted "$1") word=$(_cfs_unquoted "$cur")
  [[ -f $image ]] || return 0
  [[ $word == /* ]] || word=/$word
  above=\${word%/*}/
  compopt -o nospace 2>/dev/null
  _cfs_quoted < <(
    cfs-info ls -p -- "$image" "$above" 2>/dev/null | while IFS= read -r name; do
      [[ $above$name != "$word"* ]] || printf '%s\n' "$above$name"
    done
  )
  [[ \${#COMPREPLY[@]} -ne 1 || \${COMPREPLY[0]} == */ ]] || compopt +o nospace 2>/dev/null
}

_cfs_mount_options() {
  local before= last=$cur
  [[ $cur != *,* ]] || { before=\${cur%,*}, last=\${cur##*,}; }
  compopt -o nospace 2>/dev/null
  mapfile -t COMPREPLY < <(compgen -P "$before" -W "$mountwords" -- "$last")
}

_cfs_kind() { # KIND IMAGE
  case $1 in
  image) _cfs_images ;;
  inside) _cfs_inside "$2" ;;
  file-or-inside) if [[ -n $named ]]; then _cfs_inside "$2"; else _cfs_files -f; fi ;;
  file) _cfs_files -f ;;
  directory) _cfs_files -d ;;
  mount-options) _cfs_mount_options ;;
  words:*) mapfile -t COMPREPLY < <(compgen -W "\${1#words:}" -- "$cur") ;;
  esac
}

_cfs_complete() {
  local words cur command= options operands commands mountwords i name kind image= named= count=0 ended=
  local -A values
  COMPREPLY=()
  _cfs_words
  cur=\${words[-1]}
  _cfs_table "$1" ''
  for ((i = 1; i < \${#words[@]} - 1; i++)); do
    name=\${words[i]}
    if [[ -z $ended && $name == -- ]]; then ended=1
    elif [[ -z $ended && $name == -?* ]]; then
      [[ $name != --image=* ]] || image=\${name#*=} named=1
      if [[ -n \${values[$name]-} ]]; then
        i=$((i + 1))
        [[ $name != --image ]] || image=\${words[i]} named=1
        if ((i == \${#words[@]} - 1)); then _cfs_kind "\${values[$name]}" "$image"; _cfs_trim; return; fi
      fi
    elif [[ -n $commands && -z $command ]]; then
      command=$name
      _cfs_table "$1" "$command"
    else
      ((count > 0)) || [[ -n $image ]] || image=$name
      count=$((count + 1))
    fi
  done
  if [[ -z $ended && $cur == --*=* ]]; then
    name=\${cur%%=*} kind=\${values[\${cur%%=*}]-}
    cur=\${cur#*=}
    _cfs_kind "$kind" "$image"
    COMPREPLY=("\${COMPREPLY[@]/#/$name=}")
    cur=$name=$cur
  elif [[ -z $ended && $cur == -* ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$options" -- "$cur")
  elif [[ -n $commands && ( -z $command || $command == help ) ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$commands help" -- "$cur")
  else
    for kind in $operands; do
      if [[ $kind == *... ]] || ((count == 0)); then break; fi
      count=$((count - 1)) kind=
    done
    _cfs_kind "\${kind%...}" "$image"
  fi
  _cfs_trim
}

# bash replaces only what is after the last = or :
_cfs_trim() {
  local before=\${cur%"\${cur##*[=:]}"}
  [[ -z $before ]] || COMPREPLY=("\${COMPREPLY[@]#"$before"}")
}
`.replaceAll('\\$', '$');

export function bashCompletion(tool: CompletedTool): string {
  const { name } = tool;
  const suffix = name.replace(/\W/g, '_');
  return `# bash completion of ${name}, made from the definitions of its options
${ENGINE.replaceAll('_cfs_', `_${suffix}_`).trim()}

_${suffix}_table() {
  values=()
  mountwords=${quoted(tool.mountOptions.join(' '))}
  commands=${quoted(tool.commands.map((command) => command.name).join(' '))}
  case $2 in
${[{ ...tool, name: '' }, ...tool.commands].map(branch).join('\n')}
  *) options= operands= ;;
  esac
}

_${suffix}() { _${suffix}_complete ${name}; }
complete -F _${suffix} ${name}
`;
}

const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;

const kindWord = (kind: Kind): string => (typeof kind === 'string' ? kind : `words:${kind.words.join(' ')}`);

function branch({ name, options, operands }: CompletedCommand): string {
  const valued = options.filter(({ value, isOptional }) => value !== undefined && !isOptional);
  const values = valued.flatMap(({ names, value }) =>
    names.map((word) => `[${word}]=${quoted(kindWord(value as Kind))}`),
  );
  return [
    `  ${quoted(name)})`,
    `    options=${quoted(options.flatMap(({ names }) => names).join(' '))}`,
    `    operands=${quoted(operands.map(({ kind, isVariadic }) => `${kindWord(kind).replaceAll(' ', '|')}${isVariadic ? '...' : ''}`).join(' '))}`,
    ...(values.length === 0 ? [] : [`    values=(${values.join(' ')})`]),
    '    ;;',
  ].join('\n');
}
