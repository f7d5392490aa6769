// Are the features of a toy model found from a sparse start as from one with biases of zero? Activations are sparse sums
// of known unit directions; what is measured is how close each direction's nearest decoder row comes. `npm run bench:toy`.
import { trainSchema } from '../src/config/stages/train.js';
import { Generator, Purpose } from '../src/random/generator.js';
import { initialise } from '../src/sae/registry.js';
import { openSparseEngine } from '../src/train/engines/sparse/engine.js';
import { startSparse } from '../src/train/sparse-start.js';
import { markdownTable } from './markdown.js';
import { circumstances, writeSection } from './section.js';

const [dIn, truth, dSae, batch, steps] = [64, 256, 512, 1024, 2000];
/** Directions in an activation, on average. */
const PRESENT = 5;
const SEEDS = [0, 1, 2];
type Arch = 'gated' | 'standard';
const LAMBDAS: Record<Arch, readonly number[]> = { gated: [2, 8], standard: [0.6, 3] };

/** Unit rows [truth, d_in]. */
function directions(random: Generator): Float32Array {
  const rows = Float32Array.from({ length: truth * dIn }, () => random.normal());
  for (let i = 0; i < truth; i++) {
    const row = rows.subarray(i * dIn, (i + 1) * dIn);
    const norm = Math.sqrt(row.reduce((sum, value) => sum + value * value, 0));
    row.forEach((value, k) => {
      row[k] = value / norm;
    });
  }
  return rows;
}

/** Activations of mean norm about √d_in: each direction is present with probability PRESENT / truth, at 0.5 to 1.5. */
function activations(random: Generator, G: Float32Array): Float32Array {
  const x = new Float32Array(batch * dIn);
  const scale = Math.sqrt(dIn / PRESENT);
  for (let b = 0; b < batch; b++) {
    for (let i = 0; i < truth; i++) {
      if (random.uniform() >= PRESENT / truth) continue;
      const a = scale * (0.5 + random.uniform());
      for (let k = 0; k < dIn; k++) x[b * dIn + k]! += a * G[i * dIn + k]!;
    }
  }
  return x;
}

/** For each direction the cosine of the decoder row that is nearest to it. */
function nearest(G: Float32Array, W_dec: Float32Array): number[] {
  return Array.from({ length: truth }, (_, i) => {
    let most = -1;
    for (let j = 0; j < dSae; j++) {
      let cosine = 0;
      for (let k = 0; k < dIn; k++) cosine += G[i * dIn + k]! * W_dec[j * dIn + k]!;
      most = Math.max(most, cosine);
    }
    return most;
  });
}

async function trained(architecture: Arch, start: 'sparse' | 'zero', l1: number, seed: number) {
  const random = new Generator(seed, Purpose.inputs);
  const G = directions(random);
  const sae = initialise(architecture, { dIn, dOut: dIn, dSae }, seed);
  if (start === 'sparse') {
    const sample = Array.from({ length: 4 }, () => [...activations(random, G)]).flat();
    await startSparse(sae, Float32Array.from(sample), {}, 2);
  }
  const { beta1, beta2 } = trainSchema.shape;
  const adam = { beta1: beta1.parse(undefined), beta2: beta2.parse(undefined) };
  const shape = { architecture, dIn, dSae, batch, batchDType: 'float32', scale: 1 } as const;
  const engine = await openSparseEngine(
    { ...shape, ...adam, deadWindow: 1e9, threads: 2 },
    new Map(Object.entries(sae.parameters)),
  );
  let l0 = 0;
  for (let step = 1; step <= steps; step++) {
    const lr = 1e-3 * Math.min(1, step / 100);
    ({ l0 } = await engine.step({ x: activations(random, G) }, { lr, l1 }));
  }
  const cosines = nearest(G, (await engine.sae()).parameters.W_dec!);
  await engine.close();
  const mean = cosines.reduce((sum, value) => sum + value, 0) / truth;
  return { l0, mean, found: cosines.filter((cosine) => cosine > 0.9).length / truth };
}

/** Mean (least–most). */
const meanAndRange = (values: number[], digits: number) =>
  `${(values.reduce((a, b) => a + b, 0) / values.length).toFixed(digits)} (${Math.min(...values).toFixed(digits)}–${Math.max(...values).toFixed(digits)})`;

const rows: string[][] = [];
for (const architecture of ['gated', 'standard'] as const) {
  for (const l1 of LAMBDAS[architecture]) {
    for (const start of ['sparse', 'zero'] as const) {
      const runs = [];
      for (const seed of SEEDS) runs.push(await trained(architecture, start, l1, seed));
      rows.push([
        architecture,
        String(l1),
        start,
        meanAndRange(
          runs.map(({ l0 }) => l0),
          1,
        ),
        meanAndRange(
          runs.map(({ mean }) => mean),
          3,
        ),
        meanAndRange(
          runs.map(({ found }) => 100 * found),
          1,
        ),
      ]);
      console.error(rows.at(-1)!.join(' | '));
    }
  }
}
const head = ['SAE', 'λ', 'start', 'L0', 'mean max cosine', 'found (%)'];
writeSection(
  'toy',
  'The toy model',
  `${markdownTable(head, rows)}\n\n${circumstances()}. Mean of three seeds (least–most).`,
  'docs/explanation/training.md',
);
