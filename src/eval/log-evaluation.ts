import { join, resolve, sep } from 'node:path';
import type { EvalConfig } from '../config/stages/eval.js';
import { lockOutputDirectory } from '../disk/output-directory.js';
import { Refusal } from '../errors/refusal.js';
import { trainingRecordOf } from '../sae/training-record.js';
import type { EventPoint } from '../tensorboard/event.js';
import { EventLog, isEventFile, removeEventFiles } from '../tensorboard/event-log.js';
import type { EvalRecord } from './record.js';

/** Where the points of each SAE go: --log-dir itself for one; for several, below it, by their paths from where they part. */
export function logDirectories(logDir: string, saes: readonly string[]): string[] {
  if (saes.length === 1) return [logDir];
  const parts = saes.map((path) => resolve(path).split(sep));
  let shared = 0;
  while (parts.every((path) => path.length > shared + 1 && path[shared] === parts[0]![shared])) shared++;
  return parts.map((path) => join(logDir, ...path.slice(shared)));
}

/**
 * Writes an evaluation's figures as points for TensorBoard, at the step that each SAE was trained to; points of an
 * earlier evaluation there are replaced, and those of training stay.
 *
 * @param directories of each record
 * @throws Refusal where two SAEs have one directory, or it cannot be written
 */
export async function logEvaluation(
  records: readonly EvalRecord[],
  directories: readonly string[],
  config: Pick<EvalConfig, 'out' | 'takeOver'>,
  say: (line: string) => void,
): Promise<void> {
  const twice = directories.find((one, i) => directories.indexOf(one) !== i);
  if (twice !== undefined) {
    throw new Refusal(`${twice} would have the points of two SAEs.`, 'Give each --sae once.', 'tensorboard/sae-twice');
  }
  for (const [i, record] of records.entries()) await logRecord(record, directories[i]!, config, say);
}

async function logRecord(
  record: EvalRecord,
  directory: string,
  { out, takeOver }: Pick<EvalConfig, 'out' | 'takeOver'>,
  say: (line: string) => void,
): Promise<void> {
  const claim = { overwrite: false, resume: true, ours: isEventFile, takeOver: { unchecked: takeOver, say } };
  const lock = await lockOutputDirectory(directory, claim);
  try {
    await removeEventFiles(directory, 'eval');
    const log = await EventLog.open(directory, 'eval', out, 0);
    try {
      const { steps } = trainingRecordOf(record.cfg);
      await log.append(Number.isSafeInteger(steps) && steps! >= 0 ? steps! : 0, pointsOf(record));
      await log.sync();
    } finally {
      await log.close();
    }
  } finally {
    await lock.release();
  }
}

/** Every figure that is a number, the densities, and how it was measured. */
function pointsOf(record: EvalRecord): EventPoint[] {
  const figures = Object.entries(record).flatMap(([name, value]): EventPoint[] =>
    typeof value === 'number' && Number.isFinite(value) ? [{ tag: `eval/${name}`, value }] : [],
  );
  const { log10_edges: edges, counts, dead } = record.density_histogram;
  return [
    ...figures,
    { tag: 'eval/dead_features', value: dead },
    { tag: 'eval/log10_density', bins: { edges, counts } },
    { tag: 'eval/settings', text: settingsList(record) },
  ];
}

function settingsList({ sae, hook, model, settings }: EvalRecord): string {
  const rows = Object.entries({ sae, hook, model, ...settings }).filter(([, value]) => value !== undefined);
  return ['| | |', '|---|---|', ...rows.map(([name, value]) => `| ${name} | ${String(value)} |`)].join('\n');
}
