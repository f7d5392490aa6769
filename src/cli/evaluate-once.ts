import { join } from 'node:path';
import type { EvalConfig } from '../config/stages.js';
import { exists } from '../disk/input-file.js';
import { Refusal } from '../errors/refusal.js';
import { evaluate, evaluateUnlessSame } from '../eval/evaluate.js';
import { EVAL_FILE, type EvalRecord } from '../eval/record.js';
import type { Progress, StopRequest } from '../progress/progress.js';
import { readEvaluation } from '../report/read-evaluation.js';

/**
 * Evaluates, unless config.out holds just this evaluation: a scheduler runs a command again that was killed after its
 * last file was written, and that has to succeed.
 */
export async function evaluateOnce(
  config: EvalConfig,
  progress: Progress,
  stop: StopRequest,
): Promise<readonly EvalRecord[]> {
  const before = config.overwrite ? undefined : await evaluationIn(config.out);
  if (before === undefined) return evaluate(config, progress, stop);
  const records = await evaluateUnlessSame(before, config, progress, stop);
  progress.say(`${config.out} holds this evaluation already; nothing was measured again.`);
  return records;
}

/** Records of a whole evaluation; undefined where there is none. */
async function evaluationIn(directory: string): Promise<EvalRecord[] | undefined> {
  if (!(await exists(join(directory, EVAL_FILE)))) return undefined;
  try {
    return (await readEvaluation(directory)).map(({ record }) => record);
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    return undefined;
  }
}
