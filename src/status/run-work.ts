import { join } from 'node:path';
import { RUN_FILE } from '../config/run-file.js';
import { shellWord } from '../config/shell-word.js';
import { fileTail } from '../disk/file-tail.js';
import { exists } from '../disk/input-file.js';
import { parseJson } from '../disk/json.js';
import { METRICS_FILE, type MetricsRecord, metricsLine } from '../sae/training-curve.js';
import { resumedStep } from '../train/training-checkpoint.js';
import type { Holder } from './owners.js';
import { SettingsFile } from './run-settings.js';
import { standingOf } from './run-standing.js';
import type { WorkStatus } from './work.js';

/** Bytes of the end of a curve: some fifty lines. */
const TAIL = 16_384;
/** Lines between which speed is averaged, as on the live page. */
const RECENT = 11;

/** A training, from run.json or cfg.json and the last lines of its curve. */
export async function runWork(directory: string, holder: Holder | undefined, now: number): Promise<WorkStatus> {
  const file = new SettingsFile(directory);
  await file.update();
  const curve = await fileTail(join(directory, METRICS_FILE), TAIL);
  const recent = linesOf(curve?.text ?? '').slice(-RECENT);
  const written = curve?.written ?? holder?.taken ?? now;
  const { state, step, steps, rate, left } = standingOf(
    recent,
    { ...file.settings, owner: holder?.state ?? 'gone' },
    written,
    now,
  );
  // Lines of the curve are --log-every steps apart, and those after the checkpoint are made again.
  const kept = state === 'stopped' ? await resumedStep(directory) : undefined;
  const resumable = state === 'stopped' && (await exists(join(directory, RUN_FILE)));
  return {
    ...{ kind: 'train', directory, state, done: kept ?? step, unit: 'step' },
    ...(steps !== undefined && { total: steps }),
    ...(rate !== undefined && (state === 'running' || state === 'stalled') && { rate }),
    ...(left !== undefined && { left }),
    ...(resumable && { resume: `sae-pipe train --resume --out ${shellWord(directory)}` }),
  };
}

/** The whole lines of the end of a curve that are what training writes. */
function linesOf(text: string): MetricsRecord[] {
  return text
    .split('\n')
    .slice(0, -1)
    .flatMap((line) => {
      try {
        return [metricsLine.parse(parseJson(line))];
      } catch {
        return [];
      }
    });
}
