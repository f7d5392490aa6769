import { join, resolve, sep } from 'node:path';
import type { EvalConfig } from '../config/stages/eval.js';
import { lockOutputDirectory } from '../disk/output-directory.js';
import { Refusal } from '../errors/refusal.js';
import { trainingRecordOf } from '../sae/training-record.js';
import type { EventPoint } from '../tensorboard/event.js';
import { EventLog, isEventFile, removeEventFiles } from '../tensorboard/event-log.js';
import type { EvalRecord } from './record.js';

/**
 * Log directory of each SAE: --log-dir itself for one; for several, subdirectories named after the differing parts of
 * their paths.
 */
export function logDirectories(logDir: string, saes: readonly string[]): string[] {
  if (saes.length === 1) return [logDir];
  const parts = saes.map((path) => resolve(path).split(sep));
  let shared = 0;
  while (parts.every((path) => path.length > shared + 1 && path[shared] === parts[0]![shared])) shared++;
  return parts.map((path) => join(logDir, ...path.slice(shared)));
}

/**
 * Writes an evaluation's figures as TensorBoard points, at the step each SAE was trained to; replaces points of an
 * earlier evaluation and keeps those of training.
 *
 * @param directories one per record
 * @throws Refusal if two SAEs share a directory, or it is not writable
 */
export async function logEvaluation(
  records: readonly EvalRecord[],
  directories: readonly string[],
  config: Pick<EvalConfig, 'out' | 'takeOver'>,
  say: (line: string) => void,
): Promise<void> {
  const twice = directories.find((one, i) => directories.indexOf(one) !== i);
  if (twice !== undefined) {
    throw new Refusal(
      `${twice} would contain the points of two SAEs.`,
      'Give each --sae once.',
      'tensorboard/sae-twice',
    );
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

/** Every numeric figure, the densities, and the settings. */
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
