import assert from 'node:assert/strict';
import { execFile, spawnSync } from 'node:child_process';
import { statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import type { SparseForm } from '../../../../src/sae/architecture.js';
import { kernelSource } from '../../../../src/train/engines/cuda/kernels/source.js';
import { planCuda } from '../../../../src/train/engines/cuda/plan.js';
import type { EngineSettings } from '../../../../src/train/engines/engine.js';
import { temporaryDirectory } from '../../../temporary.js';
import { smallSettings } from '../problem.js';
import { VARIANTS } from '../variants.js';

const directory = temporaryDirectory();
const skip =
  spawnSync('nvcc', ['--version']).status === 0
    ? false
    : "needs NVIDIA's nvcc to compile for a GPU; none is on the PATH";

/** A100 and H100. */
const CARDS = [80, 90] as const;
/** The paper's scale, Gemma's widest site, and small ones with everything there is to switch. */
const LARGE = { dIn: 3072, dSae: 131_072, batch: 4096, batchDType: 'float16', precision: 'bfloat16' } as const;
const LARGEST: SparseForm = {
  select: { kind: 'k-per-token', bias: 'b_enc', k: 64 },
  rule: 'relu',
  penalty: 'none',
};
const LARGEST_OF_BATCH = { k: 64, kAux: 1, auxCoefficient: 0 };
const PREFIXES = { prefixes: [8192, 32_768, 131_072], prefixWeights: [1, 1, 0.5] };
const JUMPS = { sparsityLoss: 'quadratic', targetL0: 64, bandwidth: 0.5, steToEncoder: true, preActLoss: 3e-6 };
const CASES: readonly (readonly [settings: EngineSettings, form?: SparseForm])[] = [
  [smallSettings('gated', LARGE)],
  [smallSettings('standard', { ...LARGE, dOut: 2304 }), LARGEST],
  [smallSettings('standard', { dIn: 24_576, dSae: 196_608, batch: 4096, beta1: 0.9 })],
  [smallSettings('batchtopk', { ...LARGE, options: LARGEST_OF_BATCH })],
  [smallSettings('matryoshka', { ...LARGE, options: { ...LARGEST_OF_BATCH, ...PREFIXES } })],
  ...VARIANTS.slice(1, 7).map((variant) => [{ ...smallSettings('gated'), ...variant }] as const),
  [smallSettings('topk', { ...LARGE, options: { k: 64, kAux: 1536, auxCoefficient: 1 / 32 } })],
  [smallSettings('jumprelu', { ...LARGE, options: JUMPS })],
];
/** `SAE_PIPE_LONG=1` compiles all of them for both cards; without it, one small one for the first. */
const LONG = process.env.SAE_PIPE_LONG === '1';

test('NVIDIA’s compiler accepts the kernels, and they keep their sums in registers', { skip }, async () => {
  for (const [i, [settings, form]] of (LONG ? CASES : CASES.slice(5, 6)).entries()) {
    const source = join(directory, `${i}.cu`);
    const text = kernelSource(settings, planCuda(settings, { form }));
    assert.ok(!text.includes('#include'), 'there are no headers where it is compiled');
    writeFileSync(source, text);
    const binary = join(directory, `${i}.fatbin`);
    const cards = CARDS.slice(0, LONG ? 2 : 1).flatMap((card) => ['-gencode', `arch=compute_${card},code=sm_${card}`]);
    const { stderr } = await promisify(execFile)('nvcc', [
      ...cards,
      ...['-fatbin', '-Xptxas', '-v', '-o', binary, source],
    ]);
    assert.ok(statSync(binary).size > 0);
    if (settings.dIn !== 3072) continue;
    const frames = [...stderr.matchAll(/(\d+) bytes stack frame, (\d+) bytes spill stores/g)];
    assert.ok(frames.length >= 15 * CARDS.length, stderr);
    assert.deepEqual([...new Set(frames.flatMap((match) => [match[1], match[2]]))], ['0']);
  }
});
