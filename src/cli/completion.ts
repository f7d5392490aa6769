import { type Flag, flagsOf } from '../config/flags.js';
import { UsageRefusal } from '../config/refusal.js';
import { STAGES, type StageName } from '../config/stages.js';
import { didYouMean } from '../config/suggest.js';
import { COMMANDS } from './commands.js';
import { COMMON } from './common-flags.js';
import { bashScript } from './completion-bash.js';
import { fishScript } from './completion-fish.js';
import { zshScript } from './completion-zsh.js';

/** The command, which is none of a stage: it has no configuration. */
export const COMPLETION = 'completion';
export const SHELLS = ['bash', 'zsh', 'fish'] as const;

/** What a shell offers for one flag or argument. */
export interface Offer {
  readonly name: string;
  /** A few words. */
  readonly about: string;
  /** Nothing follows a switch; a path is completed by the shell; any other value only the user knows. */
  readonly value: 'none' | 'choice' | 'path' | 'any';
  readonly choices: readonly string[];
  /** May be given several times. */
  readonly repeated: boolean;
  /** Choices may stand in one word, separated by commas. */
  readonly commas: boolean;
}

/** What a shell offers after a command. */
export interface CommandOffers {
  readonly name: string;
  readonly about: string;
  readonly flags: readonly Offer[];
  readonly argument: Offer | undefined;
}

/**
 * The script that completes commands, flags, choices and paths in a shell.
 *
 * @throws UsageRefusal for a shell that is not known
 */
export function completionScript(args: readonly string[]): string {
  const shell = SHELLS.find((one) => one === args[0]);
  if (shell === undefined || args.length > 1) {
    throw new UsageRefusal(
      args.length === 0 ? 'No shell is given.' : `"${args.join(' ')}" is not one of ${SHELLS.join(', ')}.`,
      (args[0] && didYouMean(args[0], SHELLS)) || `Name one: sae-pipe ${COMPLETION} ${SHELLS.join('|')}.`,
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
  const stages = Object.entries(COMMANDS).map(([name, { summary, positional }]): CommandOffers => {
    const flags = flagsOf(STAGES[name as StageName]);
    const argument = flags.find((flag) => flag.name === positional);
    const named = [...flags.filter((flag) => flag !== argument), ...COMMON].map(offerOf);
    return { name, about: brief(summary), flags: [...named, HELP], argument: argument && offerOf(argument) };
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
  return { name, about: brief(description), value, choices, repeated, commas };
}

/** The first words of a description, without what a shell would take for its own. */
function brief(description: string): string {
  const words = description
    .split(/[;:([]/)[0]!
    .replace(/["'`\\$]/g, '')
    .trim();
  return words.length > 70 ? `${words.slice(0, 69).trimEnd()}…` : words;
}
