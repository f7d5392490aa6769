import type { CommandOffers, Offer } from './completion.js';

/** For fish 3 and later. */
export function fishScript(commands: readonly CommandOffers[]): string {
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
