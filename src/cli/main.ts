import { version } from '../config/flags.js';
import type { StageName } from '../config/stages.js';
import { insteadOfStage } from '../config/suggest.js';
import { UsageRefusal } from '../errors/refusal.js';
import '../onnx/environment.js';
import type { Progress } from '../progress/progress.js';
import { closeUnaskedDebugger, watchSignals } from '../progress/stop.js';
import { COMMANDS } from './commands.js';
import { COMPLETION, COMPLETION_HELP, completionScript } from './completion.js';
import { explain, type LogFormat, StandardStreams } from './explain.js';
import { commandHelp, programHelp } from './help.js';
import { stageConfig } from './stage-config.js';
import type { ConfigOf } from './submitted.js';
import { usesCuda } from './uses-cuda.js';

const SEE_HELP = 'sae-pipe --help lists the commands.';

/**
 * Runs a command line.
 *
 * @returns the exit code: 0 done, 1 failed, 2 usage, 128 + n stopped by signal n
 */
export async function run(args: readonly string[]): Promise<number> {
  // Parsed by hand, since a command line that does not parse must be explained too.
  const own = args.slice(0, args.includes('--') ? args.indexOf('--') : undefined);
  const verbose = own.includes('--verbose');
  const log = own.some((arg, i) => arg === '--log=json' || (arg === '--log' && own[i + 1] === 'json'));
  const streams = new StandardStreams();
  await closeUnaskedDebugger();
  try {
    const code = await dispatch(args);
    await streams.flushed();
    return code;
  } catch (error) {
    const code = explain(error, { verbose, log: log ? 'json' : 'text' });
    // The stream was abandoned: output that nobody reads would keep the process alive.
    if (process.stdout.writableLength > 0) process.exit(code);
    return code;
  }
}

async function dispatch(args: readonly string[]): Promise<number> {
  // As two words, people look for them under the command whose folder they use.
  if (args[0] === 'features' && args[1] === 'export') return dispatch(['export-features', ...args.slice(2)]);
  if (args[0] === 'features' && args[1] === 'labels') return dispatch(['labels', ...args.slice(2)]);
  if (args[0] === 'help') return dispatch([...args.slice(1), '--help']);
  const flags = args.slice(0, args.includes('--') ? args.indexOf('--') : undefined);
  const asks = (...names: string[]) => names.some((name) => flags.includes(name));
  if (asks('--version', '-V', '-v')) {
    process.stdout.write(`${version()}\n`);
    return 0;
  }
  // The command usually comes first; after flags, it is the first word that is a command.
  const first = args.findIndex((arg) => !arg.startsWith('-'));
  const known = args.findIndex((arg) => Object.hasOwn(COMMANDS, arg) || arg === COMPLETION);
  const at = first === 0 || known < 0 ? first : known;
  // A word after a flag is the flag's value, not a misspelt command.
  const name = at > 0 && known < 0 ? undefined : args[at];
  const help = asks('--help', '-h');
  if (name === undefined) {
    if (args.length > 0 && !help) throw new UsageRefusal('No command given.', SEE_HELP, 'cli/no-command');
    process.stdout.write(`${programHelp()}\n`);
    return 0;
  }
  if (name === COMPLETION) {
    process.stdout.write(help ? `${COMPLETION_HELP}\n` : completionScript(args.toSpliced(at, 1)));
    return 0;
  }
  if (!Object.hasOwn(COMMANDS, name)) {
    throw new UsageRefusal(`"${name}" is not a command.`, insteadOfStage(name) ?? SEE_HELP, 'cli/unknown-command');
  }
  const stage = name as StageName;
  if (help) process.stdout.write(`${commandHelp(stage)}\n`);
  else await runCommand(stage, args.toSpliced(at, 1));
  return 0;
}

async function runCommand(stage: StageName, args: readonly string[]): Promise<void> {
  const { config, file, log } = await stageConfig(stage, args);
  // Before anything in this process loads ONNX Runtime.
  if (usesCuda(stage, config, file)) await (await import('../onnx/cuda-provider.js')).prepareCudaProvider();
  const progress = await progressFor(log);
  const stop = watchSignals(progress);
  // A signal received at startup may only have been delivered now.
  await closeUnaskedDebugger();
  try {
    const write = (text: string) => process.stdout.write(text);
    const print = (line: string) => write(`${line}\n`);
    const configOf: ConfigOf = (other, words) => stageConfig(other, words);
    await COMMANDS[stage].run(config as never, { progress, stop, print, write }, file, configOf);
  } finally {
    progress.end();
  }
}

async function progressFor(log: LogFormat): Promise<Progress> {
  if (log === 'text') return (await import('../progress/terminal.js')).terminalProgress();
  return (await import('../progress/json-log.js')).jsonProgress((line) => process.stderr.write(line));
}
