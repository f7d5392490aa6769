import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GraphBuilder } from '../../src/onnx/graph.js';
import { onnxRuntime, openSession } from '../../src/onnx/session.js';
import { Generator } from '../../src/random/generator.js';
import { scaleActivations } from '../../src/sae/activation-scale.js';
import { decode, encode } from '../../src/sae/forward-graph.js';
import { initialise } from '../../src/sae/initialise.js';
import { type Architecture, architectures, PARAMETERS, parameterShape, type Sae } from '../../src/sae/sae.js';
import { relativeDifference } from '../golden.js';

/** An SAE with every parameter random. */
export function randomSae(architecture: Architecture, dIn: number, dSae: number, seed: number): Sae {
  const random = new Generator(seed);
  const sae = initialise(architecture, dIn, dSae, seed);
  for (const name of PARAMETERS[architecture]) {
    const values = sae.parameters[name]!;
    for (let i = 0; i < values.length; i++) values[i]! += 0.3 * random.normal();
  }
  return sae;
}

/** The paper's equations, entry by entry in float64. */
function slowForward(sae: Sae, x: Float32Array): { f: Float64Array; reconstruction: Float64Array } {
  const { dIn, dSae, parameters: w } = sae;
  const f = new Float64Array(dSae);
  for (let j = 0; j < dSae; j++) {
    let p = 0;
    for (let i = 0; i < dIn; i++) p += (x[i]! - w.b_dec![i]!) * w.W_enc![i * dSae + j]!;
    if (sae.architecture === 'standard') {
      f[j] = Math.max(0, p + w.b_enc![j]!);
    } else if (p + w.b_gate![j]! > 0) {
      f[j] = Math.max(0, Math.exp(w.r_mag![j]!) * p + w.b_mag![j]!);
    }
  }
  const reconstruction = Float64Array.from(w.b_dec!);
  for (let j = 0; j < dSae; j++) {
    for (let i = 0; i < dIn; i++) reconstruction[i]! += f[j]! * w.W_dec![j * dIn + i]!;
  }
  return { f, reconstruction };
}

const BATCH = 5;

async function graphForward(sae: Sae, x: Float32Array) {
  const { dIn, dSae, architecture } = sae;
  const g = new GraphBuilder('forward');
  const input = g.input('x', 'float32', [BATCH, dIn]);
  const w = Object.fromEntries(
    PARAMETERS[architecture].map((name) => [
      name,
      g.table(name, parameterShape(name, dIn, dSae), sae.parameters[name]!),
    ]),
  );
  const f = encode(g, architecture, w, input);
  g.output('f', f, 'float32', [BATCH, dSae]);
  g.output('reconstruction', decode(g, w, f), 'float32', [BATCH, dIn]);
  const session = await openSession(g.encode());
  const { Tensor } = await onnxRuntime();
  const outputs = await session.run({ x: new Tensor('float32', x, [BATCH, dIn]) });
  await session.release();
  return { f: outputs.f!.data as Float32Array, reconstruction: outputs.reconstruction!.data as Float32Array };
}

for (const architecture of architectures) {
  test(`the ${architecture} forward pass equals the equations entry by entry`, async () => {
    for (const [dIn, dSae, seed] of [
      [1, 1, 1],
      [3, 7, 2],
      [16, 33, 3],
    ] as const) {
      const sae = randomSae(architecture, dIn, dSae, seed);
      const random = new Generator(seed, 1);
      const x = Float32Array.from({ length: BATCH * dIn }, () => random.normal());
      const fast = await graphForward(sae, x);
      for (let b = 0; b < BATCH; b++) {
        const slow = slowForward(sae, x.subarray(b * dIn, (b + 1) * dIn));
        assert.ok(relativeDifference(fast.f.subarray(b * dSae, (b + 1) * dSae), slow.f) < 1e-5);
        assert.ok(relativeDifference(fast.reconstruction.subarray(b * dIn, (b + 1) * dIn), slow.reconstruction) < 1e-5);
      }
    }
  });

  test(`a ${architecture} SAE folded to the activation scale s does to s·x what it did to x, times s`, () => {
    const sae = randomSae(architecture, 12, 30, 4);
    const random = new Generator(5);
    const x = Float32Array.from({ length: 12 }, () => random.normal());
    const s = 3.7;
    const before = slowForward(sae, x);
    const after = slowForward(
      scaleActivations(sae, s),
      x.map((value) => value * s),
    );
    assert.ok(before.f.some((value) => value > 0));
    assert.ok(
      relativeDifference(
        after.f,
        before.f.map((value) => value * s),
      ) < 1e-5,
    );
    assert.ok(
      relativeDifference(
        after.reconstruction,
        before.reconstruction.map((value) => value * s),
      ) < 1e-5,
    );
  });
}

test('initialisation: unit decoder rows, the encoder their transpose, zero biases, set by the seed', () => {
  for (const architecture of architectures) {
    const { parameters: w } = initialise(architecture, 10, 25, 7);
    for (let j = 0; j < 25; j++) {
      assert.ok(Math.abs(Math.hypot(...w.W_dec!.subarray(j * 10, (j + 1) * 10)) - 1) < 1e-6);
      for (let i = 0; i < 10; i++) assert.equal(w.W_enc![i * 25 + j], w.W_dec![j * 10 + i]);
    }
    for (const name of PARAMETERS[architecture]) {
      if (!name.startsWith('W_'))
        assert.ok(
          w[name]!.every((value) => value === 0),
          name,
        );
    }
    assert.deepEqual(initialise(architecture, 10, 25, 7).parameters, w);
    assert.notDeepEqual(initialise(architecture, 10, 25, 8).parameters.W_dec, w.W_dec);
  }
});
