import type { CommandOffers, Offer } from './completion.js';

/** For zsh's own completion system (compinit). */
export function zshScript(commands: readonly CommandOffers[]): string {
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
  // With = the value may be joined or follow as the next word.
  const taking = value === 'none' ? '' : `=:${value === 'path' ? 'path' : 'value'}:${action(flag)}`;
  const [equals, rest] = taking === '' ? ['', ''] : ['=', taking.slice(1)];
  return `'${repeated ? '*' : ''}--${name}${equals}[${about}]${rest}'`;
}

function action({ value, choices, commas }: Offer): string {
  if (value === 'path') return '_files';
  if (value === 'any') return ' ';
  return commas ? `_values -s , value ${choices.join(' ')}` : `(${choices.join(' ')})`;
}
