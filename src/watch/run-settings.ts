import { lstat } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { readTextFile } from '../disk/json-file.js';
import { CFG_FILE } from '../sae/saelens.js';
import { RUN_FILE } from '../train/run-file.js';

/** Settings are small; a larger file is none of ours. */
const LARGEST = 1 << 20;

const known = <T extends z.ZodType>(type: T) => type.optional().catch(undefined);
const text = known(z.string());
const number = known(z.number());
const words = known(z.array(z.string()));
const settingsSchema = z.object({
  model_name: text,
  hook_name: text,
  sae_pipe: known(z.object({ arch: text, d_sae: number, l1: number, steps: number, ablate: words, train: words })),
});

/** What is known of a run; each of it may be missing. */
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
  /** --ablate and --train, which make a family of their own (report/family.ts). */
  readonly ablate?: readonly string[];
  readonly train?: readonly string[];
}

/** Follows what a run says of itself: run.json until it is finished, and while it is trained further; else cfg.json. */
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
    // A run.json beside cfg.json that asks for more steps: the SAE is being trained further.
    const further = second?.steps !== undefined && first?.steps !== undefined && second.steps > first.steps;
    this.settings = further ? { finished: false, ...second } : { finished, ...first };
    return true;
  }

  private async look(name: string): Promise<{ name: string; written: number; size: number } | undefined> {
    const stat = await lstat(join(this.directory, name)).catch(() => undefined);
    return stat?.isFile() && stat.size <= LARGEST ? { name, written: stat.mtimeMs, size: stat.size } : undefined;
  }

  private async read(name: string): Promise<Omit<RunSettings, 'finished'>> {
    const json = await readTextFile(join(this.directory, name), undefined, LARGEST)
      .then((text) => JSON.parse(text ?? 'null'))
      .catch(() => undefined);
    const parsed = settingsSchema.safeParse(name === CFG_FILE ? json?.metadata : json);
    if (!parsed.success) return {};
    const { model_name: model, hook_name: hook, sae_pipe } = parsed.data;
    return {
      model,
      hook,
      architecture: sae_pipe?.arch,
      dSae: sae_pipe?.d_sae,
      l1: sae_pipe?.l1,
      steps: sae_pipe?.steps,
      ablate: sae_pipe?.ablate,
      train: sae_pipe?.train,
    };
  }
}
