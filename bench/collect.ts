/**
 * Tokens per second of `features` against those of `eval`, on the bundled model: one SAE, the same contexts, threads and
 * precision (float32), rounds of both in turn. Writes no page.
 *
 *     npm run bench:collect
 */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Context } from '../src/corpus/contexts.js';
import { openSpliceIn } from '../src/eval/splice-in.js';
import { Collection, openEncoders } from '../src/features/collection.js';
import { openForwardPass } from '../src/harvest/forward-pass.js';
import { openCheckpoint } from '../src/lm/checkpoint.js';
import { findHook } from '../src/lm/hooks.js';
import { Generator } from '../src/random/generator.js';
import { initialise } from '../src/sae/registry.js';
import { PLAIN, square } from '../src/sae/sae.js';
import { openSameSae, saveSae } from '../src/sae/saelens.js';
import { markdownTable } from './markdown.js';
import { circumstances, spread } from './section.js';

const [THREADS, ROUNDS, CONTEXT, BATCH, CONTEXTS, BOS, D_SAE] = [2, 7, 256, 8, 64, 2, 1536];
/** Features per token: as of a trained SAE. */
const K = 64;

const checkpoint = await openCheckpoint('assets/tiny-gemma');
const hook = findHook('blocks.2.hook_resid_post', checkpoint.config);
const random = new Generator(0, 0, 0);
const contexts = Array.from({ length: CONTEXTS }, (_, index): Context => {
  const token = (t: number) => (t === 0 ? BOS : 3 + random.below(checkpoint.config.vocabulary - 3));
  return {
    index,
    tokens: Int32Array.from({ length: CONTEXT }, (__, t) => token(t)),
    documents: new Uint32Array(CONTEXT),
  };
});

const directory = mkdtempSync(join(tmpdir(), 'sae-pipe-bench-'));
try {
  const path = join(directory, 'sae');
  mkdirSync(path);
  const forward = { ...PLAIN, k: K, rescale_acts_by_decoder_norm: false };
  await saveSae(path, { ...initialise('topk', square(hook.width, D_SAE), 0), forward }, {});
  const { files, unchanged } = await openSameSae(path);
  const options = { device: 'cpu', threads: THREADS };

  const spliceIn = await openSpliceIn(checkpoint, hook, [files], CONTEXT, options);
  await spliceIn.addToMean(contexts.slice(0, BATCH), BOS, Number.POSITIVE_INFINITY);
  const settings = { dtype: 'float32', precision: 'float32', ...options } as const;
  const pass = await openForwardPass(checkpoint, [hook], CONTEXT, settings);
  const candidates = [{ path, files, unchanged, hook, input: hook }];
  const encoders = await openEncoders(candidates, options);
  const wanted = { topK: 20, window: [12, 8] as const, tokens: Number.MAX_SAFE_INTEGER, leftOut: BOS };
  const collection = new Collection(candidates, wanted);

  const contenders = [
    { label: 'eval', add: (group: Context[]) => spliceIn.add(group, BOS, Number.POSITIVE_INFINITY) },
    { label: 'features', add: (group: Context[]) => collection.addGroup(group, pass, () => 0, encoders) },
  ];
  const rates: number[][] = contenders.map(() => []);
  // The first round warms both up.
  for (let round = -1; round < ROUNDS; round++) {
    for (const [i, { add }] of contenders.entries()) {
      const begun = performance.now();
      for (let at = 0; at < CONTEXTS; at += BATCH) await add(contexts.slice(at, at + BATCH));
      const seconds = (performance.now() - begun) / 1000;
      if (round >= 0) rates[i]!.push((CONTEXTS * (CONTEXT - 1)) / seconds);
    }
  }
  const rows = contenders.map(({ label }, i) => {
    const { median, least, most } = spread(rates[i]!);
    const times = spread(rates[i]!.map((rate, round) => rate / rates[0]![round]!));
    return [label, `${median.toFixed(0)} (${least.toFixed(0)} to ${most.toFixed(0)})`, times.median.toFixed(2)];
  });
  console.log(markdownTable(['', 'tokens/s', "times eval's"], rows));
  console.log(`\n${THREADS} threads, one SAE of ${D_SAE} features, ${K} per token. ${circumstances()}.`);
  await spliceIn.release();
  await pass.release();
  for (const encoder of encoders) await encoder.release();
} finally {
  rmSync(directory, { recursive: true, force: true });
}
