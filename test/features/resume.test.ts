import assert from 'node:assert/strict';
import { existsSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { stageConfig } from '../../src/cli/stage-config.js';
import type { FeaturesConfig } from '../../src/config/stages/features.js';
import type { RefusalCode } from '../../src/errors/codes.js';
import { Interrupted, Refusal } from '../../src/errors/refusal.js';
import { collectFeatures } from '../../src/features/features.js';
import { isState } from '../../src/features/state.js';
import { type Progress, type StopRequest, silent } from '../../src/progress/progress.js';
import { statusOf } from '../../src/status/status.js';
import { filesBelow, temporaryDirectory } from '../temporary.js';
import { goldenConfig } from './golden-folder.js';
import { stopsAt } from './stops-at.js';

const GOING: StopRequest = { signal: undefined };
/** One co-firing sample of two, so that a resumed one is seen to be sampled as before. */
const SMALL: Partial<FeaturesConfig> = { tokens: 3000, batch: 2, topK: 3 };

async function refusal(work: Promise<unknown>): Promise<RefusalCode> {
  const error = await work.then(
    () => assert.fail('it was not refused'),
    (cause) => cause,
  );
  assert.ok(error instanceof Refusal, String(error));
  return error.code;
}

const whole = join(temporaryDirectory(), 'whole');
await collectFeatures(await goldenConfig(whole, SMALL), silent, GOING);
const states = (out: string) => readdirSync(out).filter(isState);

test('a run that is stopped during the pass or while it compares continues to the same bytes', async (t) => {
  const out = join(temporaryDirectory(t), 'features');
  const config = await goldenConfig(out, SMALL);
  const resumed = { ...config, resume: true };
  const first = stopsAt(/^collecting/, 3);
  await assert.rejects(collectFeatures(config, first.progress, first.stop), Interrupted);
  assert.equal(states(out).length, 1);
  const { work } = await statusOf([out]);
  assert.equal(work[0]!.state, 'stopped');
  const [program, stage, ...words] = work[0]!.resume!.split(' ');
  assert.deepEqual([program, stage], ['sae-pipe', 'features']);
  assert.deepEqual((await stageConfig('features', words)).config, resumed);
  assert.ok(!existsSync(join(out, 'features.json')));
  // Anything but --resume leaves it alone.
  assert.equal(await refusal(collectFeatures(config, silent, GOING)), 'disk/out-exists');
  const second = stopsAt(/^collecting/, 2);
  await assert.rejects(collectFeatures(resumed, second.progress, second.stop), Interrupted);
  assert.equal(states(out).length, 1);
  const third = stopsAt(/^comparing.*jumprelu/, 1);
  await assert.rejects(collectFeatures(resumed, third.progress, third.stop), Interrupted);
  assert.ok(existsSync(join(out, 'gated', 'features-00000.parquet')));
  assert.ok(!existsSync(join(out, 'features.json')));
  await collectFeatures(resumed, silent, GOING);
  assert.deepEqual(filesBelow(out), filesBelow(whole));
});

test('a killed run continues from the last state, which is written every so often', async (t) => {
  const out = join(temporaryDirectory(t), 'features');
  const config = await goldenConfig(out, SMALL);
  let [now, collecting] = [0, false];
  const kill = new Error('killed');
  const progress: Progress = {
    ...silent,
    begin: (label) => {
      collecting = label.startsWith('collecting');
    },
    update: (done) => {
      now += 1;
      if (collecting && done > 2000) throw kill;
    },
  };
  await assert.rejects(
    collectFeatures(config, progress, GOING, { every: 2, now: () => now }),
    (error) => error === kill,
  );
  const [state] = states(out);
  assert.ok(state !== undefined);
  // What a kill leaves half-written, and a file of a run that is not continued.
  writeFileSync(join(out, `${state}.0123456789abcdef.tmp`), 'half');
  await collectFeatures({ ...config, resume: true }, silent, GOING);
  assert.deepEqual(filesBelow(out), filesBelow(whole));
});

test('another setting, text or a damaged state is refused, and nothing is touched', async (t) => {
  const out = join(temporaryDirectory(t), 'features');
  const config = await goldenConfig(out, SMALL);
  const { progress, stop } = stopsAt(/^collecting/, 2);
  await assert.rejects(collectFeatures(config, progress, stop), Interrupted);
  const before = filesBelow(out);
  const again = (flags: Partial<FeaturesConfig>) =>
    refusal(collectFeatures({ ...config, resume: true, ...flags }, silent, GOING));
  assert.equal(await again({ topK: 4 }), 'features/other-settings');
  assert.equal(await again({ tokens: 2999 }), 'features/other-settings');
  assert.equal(await again({ sae: config.sae.slice(0, 2) }), 'features/other-settings');
  assert.deepEqual(filesBelow(out), before);
  const [name] = states(out);
  const bytes = before.get(name!)!;
  writeFileSync(join(out, name!), bytes.subarray(0, bytes.length - 8));
  await assert.rejects(collectFeatures({ ...config, resume: true }, silent, GOING), Refusal);
  const flipped = Buffer.from(bytes);
  flipped[bytes.length - 2000]! ^= 1;
  writeFileSync(join(out, name!), flipped);
  assert.equal(await again({}), 'features/broken-state');
  writeFileSync(join(out, name!), bytes);
  await collectFeatures({ ...config, resume: true }, silent, GOING);
  assert.deepEqual(filesBelow(out), filesBelow(whole));
});

test('a finished folder is left as it is by --resume, refused with other settings, and replaced by --overwrite', async (t) => {
  const out = join(temporaryDirectory(t), 'features');
  const config = await goldenConfig(out, SMALL);
  await collectFeatures(config, silent, GOING);
  await collectFeatures({ ...config, resume: true }, silent, GOING);
  assert.deepEqual(filesBelow(out), filesBelow(whole));
  assert.equal(
    await refusal(collectFeatures({ ...config, resume: true, topK: 4 }, silent, GOING)),
    'features/other-settings',
  );
  const fewer = { ...config, sae: config.sae.slice(0, 1), overwrite: true };
  writeFileSync(join(out, 'topk', 'labels.jsonl'), '{"feature":1,"label":"mine"}\n');
  assert.equal(await refusal(collectFeatures(fewer, silent, GOING)), 'features/labels');
  writeFileSync(join(out, 'topk', 'notes.txt'), 'mine');
  assert.equal(await refusal(collectFeatures(fewer, silent, GOING)), 'features/labels');
  rmSync(join(out, 'topk', 'labels.jsonl'));
  assert.equal(await refusal(collectFeatures(fewer, silent, GOING)), 'disk/foreign-files');
  rmSync(join(out, 'topk', 'notes.txt'));
  await collectFeatures(fewer, silent, GOING);
  assert.deepEqual(readdirSync(out).sort(), ['features.json', 'gated', 'vocabulary.parquet']);
});
