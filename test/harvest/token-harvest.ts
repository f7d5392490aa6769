import { mkdirSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { FORMAT, type Manifest, VERSION } from '../../src/activations/manifest.js';
import type { ShardPress } from '../../src/activations/shard-press.js';
import { type HarvestConfig, harvestSchema } from '../../src/config/stages/harvest.js';
import type { Context } from '../../src/corpus/contexts.js';
import { harvestWindows } from '../../src/harvest/harvest.js';
import { openWriter, resumable } from '../../src/harvest/harvest-plan.js';
import { type StopRequest, silent } from '../../src/progress/progress.js';
import { CONTEXT, contextAt, passOf } from './token-pass.js';

/** Windows of two groups of five contexts. */
const [BATCH, WINDOW_BATCHES] = [5, 2];

/** Contexts of a text whose tokens are another's from context `other` on. */
export async function* textOf(other = Number.POSITIVE_INFINITY): AsyncGenerator<Context> {
  for (let index = 0; index < 100; index++) {
    const context = contextAt(index);
    if (index >= other) context.tokens[1] = 5;
    yield context;
  }
}

function manifestOf(config: HarvestConfig, hook: string, part?: Manifest['part']): Manifest {
  return {
    ...{ format: FORMAT, version: VERSION, model: { name: 'tokens', fingerprint: '' }, hook, d_in: 1 },
    ...{ dtype: 'float32', precision: 'float32', context: CONTEXT, bos_token_id: 0, prepend_bos: true },
    ...{ corpus: 'text', text_field: 'text', seed: config.seed, batch: config.batch },
    ...{ rows_per_shard: config.rowsPerShard, window_batches: WINDOW_BATCHES, ...(part && { part }) },
    rows_wanted: config.tokens,
    ...{ rows: 0, mean_norm: null, complete: false, shards: [], contexts: [], pending: null, partial: null },
  };
}

export interface TokenHarvest {
  readonly tokens: number;
  /** Where the stores are; one, or as many as there are. */
  readonly out: string | readonly string[];
  readonly resume?: boolean;
  /** Contexts of a forward pass, at most. */
  readonly atOnce?: number;
  /** Rows after which a stop is requested. */
  readonly stopAt?: number;
  readonly text?: AsyncGenerator<Context>;
  /** The part of the harvest; it is not divided where absent. */
  readonly part?: { readonly index: number; readonly of: number };
  /** It encodes shards, and passes are requested ahead, as on a GPU. */
  readonly press?: ShardPress;
  /** A file of the first store that cannot be written, as where the disk is full. */
  readonly unwritable?: string;
}

/** Harvests tokens as activations (token-pass.ts), shards of eight rows; returns the contexts of each pass. */
export async function harvestTokens({
  tokens,
  out,
  resume = false,
  atOnce = 5,
  stopAt,
  text = textOf(),
  part,
  unwritable,
  press,
}: TokenHarvest): Promise<number[][]> {
  const directories = [out].flat();
  const config = harvestSchema.parse({
    ...{ model: '-', corpus: 'text', hook: ['token'], tokens, out: directories[0], resume },
    ...{ batch: BATCH, rowsPerShard: 8, dtype: 'float32' },
  });
  const writers = [];
  for (const [i, directory] of directories.entries()) {
    const fresh = manifestOf(config, `token${i}`, part && { ...part });
    writers.push(await openWriter(directory, fresh, resume ? await resumable(directory, fresh) : null, config, press));
  }
  const stop: StopRequest = { signal: undefined };
  const progress = {
    ...silent,
    update: (done: number) => {
      if (stopAt !== undefined && done >= stopAt) stop.signal = 'SIGTERM';
    },
  };
  const seen: number[][] = [];
  const inTheWay = unwritable === undefined ? undefined : join(directories[0]!, unwritable);
  if (inTheWay) mkdirSync(inTheWay);
  try {
    const pass = { ...passOf(atOnce, seen, directories.length), ahead: press !== undefined };
    await harvestWindows(config, { contexts: text, passed: 0 }, pass, writers, progress, stop);
  } finally {
    if (inTheWay) rmdirSync(inTheWay);
  }
  return seen;
}
