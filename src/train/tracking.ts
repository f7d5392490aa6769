import { join, resolve } from 'node:path';
import { flagsOf } from '../config/flags.js';
import { type TrainConfig, trainSchema } from '../config/stages/train.js';
import type { DirectoryLock } from '../disk/lock.js';
import { lockOutputDirectory } from '../disk/output-directory.js';
import { METRICS_FILE, type MetricsLine, type MetricsRecord, readCurve } from '../sae/training-curve.js';
import type { EventPoint } from '../tensorboard/event.js';
import {
  checkEventFiles,
  checkLogDirectory,
  EventLog,
  isEventFile,
  removeEventFiles,
} from '../tensorboard/event-log.js';
import { type DensitySample, densityBins } from './density.js';

/** Checks, before anything is opened, that --log-dir is writable and does not belong to another run. */
export async function checkTracking({ logDir, out, resume, overwrite }: TrainConfig): Promise<void> {
  if (logDir === undefined) return;
  await checkLogDirectory(logDir, out);
  await checkEventFiles(logDir, 'train', out, resume || overwrite);
}

/** A run's points in --log-dir, for TensorBoard. */
export class Tracking {
  private constructor(
    private readonly logDir: string,
    private readonly lock: DirectoryLock | undefined,
  ) {}

  private log: EventLog | undefined;

  /**
   * Claims --log-dir for this run without changing anything in it. To be called by the owner of --out.
   *
   * @returns undefined without --log-dir
   */
  static async claim(config: TrainConfig, say: (line: string) => void): Promise<Tracking | undefined> {
    const { logDir, out } = config;
    if (logDir === undefined) return undefined;
    await checkTracking(config);
    const takeOver = { unchecked: config.takeOver, say };
    const claim = { overwrite: false, resume: true, ours: isEventFile, takeOver };
    const own = resolve(logDir) === resolve(out);
    return new Tracking(logDir, own ? undefined : await lockOutputDirectory(logDir, claim));
  }

  /** Starts after `steps` steps, adding the curve lines that the event files lack. */
  async begin(config: TrainConfig, steps: number): Promise<void> {
    if (config.overwrite) await removeEventFiles(this.logDir, 'train');
    const log = await EventLog.open(this.logDir, 'train', config.out, steps);
    this.log = log;
    if (log.last < 0) await log.append(0, [{ tag: 'configuration', text: settingsTable(config) }]);
    for (const line of await readCurve(join(config.out, METRICS_FILE))) {
      if (line.step > log.last) await this.line(line);
    }
  }

  /** The points of a line of metrics.jsonl; unknown values are skipped. */
  async line({ step, ...values }: MetricsLine | MetricsRecord): Promise<void> {
    const points = Object.entries(values).flatMap(([name, value]): EventPoint[] =>
      typeof value === 'number' && Number.isFinite(value) ? [{ tag: `train/${name}`, value }] : [],
    );
    await this.log?.append(step, points);
  }

  /** The density of features on a batch after `step` steps. */
  async density(step: number, sample: DensitySample): Promise<void> {
    const { bins, silent } = await densityBins(sample);
    await this.log?.append(step, [
      { tag: 'features/log10_density', bins },
      { tag: 'features/silent_in_sample', value: silent },
    ]);
  }

  async sync(): Promise<void> {
    await this.log?.sync();
  }

  async close(): Promise<void> {
    await this.log?.close();
    await this.lock?.release();
  }
}

/** The flags of a run as a Markdown table. */
function settingsTable(config: TrainConfig): string {
  const rows = flagsOf(trainSchema).flatMap(({ key, name }) => {
    const value = config[key as keyof TrainConfig];
    const words = [value].flat().map(String).join(', ').replaceAll('|', '\\|').replaceAll('\n', ' ');
    return value === undefined ? [] : [`| ${name} | ${words} |`];
  });
  return ['| flag | value |', '|---|---|', ...rows].join('\n');
}
