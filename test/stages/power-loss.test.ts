import assert from 'node:assert/strict';
import { cpSync, existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { trainSchema } from '../../src/config/stages/train.js';
import { type Progress, silent } from '../../src/progress/progress.js';
import { train } from '../../src/train/train.js';
import { filesBelow, temporaryDirectory } from '../temporary.js';
import { curveOf, tinyActivations } from '../train/tiny-activations.js';

const root = temporaryDirectory();
let activations: string;
const settings = { dSae: 64, batch: 64, steps: 40, logEvery: 5, checkpointEvery: '10', threads: 1 };
const configured = (out: string, more: object = {}) => trainSchema.parse({ activations, ...settings, out, ...more });

before(async () => {
  activations = await tinyActivations(root);
});

test('a checkpoint is written when the lines of its curve would survive a power failure', async (t) => {
  const out = join(root, 'synced');
  const curve = join(out, 'metrics.jsonl');
  const any = await open('.', 'r');
  const handles = Object.getPrototypeOf(any) as FileHandle;
  await any.close();
  const { sync } = handles;
  let durable = 0;
  let checked = 0;
  t.mock.method(handles, 'sync', async function (this: FileHandle) {
    const { ino, size } = await this.stat();
    await sync.call(this);
    if (!existsSync(curve)) return;
    if (ino === statSync(curve).ino) durable = size;
    const aside = readdirSync(out).find((name) => /^(checkpoint|sae_weights).*\.tmp$/.test(name));
    if (aside === undefined || statSync(join(out, aside)).ino !== ino) return;
    assert.equal(durable, statSync(curve).size, aside);
    checked++;
  });
  await train(configured(out), silent, { signal: undefined });
  assert.equal(checked, 5, 'four checkpoints and the weights');
});

test('where the curve ends before its checkpoint, resuming says so and continues', async () => {
  const whole = join(root, 'whole');
  await train(configured(whole), silent, { signal: undefined });
  const stopped = join(root, 'stopped');
  const stop = { signal: undefined as 'SIGINT' | undefined };
  const after = (line: number): Progress => ({
    ...silent,
    update: () => {
      if (existsSync(join(stopped, `checkpoint-${String(line).padStart(8, '0')}.safetensors`))) stop.signal = 'SIGINT';
    },
  });
  await assert.rejects(train(configured(stopped), after(20), stop));
  const lines = readFileSync(join(stopped, 'metrics.jsonl'), 'utf8').split('\n');
  for (const [name, kept, missing] of [
    ['all', lines.length - 1, false],
    ['one less', 3, true],
    ['none', 0, true],
  ] as const) {
    const out = join(root, name);
    cpSync(stopped, out, { recursive: true });
    // The last one is torn, too.
    const torn = missing ? '{"step": 2' : '';
    writeFileSync(
      join(out, 'metrics.jsonl'),
      lines
        .slice(0, kept)
        .map((line) => `${line}\n`)
        .join('') + torn,
    );
    const told: string[] = [];
    await train(
      configured(out, { resume: true }),
      { ...silent, say: (line) => told.push(line) },
      { signal: undefined },
    );
    const gaps = told.filter((line) => /curve has a gap/.test(line));
    assert.equal(gaps.length, missing ? 1 : 0, told.join('\n'));
    if (missing) assert.match(gaps[0]!, new RegExp(`ends at step ${5 * kept}, `));
    const cfg = (directory: string) => filesBelow(directory).get('sae_weights.safetensors');
    assert.deepEqual(cfg(out), cfg(whole));
    if (missing) assert.ok(curveOf(out).length < curveOf(whole).length);
  }
});
