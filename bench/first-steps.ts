// npm run bench:first-steps: the first 100 steps from a sparse start and from biases of zero, alternating.
import { availableParallelism } from 'node:os';
import { Generator, Purpose } from '../src/random/generator.js';
import { initialise } from '../src/sae/registry.js';
import { openSparseEngine } from '../src/train/engines/sparse/engine.js';
import { START_ROWS, startSparse } from '../src/train/sparse-start.js';
import { markdownTable } from './markdown.js';
import { circumstances, spread, writeSection } from './section.js';

const SIZES = [
  { dIn: 192, dSae: 3072 },
  { dIn: 512, dSae: 8192 },
];
const [BATCH, STEPS, ROUNDS, L1] = [1024, 100, 3, 5];
const LOOKS = [1, 20, 100];
const threads = availableParallelism();

/** Sparse sums of d_in random directions and some noise, of mean norm about √d_in: [rows × d_in]. */
function activations(random: Generator, rows: number, dIn: number): Float32Array {
  const directions = Float32Array.from({ length: 4 * dIn * dIn }, () => random.normal() / Math.sqrt(dIn));
  const present = 10;
  const x = Float32Array.from({ length: rows * dIn }, () => 0.3 * random.normal());
  const scale = Math.sqrt(dIn / present);
  for (let row = 0; row < rows; row++) {
    for (let n = 0; n < present; n++) {
      const first = Math.floor(random.uniform() * 4 * dIn) * dIn;
      for (let i = 0; i < dIn; i++) x[row * dIn + i]! += scale * directions[first + i]!;
    }
  }
  return x;
}

async function firstSteps(x: Float32Array, { dIn, dSae }: (typeof SIZES)[number], start: 'sparse' | 'zero') {
  const sae = initialise('gated', { dIn, dOut: dIn, dSae }, 0);
  const began = performance.now();
  if (start === 'sparse') await startSparse(sae, x.slice(0, START_ROWS * dIn), {}, threads);
  const choosing = performance.now() - began;
  const engine = await openSparseEngine(
    {
      ...{ architecture: 'gated', dIn, dSae, batch: BATCH, batchDType: 'float32', scale: 1 },
      ...{ beta1: 0, beta2: 0.999, deadWindow: 1e9, threads },
    },
    new Map(Object.entries(sae.parameters)),
  );
  const l0 = new Map<number, number>();
  const stepping = performance.now();
  const batches = x.length / (BATCH * dIn);
  for (let step = 1; step <= STEPS; step++) {
    const at = (step % batches) * BATCH * dIn;
    const lr = 1e-3 * Math.min(1, step / 100);
    const metrics = await engine.step({ x: x.subarray(at, at + BATCH * dIn) }, { lr, l1: L1 });
    if (LOOKS.includes(step)) l0.set(step, metrics.l0);
  }
  const seconds = (performance.now() - stepping) / 1000;
  await engine.close();
  return { seconds, choosing, l0: LOOKS.map((step) => l0.get(step)!) };
}

const rows: string[][] = [];
for (const size of SIZES) {
  const x = activations(new Generator(1, Purpose.inputs), 16 * BATCH, size.dIn);
  const runs = { sparse: [], zero: [] } as Record<'sparse' | 'zero', Awaited<ReturnType<typeof firstSteps>>[]>;
  for (let round = 0; round < ROUNDS; round++) {
    for (const start of ['sparse', 'zero'] as const) runs[start].push(await firstSteps(x, size, start));
  }
  for (const start of ['sparse', 'zero'] as const) {
    const { median, least, most } = spread(runs[start].map(({ seconds }) => seconds));
    const choosing = spread(runs[start].map((run) => run.choosing)).median;
    rows.push([
      `(${size.dIn}, ${size.dSae}, ${BATCH}), ${start}`,
      `${median.toFixed(2)} (${least.toFixed(2)}–${most.toFixed(2)})`,
      start === 'sparse' ? choosing.toFixed(0) : '–',
      ...runs[start][0]!.l0.map((l0) => l0.toFixed(1)),
    ]);
  }
}
const head = [
  '(d, n, B), start',
  'seconds for 100 steps',
  'ms to choose it',
  ...LOOKS.map((step) => `L0 at step ${step}`),
];
writeSection(
  'first-steps',
  'The first 100 steps',
  `A gated SAE, λ ${L1}, on sparse sums of random directions and noise; ${circumstances()}, ${threads} threads. Median (least–most) of ${ROUNDS} alternating rounds.\n\n${markdownTable(head, rows)}`,
);
