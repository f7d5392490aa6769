import { lstat } from 'node:fs/promises';
import { join } from 'node:path';
import { recordName } from '../config/flags.js';
import { LARGEST_RUN_FILE, RUN_FILE } from '../config/run-file.js';
import { parseJson, readTextFile } from '../disk/json.js';
import { architectureFlags } from '../sae/registry.js';
import { CFG_FILE } from '../sae/saelens.js';
import { runMetadata, type TrainingRecord } from '../sae/training-record.js';

/** The architecture-specific flags in a record, by key; undefined without any. */
function ownOf(record: TrainingRecord | undefined): RunSettings['own'] {
  const keys = Object.keys(architectureFlags).map(recordName);
  const said = keys.flatMap((key) => (record?.[key] === undefined ? [] : [[key, record[key]]]));
  return said.length > 0 ? Object.fromEntries(said) : undefined;
}

/** What is known about a run; anything may be missing. */
export interface RunSettings {
  /** Its SAE is saved. */
  readonly finished: boolean;
  readonly model?: string;
  readonly hook?: string;
  readonly architecture?: string;
  readonly dSae?: number;
  readonly l1?: number;
  /** Steps of the whole run. */
  readonly steps?: number;
  /** Its architecture's flags, by their keys in cfg.json; they and --train make families (report/family-styles.ts). */
  readonly own?: Readonly<Record<string, unknown>>;
  readonly train?: readonly string[];
}

/**
 * Follows the settings of a run: run.json until it is finished, and while it is trained further; otherwise cfg.json.
 */
export class SettingsFile {
  settings: RunSettings = { finished: false };
  private seen = '';

  constructor(private readonly directory: string) {}

  /** @returns whether anything changed */
  async update(): Promise<boolean> {
    const found = [await this.look(CFG_FILE), await this.look(RUN_FILE)].filter((file) => file !== undefined);
    const seen = found.map(({ name, written, size }) => `${name} ${written} ${size}`).join(' ');
    if (seen === this.seen) return false;
    this.seen = seen;
    const [first, second] = await Promise.all(found.map(({ name }) => this.read(name)));
    const finished = found[0]?.name === CFG_FILE;
    // A run.json next to cfg.json with more steps: the SAE is being trained further.
    const further = second?.steps !== undefined && first?.steps !== undefined && second.steps > first.steps;
    this.settings = further ? { finished: false, ...second } : { finished, ...first };
    return true;
  }

  private async look(name: string): Promise<{ name: string; written: number; size: number } | undefined> {
    const stat = await lstat(join(this.directory, name)).catch(() => undefined);
    return stat?.isFile() && stat.size <= LARGEST_RUN_FILE
      ? { name, written: stat.mtimeMs, size: stat.size }
      : undefined;
  }

  private async read(name: string): Promise<Omit<RunSettings, 'finished'>> {
    const json = await readTextFile(join(this.directory, name), undefined, LARGEST_RUN_FILE)
      .then((text) => parseJson(text ?? 'null') as { metadata?: unknown } | null)
      .catch(() => undefined);
    const parsed = runMetadata.safeParse(name === CFG_FILE ? json?.metadata : json);
    if (!parsed.success) return {};
    const { model_name: model, hook_name: hook, sae_pipe } = parsed.data;
    return {
      model: model ?? undefined,
      hook: hook ?? undefined,
      architecture: sae_pipe?.arch,
      dSae: sae_pipe?.d_sae,
      // If λ is adjusted, its initial value no longer applies.
      l1: sae_pipe?.l0 === undefined ? (sae_pipe?.l1 ?? undefined) : undefined,
      steps: sae_pipe?.steps,
      own: ownOf(sae_pipe),
      train: sae_pipe?.train ?? undefined,
    };
  }
}
