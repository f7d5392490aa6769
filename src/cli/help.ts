import { type Flag, flagsOf } from '../config/flags.js';
import { STAGES, type StageName } from '../config/stages.js';
import { byTopic } from '../config/topics.js';
import { placeholder } from './arguments.js';
import { COMMANDS } from './commands.js';
import { COMMON } from './common-flags.js';
import { COMPLETION } from './completion.js';

/** Columns, at most. */
const WIDEST = 110;
/** Columns of a flag's name; a longer one has a line for itself. */
const NAME_COLUMNS = 30;

/** Help of the program. */
export function programHelp(): string {
  const commands = Object.entries(COMMANDS).map(([name, { summary }]) => row(name, summary));
  return [
    'sae-pipe <command> [flags]',
    '',
    wrapped('Trains sparse autoencoders on Gemma’s activations: harvest → train → eval → report.', 0),
    '',
    'Commands',
    ...commands,
    row(`${COMPLETION} <shell>`, 'Print a script that completes commands, flags and values in your shell.'),
    '',
    row('-h, --help', 'help of the program, or of a command'),
    row('-V, -v, --version', 'version of the program'),
    '',
    'Details of a command: sae-pipe <command> --help. Start with: sae-pipe demo',
  ].join('\n');
}

/** Help of a command: its usage with all that is required, then its flags by topic. */
export function commandHelp(stage: StageName): string {
  const { summary, example, positional } = COMMANDS[stage];
  const flags = flagsOf(STAGES[stage]);
  const argument = flags.find(({ name }) => name === positional);
  const needed = flags.filter((flag) => flag.required && flag !== argument);
  const words = needed.map((flag) => `--${flag.name} ${placeholder(flag)}`);
  const usage = ['sae-pipe', stage, ...(argument ? [`<${argument.name}>`] : []), ...words, '[flags]'].join(' ');
  const topics = byTopic(
    stage,
    flags.filter((flag) => flag !== argument),
  );
  return [
    wrapped(usage, 2).trimStart(),
    '',
    wrapped(summary, 0),
    ...(argument ? ['', row(`<${argument.name}>`, text(argument))] : []),
    ...[...topics, ['Every command', COMMON] as const].flatMap(([topic, inside]) => [
      '',
      topic,
      ...inside.map(flagRow),
    ]),
    row('-h, --help', 'this help'),
    '',
    'Example',
    `  ${example}`,
  ].join('\n');
}

function flagRow(flag: Flag): string {
  const value = flag.type === 'boolean' ? '' : ` ${placeholder(flag)}${flag.repeated ? ' …' : ''}`;
  return row(`--${flag.name}${value}`, text(flag));
}

/** What a flag is, its choices, and its default or that it is required. */
function text({ description, choices, default: value, type, required }: Flag): string {
  const shown = String(value) === '' ? 'none' : String(value);
  const notes = [
    ...(required ? ['[required]'] : []),
    ...(choices ? [`[choices: ${choices.join(', ')}]`] : []),
    ...(value === undefined || type === 'boolean' ? [] : [`[default: ${shown}]`]),
  ];
  return [description, ...notes].join(' ');
}

function row(name: string, description: string): string {
  const indented = wrapped(description, NAME_COLUMNS + 4);
  const first = `  ${name}`;
  return first.length + 2 > NAME_COLUMNS + 4 ? `${first}\n${indented}` : first + indented.slice(first.length);
}

/** Lines of a text, each indented by so many columns. */
function wrapped(words: string, indent: number): string {
  const width = Math.max(40, Math.min(WIDEST, process.stdout.columns ?? WIDEST)) - indent;
  const lines = [''];
  for (const word of words.split(' ')) {
    const line = lines.at(-1)!;
    if (line !== '' && line.length + 1 + word.length > width) lines.push(word);
    else lines[lines.length - 1] = line === '' ? word : `${line} ${word}`;
  }
  return lines.map((line) => ' '.repeat(indent) + line).join('\n');
}
