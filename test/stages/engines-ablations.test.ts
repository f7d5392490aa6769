import assert from 'node:assert/strict';
import { test } from 'node:test';
import { convert } from '../../src/sae/convert.js';
import { PARAMETERS } from '../../src/sae/registry.js';
import type { ArchitectureName, Parameters } from '../../src/sae/sae.js';
import { openReferenceEngine } from '../../src/train/engines/reference/engine.js';
import { openSparseEngine } from '../../src/train/engines/sparse/engine.js';
import { stateShapes } from '../../src/train/engines/state.js';
import { openGolden, relativeDifference } from '../golden.js';
import { withoutCompiler } from '../train/engines/cuda/compiler.js';
import { openOnCpu } from '../train/engines/cuda/open-on-cpu.js';
import { batches, randomStart, smallSettings, stateDifference, stepBoth } from '../train/engines/problem.js';
import { CASES, VARIANTS, type Variant } from '../train/engines/variants.js';

const golden = openGolden('ablations');

async function startOf(name: string, { architecture }: Variant): Promise<Map<string, Float32Array>> {
  const from: ArchitectureName = name === 'rescale-and-shift' ? 'standard' : architecture;
  const parameters: Parameters = {};
  for (const parameter of PARAMETERS[from]) parameters[parameter] = await (await golden).floats(`${from}/${parameter}`);
  const sae = convert({ architecture: from, dIn: 8, dOut: 8, dSae: 24, parameters }, architecture);
  if (name === 'no-r-mag' || name === 'combined') sae.parameters.r_mag!.fill(0);
  return new Map(Object.entries(sae.parameters));
}

for (const [name, variant] of Object.entries(CASES)) {
  for (const [engineName, open] of [
    ['reference', openReferenceEngine],
    ['sparse', openSparseEngine],
    ['CUDA', openOnCpu],
  ] as const) {
    if (engineName !== 'reference' && variant.architecture === 'gated_untied') continue;
    const skip = engineName === 'CUDA' && withoutCompiler;
    test(`ten steps of ${name} by the ${engineName} engine equal PyTorch autograd in float64`, { skip }, async () => {
      const settings = { ...smallSettings('gated', { dIn: 8, dSae: 24, batch: 16, scale: 1 }), ...variant };
      const start = await startOf(name, variant);
      const engine = await open(settings, start);
      const [all, lr, l1] = [
        await (await golden).floats('batches'),
        await (await golden).doubles('lr'),
        await (await golden).doubles('l1'),
      ];
      for (let t = 0; t < 10; t++) {
        const metrics = await engine.step({ x: all.slice(t * 128, (t + 1) * 128) }, { lr: lr[t]!, l1: l1[t]! });
        for (const [term, value] of [
          ['mse', metrics.mse],
          ['l1_term', metrics.l1],
          ['aux', metrics.aux],
          ['l0', metrics.l0],
        ] as const) {
          const wanted = (await (await golden).doubles(`${name}/${term}`))[t]!;
          assert.ok(Math.abs(value - wanted) <= 1e-5 * Math.abs(wanted), `step ${t}, ${term}: ${value}, not ${wanted}`);
        }
      }
      const { parameters } = await engine.sae();
      for (const parameter of PARAMETERS[variant.architecture]) {
        const [found, wanted] = [parameters[parameter]!, await (await golden).doubles(`${name}/${parameter}`)];
        const difference = relativeDifference(found, wanted);
        assert.ok(difference < 2e-5, `${parameter}: ${difference}`);
        if (!(variant.trained ?? [parameter]).includes(parameter)) assert.deepEqual(found, start.get(parameter));
      }
      await engine.close();
    });
  }
}

for (const [i, variant] of VARIANTS.entries()) {
  for (const [density, bias] of [
    ['sparse', -1.5],
    ['half full', 0],
  ] as const) {
    const beta1 = (i + Number(bias === 0)) % 2 === 0 ? 0 : 0.9;
    test(`60 ${density} steps of ${JSON.stringify(variant)}, β1 = ${beta1}, agree with the reference engine`, async () => {
      const settings = { ...smallSettings('gated', { beta1 }), ...variant };
      const start = randomStart(settings, bias);
      const [reference, sparse] = [await openReferenceEngine(settings, start), await openSparseEngine(settings, start)];
      await stepBoth(reference, sparse, 60, batches(settings));
      const { name, difference } = await stateDifference(sparse, reference);
      // With no term in π_gate, b_gate has no gradient.
      const gateless = variant.options?.ablate.join() === 'no-auxiliary,l1-on-f';
      assert.ok(difference < 1e-4, `${name}: ${difference}`);
      for (const engine of [reference, sparse]) {
        const state = await engine.state();
        assert.deepEqual([...state.keys()], [...stateShapes(settings).keys()]);
        for (const parameter of PARAMETERS[settings.architecture]) {
          const [before, after] = [start.get(parameter)!, state.get(parameter)!];
          const trained = (settings.trained ?? [parameter]).includes(parameter);
          assert.equal(state.has(`v/${parameter}`), trained);
          if (trained && !(gateless && parameter === 'b_gate'))
            assert.notDeepEqual(after, before, `${parameter} does not move`);
          else assert.deepEqual(after, before, `${parameter} moves`);
        }
      }
      await Promise.all([reference.close(), sparse.close()]);
    });
  }
}

test('state of a frozen run is continued to the same bits, and the state of a whole run by a frozen one', async () => {
  const whole = smallSettings('gated');
  const settings = { ...whole, trained: ['r_mag', 'b_mag'] as const };
  const before = await openSparseEngine(whole, randomStart(whole, -1.5));
  const next = batches(settings);
  const step = { lr: 1e-3, l1: 0.2 };
  for (let t = 0; t < 5; t++) await before.step({ x: next() }, step);
  const state = await before.state();
  // Moments of what is frozen now are there, and left behind.
  const [a, b] = [await openSparseEngine(settings, state, 5), await openSparseEngine(settings, state, 5)];
  const later = Array.from({ length: 10 }, next);
  for (const x of later) await a.step({ x }, step);
  for (const x of later.slice(0, 4)) await b.step({ x }, step);
  const c = await openSparseEngine(settings, await b.state(), b.steps);
  for (const x of later.slice(4)) await c.step({ x }, step);
  assert.deepEqual(await c.state(), await a.state());
  await Promise.all([before, a, b, c].map((engine) => engine.close()));
});
