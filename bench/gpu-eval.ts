/**
 * Evaluation of two SAEs at once on a Gemma of random weights:
 *
 *     node dist/bench/gpu-eval.js --size 7b-layers|small --d-sae 16384 --device cuda --precision bfloat16 \
 *         --context 1024 --batch 4 --directory DIR
 *
 * Prints a line of JSON: tokens/s (median, least, most) and the losses. What it writes into DIR it removes.
 */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { openSpliceIn } from '../src/eval/splice-in.js';
import { openCheckpoint } from '../src/lm/checkpoint.js';
import { findHook } from '../src/lm/hooks.js';
import type { Precision } from '../src/lm/placement.js';
import { Generator } from '../src/random/generator.js';
import { initialise } from '../src/sae/registry.js';
import { square } from '../src/sae/sae.js';
import { openSae, type SaeFiles, saveSae } from '../src/sae/saelens.js';
import { rates } from './check-gpu-job.js';
import { SIZES, type Size, writeRandomCheckpoint } from './random-checkpoint.js';
import { spread } from './section.js';

const { values } = parseArgs({
  options: Object.fromEntries(
    ['size', 'd-sae', 'device', 'precision', 'context', 'batch', 'directory'].map((name) => [name, { type: 'string' }]),
  ) as Record<string, { type: 'string' }>,
});
const size = values.size as Size;
const [context, batch, dSae] = [values.context, values.batch, values['d-sae']].map(Number) as [number, number, number];
const { hidden_size: width, vocab_size: vocabulary, bos_token_id: bos, num_hidden_layers: layers } = SIZES[size];
const directory = mkdtempSync(join(values.directory!, 'gpu-eval-'));
process.on('exit', () => rmSync(directory, { recursive: true, force: true }));
process.on('SIGTERM', () => process.exit(143));

async function randomSae(seed: number): Promise<SaeFiles> {
  const path = join(directory, `sae-${seed}`);
  mkdirSync(path);
  await saveSae(path, initialise('gated', square(width, dSae), seed), {});
  return openSae(path);
}

const random = new Generator(1);
const contexts = Array.from({ length: batch }, (_, index) => ({
  index,
  tokens: Int32Array.from({ length: context }, (_, t) =>
    t === 0 ? bos : bos + 1 + random.below(vocabulary - bos - 1),
  ),
  documents: new Uint32Array(context),
}));
const model = join(directory, 'model');
await writeRandomCheckpoint(model, size);
const checkpoint = await openCheckpoint(model);
const hook = findHook(`blocks.${layers / 2}.hook_resid_post`, checkpoint.config);
const saes = [await randomSae(0), await randomSae(1)];
const options = { device: values.device!, precision: values.precision as Precision, threads: availableParallelism() };
const spliceIn = await openSpliceIn(checkpoint, hook, saes, context, options);
await spliceIn.addToMean(contexts, bos, Number.POSITIVE_INFINITY);
const add = () => spliceIn.add(contexts, bos, Number.POSITIVE_INFINITY);
await add();
const tokensPerSecond = spread(await rates(batch * context, 1, add));
const spliced = spliceIn.metrics().map(({ ce_spliced }) => ce_spliced);
console.log(JSON.stringify({ tokens_per_second: tokensPerSecond, ...spliceIn.shared(), ce_spliced: spliced }));
await spliceIn.release();
