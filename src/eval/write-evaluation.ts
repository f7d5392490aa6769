import { rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { z } from 'zod';
import { Refusal } from '../config/refusal.js';
import { exists } from '../disk/exists.js';
import { Displaced } from '../disk/held-locks.js';
import { Unconfirmed } from '../disk/refused-write.js';
import { writeAside } from '../disk/write-aside.js';
import { copiedCurve } from '../train/curve.js';
import { METRICS_FILE } from '../train/metrics-record.js';
import type { MeasuredRecord } from './record.js';

export const EVAL_FILE = 'eval.json';
const curveFile = (i: number) => `training-${i}.jsonl`;

/** Is this a name that an evaluation's directory holds? */
export const isEvaluationFile = (name: string) => name === EVAL_FILE || /^training-\d+\.jsonl$/.test(name);

/**
 * Writes eval.json into an empty directory, the curves of the SAEs' training beside it, where they have one. Where that
 * fails the directory is empty again.
 *
 * @param say told of a curve that is left out
 * @returns the records with the names of their curves
 */
export async function writeEvaluation(
  directory: string,
  measured: readonly Omit<MeasuredRecord, 'training_curve'>[],
  say: (line: string) => void,
): Promise<MeasuredRecord[]> {
  const written: string[] = [];
  const write = async (name: string, content: Uint8Array | string) => {
    written.push(name);
    await writeAside(join(directory, name), content);
  };
  try {
    const records: MeasuredRecord[] = [];
    for (const [i, record] of measured.entries()) {
      const curve = await curveOf(record, say);
      if (curve !== null) await write(curveFile(i), curve);
      const { cfg, settings, ...before } = record;
      records.push({ ...before, training_curve: curve === null ? null : curveFile(i), settings, cfg });
    }
    await write(EVAL_FILE, `${JSON.stringify(records, null, 1)}\n`);
    return records;
  } catch (error) {
    // Where eval.json is in place, the evaluation is whole.
    const isWhole = error instanceof Unconfirmed && basename(error.path) === EVAL_FILE;
    if (isWhole || error instanceof Displaced) throw error;
    for (const name of written) await rm(join(directory, name), { force: true }).catch(() => {});
    throw error;
  }
}

/** Of a cfg.json, how long its SAE was trained. */
const trainedSchema = z.object({ metadata: z.object({ sae_pipe: z.object({ steps: z.number() }) }) });

/** The curve of an SAE's training; null where it came without one, or with something else under that name. */
async function curveOf(
  { sae, cfg }: Pick<MeasuredRecord, 'sae' | 'cfg'>,
  say: (line: string) => void,
): Promise<string | null> {
  const path = join(sae, METRICS_FILE);
  if (!(await exists(path))) return null;
  const trained = trainedSchema.safeParse(cfg);
  try {
    return await copiedCurve(path, trained.data?.metadata.sae_pipe.steps);
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    say(`${error.message} The evaluation is written without this training curve.`);
    return null;
  }
}
