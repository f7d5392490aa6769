/**
 * Our side of `npm run check:gpu`, in a separate process so that its memory is counted separately:
 *
 *     node dist/bench/check-gpu-ours.js JOB.json ROWS.safetensors
 *
 * Writes the hooks' rows, and prints an answer in one line.
 */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { openSpliceIn } from '../src/eval/splice-in.js';
import { openForwardPass } from '../src/harvest/forward-pass.js';
import { openCheckpoint } from '../src/lm/checkpoint.js';
import { findHook } from '../src/lm/hooks.js';
import { type SafetensorsDType, writeSafetensors } from '../src/safetensors/file.js';
import { type Answer, type Job, rates } from './check-gpu-job.js';

const DTYPES: Record<Job['precision'], SafetensorsDType> = { float32: 'F32', bfloat16: 'BF16', float16: 'F16' };
const ALL = Number.POSITIVE_INFINITY;

const [jobPath, rowsPath] = process.argv.slice(2);
const job = JSON.parse(readFileSync(jobPath!, 'utf8')) as Job;
const { bos, device, precision, seconds, threads } = job;
const context = job.tokens[0]!.length;
const contexts = job.tokens.map((row, index) => {
  return { index, tokens: Int32Array.from(row), documents: new Uint32Array(context) };
});
const count = contexts.length * context;

const begun = performance.now();
const checkpoint = await openCheckpoint(job.model);
const hooks = job.hooks.map((name) => findHook(name, checkpoint.config));
// Rows leave in the element type of the products, as configs/gemma-7b.yaml stores them.
const pass = await openForwardPass(checkpoint, hooks, context, { dtype: precision, device, precision, threads });
const opening = (performance.now() - begun) / 1000;
const first = await pass.run(contexts, bos, ALL);
await writeSafetensors(
  rowsPath!,
  first.rows.map(({ activation }, i) => {
    const bytes = new Uint8Array(activation.buffer, activation.byteOffset, activation.byteLength);
    return { name: hooks[i]!.name, dtype: DTYPES[precision], shape: [first.count, hooks[i]!.width], bytes };
  }),
);
const harvest = await rates(count, seconds, () => pass.run(contexts, bos, ALL));
await pass.release();

// The residual stream after the block, zero-ablated: the graph of `eval` without an SAE.
const residual = findHook(`blocks.${job.layer}.hook_resid_post`, checkpoint.config);
const spliceIn = await openSpliceIn(checkpoint, residual, [], context, { device, precision, threads });
await spliceIn.add(contexts, bos, ALL);
const losses = await rates(count, seconds, () => spliceIn.add(contexts, bos, ALL));
const { ce_clean: clean, ce_zero: zero } = spliceIn.shared();
await spliceIn.release();

const { version } = createRequire(import.meta.url)('onnxruntime-node/package.json') as { version: string };
const answer: Answer = { version: `ONNX Runtime ${version}`, opening, harvest, losses, clean, zero };
console.log(JSON.stringify(answer));
