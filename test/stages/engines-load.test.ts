import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Engine, EngineSettings, TrainerState } from '../../src/train/engines/engine.js';
import { openReferenceEngine } from '../../src/train/engines/reference/engine.js';
import { openSparseEngine } from '../../src/train/engines/sparse/engine.js';
import { withoutCompiler } from '../train/engines/cuda/compiler.js';
import { openOnCpu } from '../train/engines/cuda/open-on-cpu.js';
import { batches, randomStart, resample, smallSettings } from '../train/engines/problem.js';
import type { Variant } from '../train/engines/variants.js';

type Case = readonly [variant: keyof typeof VARIANTS, beta1: number];
type Open = (settings: EngineSettings, start: TrainerState, steps?: number) => Promise<Engine>;

const VARIANTS = {
  gated: { architecture: 'gated' },
  standard: { architecture: 'standard' },
  'gated without r_mag': {
    architecture: 'gated',
    trained: ['W_enc', 'W_dec', 'b_gate', 'b_mag', 'b_dec'],
  },
} as const satisfies Record<string, Variant>;

const ALL: readonly Case[] = Object.keys(VARIANTS).flatMap((name) =>
  [0, 0.9].map((beta1): Case => [name as Case[0], beta1]),
);
const LONG = process.env.SAE_PIPE_LONG === '1';
/** A step of the CUDA engine on a CPU takes long. */
const SOME: readonly Case[] = [
  ['gated without r_mag', 0.9],
  ...(LONG
    ? ([
        ['gated', 0],
        ['standard', 0],
      ] as const)
    : []),
];

interface Tested {
  readonly name: string;
  readonly open: Open;
  readonly skip: string | false;
  readonly cases: readonly Case[];
}

const ENGINES: readonly Tested[] = [
  { name: 'reference', open: openReferenceEngine, skip: false, cases: ALL },
  { name: 'sparse', open: openSparseEngine, skip: false, cases: ALL },
  { name: 'cuda', open: openOnCpu, skip: withoutCompiler, cases: SOME },
  {
    name: 'cuda in bfloat16',
    open: (settings, start, steps) => openOnCpu({ ...settings, precision: 'bfloat16' }, start, steps),
    skip: withoutCompiler,
    cases: LONG ? SOME.slice(0, 1) : [],
  },
];

for (const { name, open, skip, cases } of ENGINES) {
  for (const [variantName, beta1] of cases) {
    const variant: Variant = VARIANTS[variantName];
    test(`${name}: a ${variantName} SAE with β1 = ${beta1} continues from another state as a new engine would`, {
      skip,
    }, async () => {
      const settings = smallSettings(variant.architecture, { ...variant, beta1, batch: 26, deadWindow: 130 });
      // Few features are active, so that rows miss many decays.
      const kept = await open(settings, randomStart(settings, -2.5));
      const next = batches(settings);
      const step = { lr: 1e-3, l1: 0.2 };
      for (const round of [1, 2]) {
        for (let t = 0; t < 6; t++) await kept.step({ x: next() }, step);
        const changed = resample(await kept.state(), settings);
        // Since the state was read, moments have fallen behind again.
        for (let t = 0; t < 3; t++) await kept.step({ x: next() }, step);
        await kept.load(changed);
        assert.equal(kept.steps, round * 13 - 4);
        assert.deepEqual(await kept.state(), changed);
        const opened = await open(settings, changed, kept.steps);
        for (let t = 0; t < 4; t++) {
          const x = next();
          assert.deepEqual(await kept.step({ x }, step), await opened.step({ x }, step), `${t} steps later`);
        }
        assert.deepEqual(await kept.state(), await opened.state());
        assert.deepEqual(await kept.sae(), await opened.sae());
        await opened.close();
      }
      await kept.close();
    });
  }

  test(`${name}: a state that is incomplete or has other sizes is not loaded, not even in part`, { skip }, async () => {
    const settings = smallSettings('gated', { batch: 26 });
    const engine = await open(settings, randomStart(settings, -1.5));
    const next = batches(settings);
    for (let t = 0; t < 3; t++) await engine.step({ x: next() }, { lr: 1e-3, l1: 0.2 });
    const before = await engine.state();
    const other = () => new Map([...before].map(([array, values]) => [array, values.map(() => 3)]));
    for (const array of before.keys()) {
      const [without, shorter] = [other(), other()];
      without.delete(array);
      shorter.set(array, new Float32Array(2));
      await assert.rejects(engine.load(without), {
        message: new RegExp(`^state ${array}: no values where \\d+ belong$`),
      });
      await assert.rejects(engine.load(shorter), {
        message: new RegExp(`^state ${array}: 2 values where \\d+ belong$`),
      });
    }
    assert.deepEqual(await engine.state(), before);
    await engine.close();
  });
}
