import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { harvestSchema } from '../../src/config/stages.js';
import { harvest } from '../../src/harvest/harvest.js';
import { silent } from '../../src/progress/progress.js';
import type { MetricsRecord } from '../../src/sae/training-curve.js';

/** A store of a few thousand activations of the bundled model, d_in 192, in several shards. */
export async function tinyActivations(root: string, hook = 'blocks.1.hook_mlp_out', tokens = 4000): Promise<string> {
  const config = harvestSchema.parse({
    model: 'assets/tiny-gemma',
    corpus: 'assets/corpus/validation.jsonl.gz',
    hook: [hook],
    tokens,
    context: 128,
    rowsPerShard: Math.ceil(tokens / 4),
    out: join(root, 'acts'),
  });
  return (await harvest(config, silent, { signal: undefined }))[0]!;
}

/** The training curve of a run. */
export function curveOf(directory: string): MetricsRecord[] {
  const lines = readFileSync(join(directory, 'metrics.jsonl'), 'utf8').trim().split('\n');
  return lines.map((line) => JSON.parse(line) as MetricsRecord);
}
