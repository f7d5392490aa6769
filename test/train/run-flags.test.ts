import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { SourceDescription } from '../../src/activations/activation-source.js';
import { type Flag, flagsOf, recordName } from '../../src/config/flags.js';
import { flagOfRun, RECORDED_FLAGS, writeRunFile } from '../../src/config/run-file.js';
import { trainSchema } from '../../src/config/stages/train.js';
import { UsageRefusal } from '../../src/errors/refusal.js';
import { architectureFlags } from '../../src/sae/registry.js';
import type { MetricsLine } from '../../src/sae/training-curve.js';
import { trainConfig } from '../../src/train/resumed-config.js';
import { newCourse } from '../../src/train/run-settings.js';
import { temporaryDirectory } from '../temporary.js';

const FLAGS = flagsOf(trainSchema);
const config = trainSchema.parse({ activations: 'acts', dSae: 8, steps: 10, batch: 4, out: 'out', l1: 2 });
const about: SourceDescription = {
  ...{
    place: 'acts',
    hook: 'h',
    dIn: 4,
    context: 8,
    prependBos: true,
    rows: 100,
    corpus: 'c',
    dtype: 'float16',
    meanNorm: 1,
  },
  ...{ model: { name: 'm', fingerprint: 'f' }, identity: 'i' },
};

test("flags that determine the result are recorded, an architecture's own included, and no others", () => {
  const recorded = Object.keys(newCourse(config, about, undefined).fixed);
  const wanted = [...RECORDED_FLAGS, ...Object.keys(architectureFlags)].map(recordName);
  for (const name of recorded) assert.ok([...wanted, 'init_sha256', 'activations'].includes(name), name);
  for (const key of RECORDED_FLAGS) assert.ok(recorded.includes(recordName(key)), key);
  for (const key of Object.keys(architectureFlags)) assert.equal(flagOfRun(key), 'result', key);
});

/** Another value than the flag's own. */
function otherValue({ key, choices, type, default: usual, repeated }: Flag): unknown {
  const before = config[key as keyof typeof config] ?? usual;
  const fraction = ['lrEnd', 'beta1', 'beta2', 'l1WarmupShare', 'decayShare'].includes(key) ? 0.25 : 7;
  const other = choices?.find((choice) => choice !== before);
  const value =
    other ??
    {
      number: fraction,
      boolean: before !== true,
      string: { checkpointEvery: '5', holdout: '2%', initSubspace: '5' }[key] ?? 'x',
    }[type];
  return repeated ? [value] : value;
}

test('--resume accepts another value of a flag exactly if that leaves the result unchanged', async (t) => {
  const out = temporaryDirectory(t);
  await writeRunFile(out, {}, { ...config, out });
  writeFileSync(join(out, 'checkpoint-00000005.safetensors'), '');
  for (const flag of FLAGS.filter(({ key }) => !['out', 'resume', 'overwrite'].includes(key))) {
    const resumed = trainConfig({ resume: true, out, [flag.name]: otherValue(flag) });
    if (!['result', 'activations'].includes(flagOfRun(flag.key))) await resumed;
    else {
      await assert.rejects(resumed, (error) => {
        assert.ok(error instanceof UsageRefusal && error.code === 'train/other-settings', `${flag.name}: ${error}`);
        return true;
      });
    }
  }
});

test('a writer that forgets a key does not compile', () => {
  const numbers = { step: 1, tokens: 4, loss: 1, mse: 1, l1: 0, aux: 0, l0: 3, lr: 1e-3, tokens_per_second: 9 };
  const line: MetricsLine = {
    ...numbers,
    explained_variance: null,
    dead_fraction: null,
    lambda: undefined,
    resampled: undefined,
  };
  // @ts-expect-error an optional key is given too, if only as undefined
  const lacking: MetricsLine = { ...numbers, explained_variance: null, dead_fraction: null };
  assert.equal(JSON.stringify(line), JSON.stringify(lacking));
});
