import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { readManifest } from '../../src/activations/manifest.js';
import { loadConfig } from '../../src/config/load.js';
import type { HarvestConfig } from '../../src/config/stages/harvest.js';
import { harvest } from '../../src/harvest/harvest.js';
import { type StopRequest, silent } from '../../src/progress/progress.js';
import { refuses } from '../config/refuses.js';
import { prose } from '../corpus/prose.js';
import { filesBelow, temporaryDirectory } from '../temporary.js';

const root = temporaryDirectory();
const HOOK = 'blocks.0.hook_resid_pre';
const [first, second] = [0, 60_000].map((from, i) => {
  const texts = Array.from({ length: 60 }, (_, k) => prose(600, from + 700 * k));
  const path = join(root, `texts-${i}.jsonl`);
  writeFileSync(path, texts.map((text) => `${JSON.stringify({ text })}\n`).join(''));
  return path;
}) as [string, string];

const config = (out: string, more: Record<string, unknown> = {}): HarvestConfig =>
  loadConfig('harvest', {
    ...{ model: 'assets/tiny-gemma', corpus: [first, second], 'corpus-weights': '3,1', 'shuffle-buffer': '10' },
    ...{ hook: HOOK, tokens: '3000', context: '64', batch: '2', 'window-rows': '500', 'rows-per-shard': '200' },
    ...{ out: join(root, out), seed: '5', ...more },
  });

async function run(settings: HarvestConfig, stopAt = Number.POSITIVE_INFINITY): Promise<void> {
  const stop: StopRequest = { signal: undefined };
  let doing = '';
  const begin = (what: string) => {
    doing = what;
  };
  const update = (done: number) => {
    if (doing === 'harvesting' && done >= stopAt) stop.signal = 'SIGTERM';
  };
  await harvest(settings, { ...silent, begin, update }, stop);
}

test('a harvest of a mixture that was stopped and resumed equals an undisturbed one, byte for byte', async () => {
  await run(config('whole'));
  await assert.rejects(run(config('cut'), 1300));
  assert.ok((await readManifest(join(root, 'cut', HOOK))).partial);
  await run(config('cut', { resume: true }));
  assert.deepEqual(filesBelow(join(root, 'cut')), filesBelow(join(root, 'whole')));
  const { corpus, documents, text_read: read } = await readManifest(join(root, 'whole', HOOK));
  assert.equal(corpus, `${first} (3) + ${second} (1)`);
  const sources = [
    { corpus: first, weight: 3 },
    { corpus: second, weight: 1 },
  ];
  assert.deepEqual(documents, { shuffle: 10, mixture: { sources } });
  const [one, other] = read!;
  assert.deepEqual([one!.corpus, other!.corpus], [first, second]);
  assert.ok(one!.tokens > 2.5 * other!.tokens && one!.tokens < 3.5 * other!.tokens);
  assert.ok(one!.tokens + other!.tokens >= 3000 && one!.documents > other!.documents);
  assert.equal(one!.truncated + other!.truncated, 1);
});

test('resuming with another mixture, order or seed is refused', async () => {
  await assert.rejects(run(config('other'), 1300));
  for (const more of [
    { corpusWeights: [1, 1] },
    { mixtureStop: 'first' },
    { shuffleBuffer: 11 },
    { corpus: [second, first] },
    { corpus: [first], corpusWeights: undefined },
    { seed: 6 },
  ] as Partial<HarvestConfig>[]) {
    const asked = { ...config('other', { resume: true }), ...more };
    await refuses(() => run(asked), 'harvest/other-settings');
  }
});
