import { quantileAbove } from '../src/inspect/normal.js';
import { Generator } from '../src/random/generator.js';
import { initialise } from '../src/sae/registry.js';
import { square } from '../src/sae/sae.js';
import type { EngineSettings } from '../src/train/engines/engine.js';
import { openSparseEngine } from '../src/train/engines/sparse/engine.js';
import { markdownTable } from './markdown.js';
import { linearFit, median } from './statistics.js';

/** How the sparse engine's step grows with n, B, L0 / n and the steps done. */
interface Point {
  readonly n: number;
  readonly B: number;
  readonly l0: number;
}

const D = 512;

/** Milliseconds of each step; the bias lets l0 features per token through. */
async function times(point: Point, threads: number, steps: number, beta1 = 0): Promise<{ ms: number[]; l0: number }> {
  const { n, B, l0 } = point;
  const settings: EngineSettings = {
    ...{ architecture: 'gated', dIn: D, dSae: n, batch: B, batchDType: 'float32', scale: 1, beta1, beta2: 0.999 },
    ...{ deadWindow: 1_000_000, threads },
  };
  const random = new Generator(1);
  const x = Array.from({ length: 2 }, () => Float32Array.from({ length: B * D }, () => random.normal()));
  const { parameters } = initialise('gated', square(D, n), 1);
  // Rows of W_enc are unit vectors and x is normal, and so is every pre-activation.
  parameters.b_gate!.fill(-quantileAbove(l0 / n));
  const engine = await openSparseEngine(settings, new Map(Object.entries(parameters)));
  const ms: number[] = [];
  let found = 0;
  for (let t = 0; t < steps + 2; t++) {
    const began = performance.now();
    found = (await engine.step({ x: x[t % 2]! }, { lr: 1e-6, l1: 1 })).l0;
    if (t >= 2) ms.push(performance.now() - began);
  }
  await engine.close();
  return { ms, l0: found };
}

/** Markdown: the fits, the table over L0 / n, β1, and first against last steps. */
export async function scalingSection(threads: number): Promise<string> {
  const series = async (points: readonly Point[]) => {
    // Rounds go over all points, so that a slow minute falls on all of them.
    const ms: number[][] = points.map(() => []);
    for (let round = 0; round < 3; round++) {
      for (const [i, point] of points.entries()) ms[i]!.push(...(await times(point, threads, 10)).ms);
    }
    return ms.map(median);
  };
  const text: string[] = ['### How a step grows', ''];
  for (const [name, values] of [
    ['n', [2048, 4096, 8192, 12_288, 16_384]],
    ['B', [256, 512, 1024, 1536, 2048]],
  ] as const) {
    const points = values.map((value) => ({ n: 8192, B: 1024, l0: 64, [name]: value }));
    const ms = await series(points);
    const { intercept, slope, r2 } = linearFit(values, ms);
    text.push(
      `d ${D}, ${name === 'n' ? 'B 1024' : 'n 8192'}, L0 64: ${values.map((value, i) => `${name} ${value}: ${ms[i]!.toFixed(1)} ms`).join(', ')}; least squares ${intercept.toFixed(1)} ms + ${(1000 * slope).toFixed(2)} ms per 1000 of ${name}, R² ${r2.toFixed(3)}.`,
      '',
    );
  }
  const long = (await times({ n: 8192, B: 1024, l0: 64 }, threads, 600)).ms;
  text.push(
    `600 steps in a row: the first 100 take ${median(long.slice(0, 100)).toFixed(1)} ms, the last 100 ${median(long.slice(-100)).toFixed(1)} ms (medians).`,
    '',
  );
  const full = (await times({ n: 8192, B: 1024, l0: 64 }, threads, 20, 0.9)).ms;
  text.push(
    `With β1 = 0.9 every row moves in every step: ${median(full).toFixed(1)} ms, against ${median(long).toFixed(1)} ms with β1 = 0.`,
    '',
  );
  const rows: string[][] = [];
  for (const share of [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.24, 0.3, 0.5]) {
    const { ms, l0 } = await times({ n: 8192, B: 1024, l0: share * 8192 }, threads, 8);
    rows.push([`${(100 * share).toPrecision(2)} %`, l0.toFixed(0), median(ms).toFixed(1)]);
  }
  return `${text.join('\n')}\n${markdownTable(['L0 / n (d 512, n 8192, B 1024)', 'L0', 'ms per step'], rows)}`;
}
