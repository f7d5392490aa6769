import { cpSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { harvestSchema } from '../../src/config/stages/harvest.js';
import { harvest } from '../../src/harvest/harvest.js';
import { silent } from '../../src/progress/progress.js';
import type { MetricsRecord } from '../../src/sae/training-curve.js';
import { fixture } from '../fixtures.js';

/** A store of a few thousand activations of the bundled model, d_in 192, in several shards. */
export async function tinyActivations(root: string, hook = 'blocks.1.hook_mlp_out', tokens = 4000): Promise<string> {
  const harvested = await fixture(`acts-${hook}-${tokens}`, (out) => {
    const config = harvestSchema.parse({
      model: 'assets/tiny-gemma',
      corpus: 'assets/corpus/validation.jsonl.gz',
      hook: [hook],
      tokens,
      context: 128,
      dtype: 'float16',
      rowsPerShard: Math.ceil(tokens / 4),
      out,
      overwrite: true,
    });
    return harvest(config, silent, { signal: undefined });
  });
  cpSync(harvested, join(root, 'acts'), { recursive: true });
  return join(root, 'acts', hook);
}

/** The training curve of a run. */
export function curveOf(directory: string): MetricsRecord[] {
  const lines = readFileSync(join(directory, 'metrics.jsonl'), 'utf8').trim().split('\n');
  return lines.map((line) => JSON.parse(line) as MetricsRecord);
}
