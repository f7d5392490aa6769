import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Engine, EngineSettings, TrainerState } from '../../src/train/engines/engine.js';
import { type EngineName, openEngine } from '../../src/train/engines/open.js';
import { findBroken } from '../../src/train/not-finite.js';
import { batches, randomStart, smallSettings } from '../train/engines/problem.js';

const STEP = { lr: 1e-3, l1: 0.3 };
const WILD = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];

async function using<T>(
  name: EngineName,
  settings: EngineSettings,
  start: TrainerState,
  use: (engine: Engine) => Promise<T>,
): Promise<T> {
  const engine = await openEngine(name, settings, start);
  try {
    return await use(engine);
  } finally {
    await engine.close();
  }
}

for (const name of ['sparse', 'reference'] as const) {
  for (const architecture of ['gated', 'standard'] as const) {
    test(`${name}, ${architecture}: an entry of a batch that is not finite makes the loss so, at any position`, async () => {
      const settings = smallSettings(architecture);
      // No feature is near to being active: what the int8 product screens away must not hide it.
      for (const bias of [-1e4, 0]) {
        const start = randomStart(settings, bias);
        for (const value of WILD) {
          for (const at of [0, 70 * 22 - 1]) {
            const batch = batches(settings)();
            batch[at] = value;
            await using(name, settings, start, async (engine) => {
              const { mse } = await engine.step({ x: batch }, STEP);
              assert.ok(!Number.isFinite(mse), `${value} at ${at}, bias ${bias}: ${mse}`);
            });
          }
        }
      }
    });

    test(`${name}, ${architecture}: a NaN in any parameter is in the loss, or stays to be found in the state`, async () => {
      const settings = smallSettings(architecture);
      for (const [parameter, values] of randomStart(settings, -1)) {
        for (const value of WILD) {
          const start = randomStart(settings, -1);
          start.get(parameter)![values.length - 2] = value;
          await using(name, settings, start, async (engine) => {
            const { mse, l1, aux } = await engine.step({ x: batches(settings)() }, STEP);
            const found = findBroken(await engine.state(), settings.dIn, true);
            assert.ok(!Number.isFinite(mse + l1 + aux) || found, `${value} in ${parameter}`);
          });
        }
      }
    });

    test(`${name}, ${architecture}: \`written\` is finite in good steps, and not where an update overflows`, async () => {
      const settings = smallSettings(architecture, { beta1: 0.9 });
      await using(name, settings, randomStart(settings, 0), async (engine) => {
        const next = batches(settings);
        for (let t = 0; t < 20; t++) {
          const { written } = await engine.step({ x: next() }, STEP);
          assert.ok(Number.isFinite(written), `step ${t}: ${written}`);
        }
        assert.equal(findBroken(await engine.state(), settings.dIn, true), undefined);
      });
      for (const [change, lr, poison] of [
        // Gradients of some 10²¹, whose squares are beyond float32; losses of some 10²⁴.
        [1e11, 1e-3, /^v\/.* contains Infinity/],
        // Rows of W_dec of some 10³⁰: their norms overflow, and they are divided to zero.
        [1, 1e30, /row \d+ of W_dec is zero|overflows/],
      ] as const) {
        await using(name, settings, randomStart(settings, 0), async (engine) => {
          const batch = batches(settings)().map((x) => x * change);
          const { mse, l1, aux, written } = await engine.step({ x: batch }, { ...STEP, lr });
          assert.ok(Number.isFinite(mse + l1 + aux), `${mse} ${l1} ${aux}`);
          assert.ok(!Number.isFinite(written), `${written}`);
          assert.match(findBroken(await engine.state(), settings.dIn, true) ?? 'nothing', poison);
        });
      }
    });

    test(`${name}, ${architecture}: equal activations have no variance at all`, async () => {
      const settings = smallSettings(architecture);
      const row = batches(settings)().slice(0, settings.dIn);
      const batch = Float32Array.from({ length: settings.batch * settings.dIn }, (_, i) => row[i % settings.dIn]!);
      await using(name, settings, randomStart(settings, 0), async (engine) => {
        assert.equal((await engine.step({ x: batch }, STEP)).variance, 0);
      });
    });
  }
}
