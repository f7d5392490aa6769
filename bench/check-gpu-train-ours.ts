/**
 * Steps of one engine from a fixed start, in a separate process, for the training part of `npm run check:gpu`:
 *
 *     node dist/bench/check-gpu-train-ours.js ARCHITECTURE ENGINE PRECISION DEVICE STEPS STATE.safetensors [small]
 *
 * Writes the parameters, and prints the metrics of every step in one line of JSON.
 */

import { Generator } from '../src/random/generator.js';
import { PARAMETERS } from '../src/sae/registry.js';
import type { ArchitectureName } from '../src/sae/sae.js';
import { writeSafetensors } from '../src/safetensors/file.js';
import type { StepMetrics } from '../src/train/engines/engine.js';
import { openEngine } from '../src/train/engines/open.js';
import { problemSettings, problemStart } from './check-gpu-problem.js';
import { type CudaPrecision, openCuda } from './cuda-engine.js';

const [architecture, engineName, precision, device, count, path, size] = process.argv.slice(2);
const settings = problemSettings(architecture as ArchitectureName, size === 'small' ? 'small' : 'usual');
const { dIn, batch } = settings;
const start = problemStart(settings);
const random = new Generator(12);

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
  PARAMETERS[settings.architecture].map((name) => {
    const values = state.get(name)!;
    const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
    return { name, dtype: 'F32', shape: [values.length], bytes };
  }),
);
console.log(JSON.stringify(metrics));
