import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { FORMAT, type Manifest, VERSION } from '../../src/activations/manifest.js';
import { Interrupted } from '../../src/config/refusal.js';
import { type HarvestConfig, harvestSchema } from '../../src/config/stages.js';
import type { Context } from '../../src/corpus/contexts.js';
import { openWriter, resumable } from '../../src/harvest/store-plan.js';
import { harvestWindows } from '../../src/harvest/windows.js';
import { type StopRequest, silent } from '../../src/progress/progress.js';
import { filesBelow, temporaryDirectory } from '../temporary.js';
import { CONTEXT, contextAt, passOf, ROWS } from './token-pass.js';

const root = temporaryDirectory();
/** Windows of two groups of five contexts; the last of either is not full. */
const CONTEXTS = 27;
const [BATCH, WINDOW_BATCHES] = [5, 2];
let counter = 0;

async function* contexts(): AsyncGenerator<Context> {
  for (let index = 0; index < 100; index++) yield contextAt(index);
}

function manifestOf(config: HarvestConfig): Manifest {
  return {
    ...{ format: FORMAT, version: VERSION, model: { name: 'tokens', fingerprint: '' }, hook: 'token', d_in: 1 },
    ...{ dtype: 'float32', precision: 'float32', context: CONTEXT, bos_token_id: 0, prepend_bos: true },
    ...{ corpus: config.corpus, text_field: 'text', seed: config.seed, batch: config.batch },
    ...{ rows_per_shard: config.rowsPerShard, window_batches: WINDOW_BATCHES, rows_wanted: config.tokens },
    ...{ rows: 0, mean_norm: null, complete: false, shards: [], contexts: [], partial: null },
  };
}

/** Harvests until the stop that comes at `rows`, or to the end; returns the contexts of each pass. */
async function harvestTo(out: string, atOnce: number, resume: boolean, rows?: number): Promise<number[][]> {
  const config = harvestSchema.parse({
    ...{ model: '-', corpus: 'text', hook: ['token'], tokens: CONTEXTS * ROWS - 1, out, resume },
    ...{ batch: BATCH, rowsPerShard: 8, dtype: 'float32' },
  });
  const fresh = manifestOf(config);
  const writer = await openWriter(out, fresh, resume ? await resumable(out, fresh) : null, config);
  const stop: StopRequest = { signal: undefined };
  const progress = {
    ...silent,
    update: (done: number) => {
      if (rows !== undefined && done >= rows) stop.signal = 'SIGTERM';
    },
  };
  const seen: number[][] = [];
  const work = harvestWindows(config, contexts(), passOf(atOnce, seen), [writer], progress, stop);
  if (rows === undefined) await work;
  else await assert.rejects(work, Interrupted);
  return seen;
}

for (const atOnce of [1, 2, 5]) {
  test(`stopped after any pass of ${atOnce} contexts, a harvest goes on there and ends in the same bytes`, async () => {
    const whole = join(root, String(counter++));
    mkdirSync(whole);
    const passes = await harvestTo(whole, atOnce, false);
    const expected = filesBelow(whole);
    for (let stopped = 1; stopped < passes.length; stopped++) {
      const out = join(root, String(counter++));
      mkdirSync(out);
      const before = passes.slice(0, stopped);
      const first = await harvestTo(out, atOnce, false, before.flat().length * ROWS);
      assert.deepEqual(first, before);
      const second = await harvestTo(out, atOnce, true);
      assert.deepEqual([...first, ...second], passes, 'no context is computed twice, and passes are the same');
      assert.deepEqual(filesBelow(out), expected, `stopped after ${stopped} passes`);
    }
  });
}
