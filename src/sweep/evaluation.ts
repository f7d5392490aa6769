import { join } from 'node:path';
import { commandWords, isLasting, type TrainingCommand } from '../config/command-words.js';
import { loadConfig, section } from '../config/load.js';
import { Refusal } from '../config/refusal.js';
import { type EvalConfig, type SweepConfig, sweepSchema } from '../config/stages.js';
import { openCorpus } from '../corpus/documents.js';
import { exists } from '../disk/exists.js';
import { evaluate, evaluateUnlessSame } from '../eval/evaluate.js';
import type { EvalRecord } from '../eval/record.js';
import { EVAL_FILE } from '../eval/write-evaluation.js';
import type { Progress, StopRequest } from '../progress/progress.js';
import { readEvaluation } from '../report/read.js';

/**
 * Configuration of a sweep's evaluation: the file's section eval. Its model is the harvest's where it names none.
 *
 * @param sae directories of the SAEs
 * @throws UsageRefusal where something is missing or does not fit
 */
export function evaluationConfig(config: SweepConfig, file: string, sae: readonly string[]): EvalConfig {
  const evaluation = section(file, 'eval');
  const { model, revision } = section(file, 'harvest');
  const takeOver = config.takeOver ? { 'take-over': true } : {};
  const inherited =
    evaluation.model === undefined && model !== undefined
      ? { model, ...(revision !== undefined && evaluation.revision === undefined && { revision }) }
      : {};
  const out = join(config.out, 'eval');
  return loadConfig('eval', { ...inherited, sae: [...sae], out, overwrite: true, ...takeOver }, file);
}

/** @throws Refusal when the text of the evaluation is not there or cannot be read */
export async function checkEvaluation({ corpus, textField, encoding }: EvalConfig): Promise<void> {
  await openCorpus({ corpus, textField, encoding }, { say() {} });
}

/** Evaluates, unless nothing was trained since an evaluation of just these SAEs. */
export async function evaluationOf(
  config: SweepConfig,
  file: string,
  sae: readonly string[],
  trained: boolean,
  progress: Progress,
  stop: StopRequest,
): Promise<readonly EvalRecord[]> {
  const wanted = evaluationConfig(config, file, sae);
  const command = commandOf(config, file);
  if (trained || !(await exists(join(wanted.out, EVAL_FILE)))) return evaluate(wanted, progress, stop, command);
  return evaluateUnlessSame(await recordsOf(wanted.out, progress), wanted, progress, stop, command);
}

/** The command of this sweep, which is how its SAEs are made again; null where its file was a pipe. */
function commandOf(config: SweepConfig, file: string): TrainingCommand | null {
  if (!isLasting(file)) return null;
  const words = ['--config', file, ...commandWords(sweepSchema, { ...config }), '--out', config.out];
  return { stage: 'sweep', directory: process.cwd(), words };
}

/** The records of an evaluation; none where it is broken, which is said. */
async function recordsOf(directory: string, progress: Progress): Promise<EvalRecord[]> {
  try {
    return (await readEvaluation(directory)).map(({ record }) => record);
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    progress.say(`${error.message} The SAEs are evaluated again.`);
    return [];
  }
}
