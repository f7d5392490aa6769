/**
 * Memory of an evaluation in addition to the weights, on a Gemma 7B of an eighth of the width in every dimension and three
 * layers, with its full vocabulary: one pass over as many rows as Gemma 7B gets with one SAE. Values inside the model
 * are therefore an eighth of Gemma 7B's, those of the head (logits) are the same. Linux only: it reads /proc.
 *
 *     npm run bench:eval-memory
 */
import {
  closeSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openSpliceIn } from '../src/eval/splice-in.js';
import { contextsInMemory } from '../src/eval/splice-pass.js';
import { openForwardPass } from '../src/harvest/forward-pass.js';
import { openCheckpoint } from '../src/lm/checkpoint.js';
import { parseModelConfig } from '../src/lm/families/registry.js';
import { findHook } from '../src/lm/hooks.js';

const EIGHTH = {
  model_type: 'gemma',
  hidden_size: 384,
  intermediate_size: 3072,
  num_hidden_layers: 3,
  num_attention_heads: 2,
  num_key_value_heads: 2,
  head_dim: 256,
  vocab_size: 256_000,
  max_position_embeddings: 8192,
  rms_norm_eps: 1e-6,
  bos_token_id: 2,
};
const BOS = 2;
const CONTEXT = 1024;
/** Contexts × variants of a pass of Gemma 7B with one SAE: clean, zero-ablated, spliced. */
const TALL = contextsInMemory(24_576, CONTEXT, 3) * 3;
/** Variants here, where nothing but zero is spliced in. */
const VARIANTS = 2;

/** A checkpoint of zeros: memory does not depend on values. */
function writeZeros(directory: string): void {
  writeFileSync(join(directory, 'config.json'), JSON.stringify(EIGHTH));
  const header: Record<string, unknown> = {};
  let end = 0;
  for (const [name, shape] of parseModelConfig(EIGHTH, 'config.json').tensors()) {
    const begin = end;
    end += shape.reduce((product, dim) => product * dim, 4);
    header[`model.${name}`] = { dtype: 'F32', shape, data_offsets: [begin, end] };
  }
  const json = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  const path = join(directory, 'model.safetensors');
  const file = openSync(path, 'w');
  writeSync(file, Buffer.concat([length, json]));
  closeSync(file);
  truncateSync(path, 8 + json.length + end);
}

const mebibytes = (key: string) =>
  Number(new RegExp(`${key}:\\s+(\\d+)`).exec(readFileSync('/proc/self/status', 'utf8'))![1]) / 1024;

/** Peak of resident memory while `work` runs, above what there was before, in MiB. */
async function peak(work: () => Promise<unknown>): Promise<number> {
  writeFileSync('/proc/self/clear_refs', '5');
  const before = mebibytes('VmRSS');
  await work();
  return mebibytes('VmHWM') - before;
}

const textOf = (count: number) =>
  Array.from({ length: count }, (_, index) => ({
    index,
    tokens: Int32Array.from({ length: CONTEXT }, (_, t) => (t === 0 ? BOS : 3 + ((t * 7919 + index) % 250_000))),
    documents: new Uint32Array(CONTEXT),
  }));

const directory = mkdtempSync(join(tmpdir(), 'sae-pipe-bench-'));
try {
  writeZeros(directory);
  const checkpoint = await openCheckpoint(directory);
  const settings = { dtype: 'float16', device: 'cpu', precision: 'float32', threads: 2 } as const;
  const last = findHook('blocks.2.hook_resid_post', checkpoint.config);
  const pass = await openForwardPass(checkpoint, [last], CONTEXT, settings);
  const inside = await peak(() => pass.run(textOf(TALL), BOS, Number.POSITIVE_INFINITY));
  await pass.release();

  const first = findHook('blocks.0.hook_resid_pre', checkpoint.config);
  const count = Math.ceil(TALL / VARIANTS);
  const spliceIn = await openSpliceIn(checkpoint, first, [], CONTEXT, { threads: 2, passContexts: count });
  const whole = await peak(() => spliceIn.add(textOf(count), BOS, CONTEXT));
  await spliceIn.release();

  console.log(`blocks: ${TALL} × ${CONTEXT} rows, peak ${Math.round(inside)} MiB above the weights`);
  console.log(
    `blocks and head: ${count * VARIANTS} × ${CONTEXT} rows, peak ${Math.round(whole)} MiB above the weights`,
  );
  const estimate = (8 * inside + Math.max(0, whole - inside)) / 1024;
  console.log(`Gemma 7B with one SAE: 8 × blocks + what the head adds = ${estimate.toFixed(1)} GiB`);
} finally {
  rmSync(directory, { recursive: true, force: true });
}
