import { type Flag, flagsOf } from '../config/flags.js';
import { STAGES, type StageName } from '../config/stages.js';
import { didYouMean } from '../errors/nearest.js';
import { UsageRefusal } from '../errors/refusal.js';
import { COMMON, positionalsOf } from './arguments.js';
import { COMMANDS } from './commands.js';

/** The completion command. It does not belong to a stage: it has no configuration. */
export const COMPLETION = 'completion';
export const SHELLS = ['bash', 'zsh', 'fish'] as const;

/** What a shell offers for one flag or argument. */
interface Offer {
  readonly name: string;
  /** Short description. */
  readonly about: string;
  /** `none`: a switch; `path`: completed by the shell; `any`: free-form. */
  readonly value: 'none' | 'choice' | 'path' | 'any';
  readonly choices: readonly string[];
  /** May be given several times. */
  readonly repeated: boolean;
  /** Takes several choices in one word, separated by commas. */
  readonly commas: boolean;
}

/** Completions after a command. */
interface CommandOffers {
  readonly name: string;
  readonly about: string;
  readonly flags: readonly Offer[];
  readonly argument: Offer | undefined;
}

/**
 * The script for a shell that completes commands, flags, choices and paths.
 *
 * @throws UsageRefusal for an unknown shell
 */
export function completionScript(args: readonly string[]): string {
  const shell = SHELLS.find((one) => one === args[0]);
  if (shell === undefined || args.length > 1) {
    throw new UsageRefusal(
      args.length === 0 ? 'No shell given.' : `"${args.join(' ')}" is not one of ${SHELLS.join(', ')}.`,
      (args[0] && didYouMean(args[0], SHELLS)) || `Name one: sae-pipe ${COMPLETION} ${SHELLS.join('|')}.`,
      'cli/unknown-shell',
    );
  }
  return { bash: bashScript, zsh: zshScript, fish: fishScript }[shell](offers());
}

export const COMPLETION_HELP = `sae-pipe ${COMPLETION} <shell>

Print a script that completes commands, flags, their choices and paths.

  <shell>    ${SHELLS.join(', ')} [required]

For this shell only
  bash, zsh  source <(sae-pipe ${COMPLETION} bash)      (or zsh, after compinit)
  fish       sae-pipe ${COMPLETION} fish | source

For every shell that starts later
  bash       sae-pipe ${COMPLETION} bash > ~/.local/share/bash-completion/completions/sae-pipe
  zsh        sae-pipe ${COMPLETION} zsh > "\${fpath[1]}/_sae-pipe"
  fish       sae-pipe ${COMPLETION} fish > ~/.config/fish/completions/sae-pipe.fish`;

/** Everything that can be completed. */
export function offers(): CommandOffers[] {
  const stages = Object.entries(COMMANDS).map(([name, { summary }]): CommandOffers => {
    const flags = flagsOf(STAGES[name as StageName]);
    const argument = flags.find((flag) => flag.name === positionalsOf(name as StageName)[0]);
    const named = [...flags.filter((flag) => flag !== argument), ...COMMON].map(offerOf);
    return { name, about: briefly(summary), flags: [...named, HELP], argument: argument && offerOf(argument) };
  });
  const choice = { value: 'choice', repeated: false, commas: false, about: 'shell', name: 'shell' } as const;
  return [
    ...stages,
    { name: COMPLETION, about: 'Print a completion script', flags: [HELP], argument: { ...choice, choices: SHELLS } },
    {
      name: 'help',
      about: 'Help of a command',
      flags: [],
      argument: { ...choice, about: 'command', name: 'command', choices: Object.keys(COMMANDS) },
    },
  ];
}

const HELP: Offer = { name: 'help', about: 'help', value: 'none', choices: [], repeated: false, commas: false };

function offerOf({ name, type, choices = [], path, repeated, commas, description }: Flag): Offer {
  const value = type === 'boolean' ? 'none' : choices.length > 0 ? 'choice' : path ? 'path' : 'any';
  return { name, about: briefly(description), value, choices, repeated, commas };
}

/** The first words of a description, without characters special to shells. */
function briefly(description: string): string {
  const words = description
    .split(/[;:([]/)[0]!
    .replace(/["'`\\$]/g, '')
    .trim();
  return words.length > 70 ? `${words.slice(0, 69).trimEnd()}…` : words;
}

/** For bash 3.2 (macOS) and later; does not need the package bash-completion. */
function bashScript(commands: readonly CommandOffers[]): string {
  const flags = commands.map(({ name, flags }) => `    ${name}) printf '%s' '${flags.map(dashed).join(' ')}' ;;`);
  const repeated = commands.flatMap(({ name, flags }) =>
    flags.filter((flag) => flag.repeated).map((flag) => `${name}${dashed(flag)}`),
  );
  const values = commands.flatMap(({ name, flags, argument }) => [
    ...flags
      .filter(({ value }) => value !== 'none')
      .map((flag) => `    '${name} ${dashed(flag)}') ${answerOf(flag)} ;;`),
    ...(argument ? [`    '${name} ') ${answerOf(argument)} ;;`] : []),
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

function answerOf({ value, choices, commas }: Offer): string {
  if (value === 'path' || value === 'any') return `printf '@${value}'`;
  return `printf '%s' '${commas ? ',' : ''}${choices.join(' ')}'`;
}

/** For zsh's own completion system (compinit). */
function zshScript(commands: readonly CommandOffers[]): string {
  const described = commands.map(({ name, about }) => `    '${name}:${about}'`);
  const cases = commands.map(({ name, flags, argument }) => {
    const specs = [...flags.map(flagSpec), ...(argument ? [`'1:${argument.name}:${action(argument)}'`] : [])];
    return `    ${name})\n      _arguments ${specs.join(' \\\n        ')}\n      ;;`;
  });
  return `#compdef sae-pipe
# Completion of sae-pipe for zsh: source <(sae-pipe completion zsh), after compinit
_sae_pipe() {
  local curcontext="$curcontext" state line
  local -a commands
  commands=(
${described.join('\n')}
  )
  _arguments -C '(- *)'{-h,--help}'[help]' '(- *)'{-V,-v,--version}'[version]' '1:command:->command' '*::argument:->argument'
  case $state in
    command)
      _describe command commands
      return
      ;;
  esac
  case $words[1] in
${cases.join('\n')}
  esac
}

if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
  _sae_pipe "$@"
else
  compdef _sae_pipe sae-pipe
fi
`;
}

function flagSpec(flag: Offer): string {
  const { name, about, value, repeated } = flag;
  // With = the value may be attached or be the next word.
  const taking = value === 'none' ? '' : `=:${value === 'path' ? 'path' : 'value'}:${action(flag)}`;
  const [equals, rest] = taking === '' ? ['', ''] : ['=', taking.slice(1)];
  return `'${repeated ? '*' : ''}--${name}${equals}[${about}]${rest}'`;
}

function action({ value, choices, commas }: Offer): string {
  if (value === 'path') return '_files';
  if (value === 'any') return ' ';
  return commas ? `_values -s , value ${choices.join(' ')}` : `(${choices.join(' ')})`;
}

/** For fish 3 and later. */
function fishScript(commands: readonly CommandOffers[]): string {
  const names = commands.map(({ name }) => name).join(' ');
  const lines = ['# Completion of sae-pipe for fish: sae-pipe completion fish | source', 'complete -c sae-pipe -f'];
  const first = `-n 'not __fish_seen_subcommand_from ${names}'`;
  for (const { name, about } of commands) lines.push(`complete -c sae-pipe ${first} -a ${name} -d '${about}'`);
  lines.push(`complete -c sae-pipe ${first} -s h -l help -d help`);
  lines.push(`complete -c sae-pipe ${first} -s V -l version -d version`);
  for (const { name, flags, argument } of commands) {
    const inside = `-n '__fish_seen_subcommand_from ${name}'`;
    for (const flag of flags) {
      lines.push(`complete -c sae-pipe ${inside} -l ${flag.name}${taking(flag)} -d '${flag.about}'`);
    }
    if (argument) lines.push(`complete -c sae-pipe ${inside}${argument.value === 'path' ? ' -F' : choices(argument)}`);
  }
  return `${lines.join('\n')}\n`;
}

function taking(flag: Offer): string {
  if (flag.value === 'none') return '';
  if (flag.value === 'path') return ' -r -F';
  return ` -x${flag.value === 'choice' ? choices(flag) : ''}`;
}

const choices = ({ choices, commas }: Offer) =>
  ` -a '${commas ? `(__fish_append , ${choices.join(' ')})` : choices.join(' ')}'`;
