import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PARAMETERS } from '../../../../src/sae/registry.js';
import { openReferenceEngine } from '../../../../src/train/engines/reference/engine.js';
import { stateShapes } from '../../../../src/train/engines/state.js';
import { batches, randomStart, smallSettings, stateDifference, stepBoth } from '../problem.js';
import { VARIANTS } from '../variants.js';
import { withoutCompiler } from './compiler.js';
import { openOnCpu } from './open-on-cpu.js';

for (const [i, variant] of VARIANTS.entries()) {
  const beta1 = i % 2 === 0 ? 0 : 0.9;
  test(`20 steps of ${JSON.stringify(variant)}, β1 = ${beta1}, agree with the reference engine`, {
    skip: withoutCompiler,
  }, async () => {
    const settings = {
      ...smallSettings('gated', { beta1, dIn: 19, dSae: 90, batch: 14, deadWindow: 140 }),
      ...variant,
    };
    const start = randomStart(settings, -0.8);
    const [reference, cuda] = [await openReferenceEngine(settings, start), await openOnCpu(settings, start)];
    await stepBoth(reference, cuda, 20, batches(settings));
    const { name, difference } = await stateDifference(cuda, reference);
    assert.ok(difference < 1e-4, `${name}: ${difference}`);
    // With no term in π_gate, b_gate has no gradient.
    const gateless = variant.options?.ablate.join() === 'no-auxiliary,l1-on-f';
    const state = await cuda.state();
    assert.deepEqual([...state.keys()], [...stateShapes(settings).keys()]);
    for (const parameter of PARAMETERS[settings.architecture]) {
      const [before, after] = [start.get(parameter)!, state.get(parameter)!];
      const trained = (settings.trained ?? [parameter]).includes(parameter);
      if (trained && !(gateless && parameter === 'b_gate'))
        assert.notDeepEqual(after, before, `${parameter} does not move`);
      else assert.deepEqual(after, before, `${parameter} moves`);
    }
    await Promise.all([reference.close(), cuda.close()]);
  });
}
