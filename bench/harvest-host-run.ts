/**
 * One harvest of `npm run bench:harvest-host`: node dist/bench/harvest-host-run.js FORM DIRECTORY TOKENS. Prints a line
 * of JSON.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { FORMAT, type Manifest, VERSION } from '../src/activations/manifest.js';
import { PRESS_HERE } from '../src/activations/shard-press.js';
import { harvestSchema } from '../src/config/stages/harvest.js';
import { openForwardPass } from '../src/harvest/forward-pass.js';
import { harvestWindows } from '../src/harvest/harvest.js';
import { openWriter } from '../src/harvest/harvest-plan.js';
import { openHarvestPass, openPress } from '../src/harvest/pass-thread.js';
import { openCheckpoint } from '../src/lm/checkpoint.js';
import { parseModelConfig } from '../src/lm/families/registry.js';
import { findHook } from '../src/lm/hooks.js';
import { silent } from '../src/progress/progress.js';
import { type Shapes, writeSparse } from '../test/lm/sparse-files.js';
import type { HostTime } from './harvest-host.js';
import { SIZES } from './random-checkpoint.js';

const [form, directory, wanted] = process.argv.slice(2) as [HostTime['form'], string, string];
const tokens = Number(wanted);
const CONTEXT = 1024;
const BATCH = 8;
const BOS = 2;
/** One layer of Gemma 7B, without most of its vocabulary: what the host does depends on the hooks' widths. */
const MODEL = { ...SIZES['7b'], num_hidden_layers: 1, vocab_size: 4096 };
const HOOKS = ['blocks.0.hook_resid_post', 'blocks.0.attn.hook_z', 'blocks.0.hook_mlp_out'];

async function* text() {
  for (let index = 0; ; index++) {
    const at = Int32Array.from({ length: CONTEXT }, (_, t) => (t === 0 ? BOS : 3 + ((index * 31 + t * 7) % 4000)));
    yield { index, tokens: at, documents: new Uint32Array(CONTEXT) };
  }
}

const model = join(directory, 'model');
const shapes: Shapes = [...parseModelConfig(MODEL, 'config.json').tensors()].map(([name, shape]) => [
  `model.${name}`,
  [...shape],
]);
writeSparse(model, MODEL, shapes, 2e10);
const checkpoint = await openCheckpoint(model);
const hooks = HOOKS.map((name) => findHook(name, checkpoint.config));
const settings = { dtype: 'bfloat16', device: 'cuda', precision: 'bfloat16', threads: 0 } as const;
const config = harvestSchema.parse({
  ...{ model, corpus: 'text', hook: HOOKS, tokens, out: directory, batch: BATCH, overwrite: true },
  ...{ device: 'cuda', dtype: 'bfloat16', context: CONTEXT },
});
const pass = await (form === 'here' ? openForwardPass : openHarvestPass)(checkpoint, hooks, CONTEXT, settings);
const press = form === 'here' ? PRESS_HERE : openPress('cuda');
const writers = [];
for (const hook of hooks) {
  const manifest: Manifest = {
    ...{ format: FORMAT, version: VERSION, model: { name: 'm', fingerprint: 'f' }, hook: hook.name, d_in: hook.width },
    ...{ dtype: 'bfloat16', precision: 'bfloat16', context: CONTEXT, bos_token_id: BOS, prepend_bos: true },
    ...{ corpus: 'text', text_field: 'text', seed: 0, batch: BATCH, rows_per_shard: 4092, window_batches: 1 },
    ...{ rows_wanted: tokens, rows: 0, mean_norm: null, complete: false, shards: [], contexts: [] },
    ...{ pending: null, partial: null },
  };
  const store = join(directory, `store-${hook.name}`);
  mkdirSync(store, { recursive: true });
  writers.push(await openWriter(store, manifest, null, config, press));
}
// After opening and the first allocations.
await pass.run([(await text().next()).value!], BOS, CONTEXT);
const [begun, cpu, loop] = [performance.now(), process.cpuUsage(), performance.eventLoopUtilization()];
await harvestWindows(config, { contexts: text(), passed: 0 }, pass, writers, silent, { signal: undefined });
const micros = (performance.now() - begun) * 1000;
const { user, system } = process.cpuUsage(cpu);
const { utilization } = performance.eventLoopUtilization(loop);
await pass.release();
await press.close();
const answer: HostTime = {
  ...{ form, wall: micros / tokens, cpu: (user + system) / tokens, main: (utilization * micros) / tokens },
};
console.log(JSON.stringify(answer));
