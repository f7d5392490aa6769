import type { z } from 'zod';
import { flagsOf } from '../config/flags.js';
import { loadConfig } from '../config/load.js';
import { STAGES, type StageName } from '../config/stages.js';
import { UsageRefusal } from '../errors/refusal.js';
import { spelling, splitArguments, withPositional } from './arguments.js';
import { COMMANDS } from './commands.js';
import { LOG_FORMATS, type LogFormat } from './explain.js';

/** A parsed command line of a stage. */
interface Asked<S extends StageName> {
  readonly config: z.infer<(typeof STAGES)[S]>;
  /** The configuration file. */
  readonly file: string | undefined;
  readonly log: LogFormat;
}

/**
 * The configuration of a stage from its command line and the configuration file named there.
 *
 * @throws UsageRefusal for invalid flags or values
 */
export async function stageConfig<S extends StageName>(stage: S, args: readonly string[]): Promise<Asked<S>> {
  const {
    config: named,
    log = LOG_FORMATS[0],
    verbose: _verbose,
    ...given
  } = withPositional(stage, splitArguments(stage, flagsOf(STAGES[stage]), args)) as Record<string, unknown> & {
    config?: string;
    log?: string;
  };
  const also = COMMANDS[stage].file;
  const file = named ?? (also === undefined ? undefined : (given[also] as string | undefined));
  if (!isLogFormat(log)) {
    throw new UsageRefusal(
      `--log does not accept "${log}".`,
      `Give ${LOG_FORMATS.join(' or ')}.`,
      'config/wrong-value',
    );
  }
  const config = (await COMMANDS[stage].load?.(given, file)) ?? loadConfig(stage, given, file, {}, spelling(stage));
  return { config, file, log };
}

function isLogFormat(value: string): value is LogFormat {
  return LOG_FORMATS.some((format) => format === value);
}
