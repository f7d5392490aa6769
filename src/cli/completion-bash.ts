import type { CommandOffers, Offer } from './completion.js';

/** For bash 3.2 (macOS) and later; the package bash-completion is not needed. */
export function bashScript(commands: readonly CommandOffers[]): string {
  const flags = commands.map(({ name, flags }) => `    ${name}) printf '%s' '${flags.map(dashed).join(' ')}' ;;`);
  const repeated = commands.flatMap(({ name, flags }) =>
    flags.filter((flag) => flag.repeated).map((flag) => `${name}${dashed(flag)}`),
  );
  const values = commands.flatMap(({ name, flags, argument }) => [
    ...flags.filter(({ value }) => value !== 'none').map((flag) => `    '${name} ${dashed(flag)}') ${answer(flag)} ;;`),
    ...(argument ? [`    '${name} ') ${answer(argument)} ;;`] : []),
  ]);
  return `# Completion of sae-pipe for bash: source <(sae-pipe completion bash)
_sae_pipe_flags() {
  case "$1" in
${flags.join('\n')}
  esac
}

# What may follow a flag, or stand alone where none is named: words, a list of them with commas, @path, or @any.
_sae_pipe_values() {
  case "$1 $2" in
${values.join('\n')}
  esac
}

_sae_pipe() {
  local commands='${commands.map(({ name }) => name).join(' ')}' repeated=' ${repeated.join(' ')} '
  local current="\${COMP_WORDS[COMP_CWORD]}" before="\${COMP_WORDS[COMP_CWORD - 1]}"
  local command='' word values prefix='' flag flags=''
  local IFS=$' \\t\\n'
  # bash takes the = of --flag=value for a word.
  if [[ $current == '=' ]]; then
    current=''
  elif [[ $before == '=' ]]; then
    before="\${COMP_WORDS[COMP_CWORD - 2]}"
  fi
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    if [[ " $commands " == *" $word "* ]]; then
      command=$word
      break
    fi
  done
  COMPREPLY=()
  if [[ -z $command ]]; then
    COMPREPLY=($(compgen -W "$commands --help --version" -- "$current"))
    return
  fi
  values=$(_sae_pipe_values "$command" "$before")
  # A word that follows no flag is the command's argument.
  if [[ -z $values && $current != -* ]]; then values=$(_sae_pipe_values "$command" ''); fi
  case "$values" in
    @any) return ;;
    @path)
      IFS=$'\\n'
      COMPREPLY=($(compgen -f -- "$current"))
      compopt -o filenames 2>/dev/null
      return
      ;;
    ,*) if [[ $current == *,* ]]; then prefix="\${current%,*},"; fi ;;
  esac
  if [[ -n $values ]]; then
    COMPREPLY=($(compgen -P "$prefix" -W "\${values#,}" -- "\${current#"$prefix"}"))
    return
  fi
  for flag in $(_sae_pipe_flags "$command"); do
    # What may be given once is not offered again.
    if [[ " \${COMP_WORDS[*]:0:COMP_CWORD} " != *" $flag "* || $repeated == *" $command$flag "* ]]; then flags+=" $flag"; fi
  done
  COMPREPLY=($(compgen -W "$flags" -- "$current"))
}

complete -F _sae_pipe sae-pipe
`;
}

const dashed = ({ name }: Offer) => `--${name}`;

function answer({ value, choices, commas }: Offer): string {
  if (value === 'path' || value === 'any') return `printf '@${value}'`;
  return `printf '%s' '${commas ? ',' : ''}${choices.join(' ')}'`;
}
