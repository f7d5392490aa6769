import yargs from 'yargs';
import { type Flag, flagsOf } from '../config/flags.js';
import { loadConfig } from '../config/load.js';
import { nearest } from '../config/nearest.js';
import { UsageRefusal } from '../config/refusal.js';
import { STAGES, type StageName } from '../config/stages.js';
import { version } from '../config/version.js';
import type { Progress, StopRequest } from '../progress/progress.js';
import { COMMANDS } from './commands.js';
import { explain, LOG_FORMATS, type LogFormat } from './explain.js';
import { StandardStreams } from './standard-streams.js';

/** What a command gets beside its configuration. */
export interface Terminal {
  readonly progress: Progress;
  readonly stop: StopRequest;
  /** Prints a line of results on standard output. */
  readonly print: (line: string) => void;
}

/**
 * Runs a command line.
 *
 * @returns the exit code: 0 done, 1 failed, 2 usage, 130 or 143 interrupted
 */
export async function run(args: readonly string[]): Promise<number> {
  // Both are looked for by hand: what cannot be parsed must be explained, too.
  const verbose = args.includes('--verbose');
  const log = args.some((arg, i) => arg === '--log=json' || (arg === '--log' && args[i + 1] === 'json'));
  const streams = new StandardStreams();
  try {
    const code = await dispatch(args);
    await streams.flushed();
    return code;
  } catch (error) {
    const code = explain(error, { verbose, log: log ? 'json' : 'text' });
    // A stream that was given up: what its reader does not take would keep the process alive.
    if (process.stdout.writableLength > 0) process.exit(code);
    return code;
  }
}

async function dispatch(args: readonly string[]): Promise<number> {
  if (args[0] === 'help') return dispatch([...args.slice(1), '--help']);
  // The command usually comes first; after flags, it is the first word that is one.
  const first = args.findIndex((arg) => !arg.startsWith('-'));
  const known = args.findIndex((arg) => Object.hasOwn(COMMANDS, arg));
  const at = first === 0 || known < 0 ? first : known;
  const name = args[at];
  const asksHelp = args.length === 0 || args.includes('--help') || args.includes('-h');
  if (name !== undefined && !Object.hasOwn(COMMANDS, name)) {
    throw new UsageRefusal(
      `There is no command "${name}".`,
      `Did you mean ${nearest(name, Object.keys(COMMANDS), 1)[0]}?`,
    );
  }
  if (args.includes('--version') && name === undefined) {
    process.stdout.write(`${version()}\n`);
    return 0;
  }
  if (name === undefined || asksHelp) {
    process.stdout.write(`${await helpText(name as StageName | undefined)}\n`);
    return name === undefined && !asksHelp ? 2 : 0;
  }
  const stage = name as StageName;
  const { given, configFile, log } = readArguments(stage, args.toSpliced(at, 1));
  const config = loadConfig(stage, given, configFile);
  const progress = await progressFor(log);
  const stop = watchSignals(progress);
  try {
    const print = (line: string) => process.stdout.write(`${line}\n`);
    await COMMANDS[stage].run(config as never, { progress, stop, print }, configFile);
  } finally {
    progress.end();
  }
  return 0;
}

async function progressFor(log: LogFormat): Promise<Progress> {
  if (log === 'text') return (await import('../progress/terminal.js')).terminalProgress();
  return (await import('../progress/json-log.js')).jsonProgress((line) => process.stderr.write(line));
}

const COMMON: readonly Flag[] = [
  {
    key: 'config',
    name: 'config',
    type: 'string',
    repeated: false,
    description: 'YAML file with a section for each command, keys named like the flags; flags win',
  },
  {
    key: 'log',
    name: 'log',
    type: 'string',
    repeated: false,
    choices: LOG_FORMATS,
    default: LOG_FORMATS[0],
    description: 'progress and errors on standard error: text for people, or json, an object a line, for machines',
  },
  { key: 'verbose', name: 'verbose', type: 'boolean', repeated: false, description: 'show the stack of an error' },
];

/** Parses flags with yargs; nothing is checked or defaulted here, so that a YAML file can stand below the flags. */
function readArguments(
  stage: StageName,
  args: readonly string[],
): { given: Record<string, unknown>; configFile?: string; log: LogFormat } {
  const flags = [...flagsOf(STAGES[stage]), ...COMMON];
  const parsed = parser(stage, flags, false).parseSync([...args]) as Record<string, unknown> & {
    _: (string | number)[];
  };
  for (const name of ['config', 'log']) {
    if (Array.isArray(parsed[name])) throw new UsageRefusal(`--${name} was given more than once.`);
  }
  const { _: positionals, $0: _program, config, log = LOG_FORMATS[0], verbose: _verbose, ...given } = parsed;
  if (!isLogFormat(log)) throw new UsageRefusal(`--log "${log}" is not known.`, `It is ${LOG_FORMATS.join(' or ')}.`);
  for (const key of Object.keys(given)) if (given[key] === undefined) delete given[key];
  const positional = COMMANDS[stage].positional;
  if (positionals.length > 0 && positional) given[positional] = String(positionals.shift());
  if (positionals.length > 0) {
    throw new UsageRefusal(`sae-pipe ${stage} takes no argument "${positionals[0]}".`, `See sae-pipe ${stage} --help.`);
  }
  for (const flag of flags) {
    const value = given[flag.name];
    if (
      flag.type === 'number' &&
      !flag.repeated &&
      [value].flat().some((v) => v !== undefined && !Number.isFinite(v))
    ) {
      throw new UsageRefusal(`--${flag.name} is not a number.`, `It is ${flag.description}.`);
    }
    if (flag.type === 'string' && [value].flat().includes('')) throw new UsageRefusal(`--${flag.name} has no value.`);
  }
  return { given, configFile: config as string | undefined, log };
}

function isLogFormat(value: unknown): value is LogFormat {
  return LOG_FORMATS.includes(value as LogFormat);
}

const defaultText = (flag: Flag) => (String(flag.default) === '' ? 'none' : String(flag.default));

function parser(stage: StageName | undefined, flags: readonly Flag[], showChoices: boolean) {
  const y = yargs([])
    .parserConfiguration({ 'camel-case-expansion': false, 'dot-notation': false, 'duplicate-arguments-array': true })
    .scriptName('sae-pipe')
    .help(false)
    .version(false)
    .exitProcess(false)
    .wrap(Math.min(110, process.stdout.columns ?? 110));
  for (const flag of flags) {
    if (stage && COMMANDS[stage].positional === flag.name) continue;
    y.option(flag.name, {
      // Several numbers may stand in one word, separated by commas.
      type: flag.repeated && flag.type === 'number' ? 'string' : flag.type,
      requiresArg: flag.type !== 'boolean',
      description: flag.description,
      // Shown in the help; when arguments are read, the schema checks them.
      choices: showChoices && flag.choices ? [...flag.choices] : undefined,
      defaultDescription: flag.default === undefined || flag.type === 'boolean' ? undefined : defaultText(flag),
    });
  }
  return y.fail((message) => {
    const line = message.trim().replace(/\s*\n\s*/g, ' ');
    throw new UsageRefusal(`${line}.`, stage ? `See sae-pipe ${stage} --help.` : undefined);
  });
}

function helpText(stage: StageName | undefined): Promise<string> {
  if (stage) {
    const { summary, example, positional } = COMMANDS[stage];
    const flags = flagsOf(STAGES[stage]);
    const argument = flags.find((flag) => flag.name === positional);
    const described = argument ? `\n\n<${argument.name}>: ${argument.description}` : '';
    const usage = `sae-pipe ${stage}${positional ? ` <${positional}>` : ''} [flags]\n\n${summary}${described}`;
    return parser(stage, [...flags, ...COMMON], true)
      .usage(usage)
      .epilogue(`Example:\n  ${example}`)
      .getHelp();
  }
  const y = parser(undefined, [], true).usage(
    'sae-pipe <command> [flags]\n\nTrains sparse autoencoders on Gemma’s activations: harvest → train → eval → report.',
  );
  for (const [name, { summary }] of Object.entries(COMMANDS)) y.command(name, summary);
  return y.epilogue('sae-pipe <command> --help teaches each command. Start with: sae-pipe demo').getHelp();
}

/** The first Ctrl-C asks the stage to stop where nothing is lost; the second ends the process at once. */
function watchSignals(progress: Progress): StopRequest {
  const stop: StopRequest = { signal: undefined };
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.on(signal, () => {
      if (stop.signal) {
        // By the signal itself: process.exit would end worker threads within ONNX Runtime, and abort.
        process.removeAllListeners(signal);
        process.kill(process.pid, signal);
        return;
      }
      stop.signal = signal;
      progress.say(`${signal}: finishing what is under way (once more: stop at once)`);
    });
  }
  return stop;
}
