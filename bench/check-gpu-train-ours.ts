/**
 * Steps of one engine from a fixed start, in a separate process, for the training part of `npm run check:gpu`:
 *
 *     node dist/bench/check-gpu-train-ours.js ENGINE PRECISION DEVICE STEPS STATE.safetensors [small]
 *
 * Writes the parameters, and prints the metrics of every step in one line of JSON.
 */

import { Generator } from '../src/random/generator.js';
import { initialise, PARAMETERS } from '../src/sae/registry.js';
import { square } from '../src/sae/sae.js';
import { writeSafetensors } from '../src/safetensors/file.js';
import type { EngineSettings, StepMetrics } from '../src/train/engines/engine.js';
import { openEngine } from '../src/train/engines/open.js';
import { type CudaPrecision, openCuda } from './cuda-engine.js';

const [engineName, precision, device, count, path, size] = process.argv.slice(2);
const sizes = size === 'small' ? { dIn: 22, dSae: 210, batch: 70 } : { dIn: 256, dSae: 4096, batch: 512 };
const settings: EngineSettings = {
  ...{ architecture: 'gated', ...sizes, batchDType: 'float32', scale: 1 },
  ...{ beta1: 0, beta2: 0.999, deadWindow: 100_000 },
} as const;
const { dIn, dSae, batch, architecture } = settings;

const random = new Generator(11);
const { parameters } = initialise(architecture, square(dIn, dSae), 11);
const start = new Map<string, Float32Array>(Object.entries(parameters));
// Rows of W_enc are unit vectors, so that a pre-activation is about a standard normal number: 1 in 50 is above 2.
for (const name of PARAMETERS[architecture]) {
  if (name === 'W_enc' || name === 'W_dec') continue;
  const centre = name === 'b_gate' ? -2 : 0;
  for (let i = 0; i < start.get(name)!.length; i++) start.get(name)![i] = centre + 0.1 * random.normal();
}

const engine =
  engineName === 'cuda'
    ? await openCuda(settings, start, precision as CudaPrecision, device)
    : await openEngine('reference', settings, start);
const metrics: StepMetrics[] = [];
for (let t = 0; t < Number(count); t++) {
  const x = Float32Array.from({ length: batch * dIn }, () => random.normal());
  metrics.push(await engine.step({ x }, { lr: 5e-5, l1: 1 }));
}
const state = await engine.state();
await engine.close();
await writeSafetensors(
  path!,
  PARAMETERS[architecture].map((name) => {
    const values = state.get(name)!;
    const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
    return { name, dtype: 'F32', shape: [values.length], bytes };
  }),
);
console.log(JSON.stringify(metrics));
