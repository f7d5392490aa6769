import { type Flag, flagsOf } from '../config/flags.js';
import { STAGES, type StageName } from '../config/stages.js';
import { architectureFlags } from '../sae/registry.js';
import { COMMON, placeholder, positionalsOf } from './arguments.js';
import { COMMANDS } from './commands.js';
import { COMPLETION } from './completion.js';

/** Max columns. */
const HELP_WIDTH = 110;
/** Columns for a flag's name; a longer name gets its own line. */
const NAME_COLUMNS = 30;

/** Help of the program. */
export function programHelp(): string {
  const commands = Object.entries(COMMANDS).map(([name, { summary }]) => helpRow(name, summary));
  return [
    'sae-pipe <command> [flags]',
    '',
    wrapped('Trains sparse autoencoders on the activations of language models: harvest → train → eval → report.', 0),
    '',
    'Commands',
    ...commands,
    helpRow(`${COMPLETION} <shell>`, 'Print a script that completes commands, flags and values in your shell.'),
    '',
    helpRow('-h, --help', 'help of the program, or of a command'),
    helpRow('-V, -v, --version', 'version of the program'),
    '',
    'Help on a command: sae-pipe <command> --help. Start with: sae-pipe demo',
  ].join('\n');
}

/** Help of a command: its usage with all required flags, then its flags by topic. */
export function commandHelp(stage: StageName): string {
  const { summary, example } = COMMANDS[stage];
  const flags = flagsOf(STAGES[stage]);
  const args = positionalsOf(stage).map((positional) => flags.find(({ name }) => name === positional)!);
  const needed = flags.filter((flag) => flag.required && !args.includes(flag));
  const words = needed.map((flag) => `--${flag.name} ${placeholder(flag)}`);
  // The command after -- has its own flags.
  const rest = stage === 'submit' ? '-- ' : '';
  const places = args.map(({ name, repeated }) => (repeated ? `[${rest}<${name}> …]` : `<${name}>`));
  const [before, after] = [places.filter((_, i) => !args[i]!.repeated), places.filter((_, i) => args[i]!.repeated)];
  const usage = ['sae-pipe', stage, ...before, ...words, '[flags]', ...after].join(' ');
  const topics = byTopic(
    stage,
    flags.filter((flag) => !args.includes(flag)),
  );
  return [
    wrapped(usage, 2).trimStart(),
    '',
    wrapped(summary, 0),
    ...(args.length > 0 ? [''] : []),
    ...args.map((argument) => helpRow(`<${argument.name}>`, flagText(argument))),
    ...[...topics, ['Every command', COMMON] as const].flatMap(([topic, inside]) => [
      '',
      topic,
      ...inside.map(flagRow),
    ]),
    helpRow('-h, --help', 'this help'),
    '',
    'Example',
    `  ${example}`,
  ].join('\n');
}

function flagRow(flag: Flag): string {
  const value = flag.type === 'boolean' ? '' : ` ${placeholder(flag)}${flag.repeated ? ' …' : ''}`;
  return helpRow(`--${flag.name}${value}`, flagText(flag));
}

/** Description of a flag, its choices, and its default or that it is required. */
function flagText({ description, choices, default: value, type, required }: Flag): string {
  const shown = String(value) === '' ? 'none' : String(value);
  const notes = [
    ...(required ? ['[required]'] : []),
    ...(choices ? [`[choices: ${choices.join(', ')}]`] : []),
    ...(value === undefined || type === 'boolean' ? [] : [`[default: ${shown}]`]),
  ];
  return [description, ...notes].join(' ');
}

function helpRow(name: string, description: string): string {
  const indented = wrapped(description, NAME_COLUMNS + 4);
  const first = `  ${name}`;
  return first.length + 2 > NAME_COLUMNS + 4 ? `${first}\n${indented}` : first + indented.slice(first.length);
}

/** Wraps a text and indents each line. */
function wrapped(words: string, indent: number): string {
  const width = Math.max(40, Math.min(HELP_WIDTH, process.stdout.columns ?? HELP_WIDTH)) - indent;
  const lines = [''];
  for (const word of words.split(' ')) {
    const line = lines.at(-1)!;
    if (line !== '' && line.length + 1 + word.length > width) lines.push(word);
    else lines[lines.length - 1] = line === '' ? word : `${line} ${word}`;
  }
  return lines.map((line) => ' '.repeat(indent) + line).join('\n');
}

/** Topic of each flag, by schema key; the help shows flags in these groups, in this order. */
const TOPICS: Readonly<Record<string, readonly string[]>> = {
  Input: [
    'scheduler',
    'command',
    'chain',
    'activations',
    'target',
    'what',
    'to',
    'evaluation',
    'license',
    'baseModel',
    'directory',
    'store',
    'folder',
    'name',
    'sae',
    'feature',
    'features',
    'prompt',
    'chat',
    'token',
    'minus',
    'position',
    'import',
    'source',
    'as',
    'set',
    'corpus',
    'textField',
    'chatField',
    'roles',
    'encoding',
    'corpusFormat',
    'idsField',
    'idsDtype',
    'corpusWeights',
    'mixtureStop',
    'shuffleBuffer',
    'cacheCorpus',
    'skipDocuments',
    'maxDocuments',
    'holdout',
    'excludeSpecialTokens',
    'maxActivationNormMultiple',
  ],
  Model: [
    'model',
    'revision',
    'offline',
    'hook',
    'hookOut',
    'context',
    'prependBos',
    'batch',
    'contextsPerPass',
    'anyModel',
    'precision',
  ],
  'What is changed': ['add', 'scale', 'changes', 'positions', 'from', 'errorTerm'],
  'Choice of tokens': ['temperature', 'topP', 'stop'],
  'How much': ['tokens', 'steps', 'quick', 'textTokens', 'until', 'shard'],
  Dictionary: [
    'arch',
    'recipe',
    'dSae',
    ...Object.keys(architectureFlags),
    'skip',
    'train',
    'init',
    'anyHook',
    'anyModel',
    'bDecInit',
    'start',
    'initSubspace',
    'normalize',
    'runs',
  ],
  Sparsity: ['l1', 'l0', 'l1Convention', 'l2Normalise', 'l1Warmup', 'l1WarmupShare'],
  Optimiser: [
    'lr',
    'warmup',
    'lrDecay',
    'decaySteps',
    'decayShare',
    'lrEnd',
    'beta1',
    'beta2',
    'clipGradNorm',
    'order',
    'poolRows',
  ],
  'Dead features': ['deadWindow', 'resampleAt', 'resampleInputs', 'resampleWarmup'],
  Measuring: [
    'meanAblation',
    'allTokens',
    'topK',
    'window',
    'logits',
    'dose',
    'ablateFeatures',
    'setFeatures',
    'method',
    'candidates',
    'top',
  ],
  Job: ['partition', 'gres', 'time', 'cpus', 'mem', 'array', 'sbatch', 'notice', 'requeue', 'maxRequeues'],
  Output: [
    'out',
    'static',
    'html',
    'page',
    'featurePages',
    'overwrite',
    'resume',
    'takeOver',
    'dtype',
    'rowsPerShard',
    'windowRows',
    'logDir',
    'title',
    'reference',
    'port',
    'json',
    'message',
    'create',
    'private',
    'yes',
    'dryRun',
  ],
  'Curve and checkpoints': ['logEvery', 'checkpointEvery', 'keepCheckpoints', 'discardState', 'strict'],
  'Hardware and repeatability': [
    'device',
    'modelDevice',
    'threads',
    'modelThreads',
    'engine',
    'enginePrecision',
    'experimental',
    'seed',
  ],
};

/** Flags whose topic differs in one command. */
const TOPICS_OF_STAGE: Readonly<Partial<Record<StageName, Readonly<Record<string, string>>>>> = {
  // --batch of train counts activations, elsewhere contexts.
  train: { batch: 'Optimiser' },
  generate: { topK: 'Choice of tokens' },
  steer: { topK: 'Choice of tokens', set: 'What is changed', ablate: 'What is changed', feature: 'What is changed' },
};

const OTHERS = 'Others';
const TOPIC_OF = new Map(Object.entries(TOPICS).flatMap(([topic, keys]) => keys.map((key) => [key, topic] as const)));

/** Flags under their topics, in the order of the topics; required flags first within each. */
export function byTopic(stage: StageName, flags: readonly Flag[]): [topic: string, flags: Flag[]][] {
  const topicOf = ({ key }: Flag) => TOPICS_OF_STAGE[stage]?.[key] ?? TOPIC_OF.get(key) ?? OTHERS;
  return [...Object.keys(TOPICS), OTHERS].flatMap((topic): [string, Flag[]][] => {
    const inside = flags.filter((flag) => topicOf(flag) === topic);
    inside.sort((a, b) => Number(b.required) - Number(a.required));
    return inside.length > 0 ? [[topic, inside]] : [];
  });
}
