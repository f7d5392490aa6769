/**
 * Checks a real model, for a developer who has one: every hook and every token's loss next to transformers in
 * float32, 300 steps of each architecture with defaults, and an evaluation of what they leave.
 *
 *     npm run check:real -- MODEL [--hook blocks.9.hook_resid_post] [--activations STORE] [--rows 100000]
 *                           [--d-sae 4096] [--batch 1024] [--tokens 1000] [--directory runs/check-real]
 *
 * Activations are harvested into --directory, where the next check finds them; --activations takes an existing store.
 * SAE_PIPE_BENCH_PYTHON names a Python that has PyTorch and transformers (elsewhere they are installed into
 * bench/.venv-harvest). Exits 1 where something does not hold, 2 for a wrong flag.
 */
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { openCheckpoint } from '../src/lm/checkpoint.js';
import { trainable } from '../src/sae/registry.js';
import { readSafetensorsHeader } from '../src/safetensors/file.js';
import { readFloats, readTensorBytes } from '../src/safetensors/floats.js';
import { relativeDifference } from '../test/golden.js';
import { nextTokenLosses, runHooks } from '../test/lm/run-model.js';
import { markdownTable } from './markdown.js';
import { benchPython, command } from './python.js';
import { circumstances } from './section.js';
import { flagsOf, saePipe, TRIAL } from './trial.js';

/** Largest difference over the largest entry of a hook, or of the losses. */
const TOLERANCE = 1e-4;
const [STEPS, K] = [300, 32];
/** Activations without firing after which a feature is dead: the default of 1,000,000 is more than 300 steps see. */
const DEAD_WINDOW = 100_000;
/** What 300 steps must reach: L0 below this share of the features, and dead features below that. */
const [MOST_L0, MOST_DEAD] = [0.05, 0.1];

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    hook: { type: 'string', default: 'blocks.9.hook_resid_post' },
    activations: { type: 'string' },
    rows: { type: 'string', default: '100000' },
    'd-sae': { type: 'string', default: '4096' },
    batch: { type: 'string', default: '1024' },
    tokens: { type: 'string', default: '1000' },
    directory: { type: 'string', default: 'runs/check-real' },
  },
});
const [model] = positionals;
const { hook, directory } = options;
const dSae = Number(options['d-sae']);

/** What did not hold. */
const wrong: string[] = [];
function check(holds: boolean, what: string): void {
  console.log(`${holds ? 'ok  ' : 'FAIL'} ${what}`);
  if (!holds) wrong.push(what);
}

/** Every hook and every loss of a text, next to those of transformers. */
async function compareWithPeer(from: string): Promise<void> {
  const path = join(directory, 'transformers.safetensors');
  const python = benchPython('bench/peers/requirements-harvest.txt');
  command(python, ['scripts/check_real.py', from, TRIAL.heldOut, path]);
  const { tensors } = await readSafetensorsHeader(path);
  const tokens = new Int32Array((await readTensorBytes(tensors.get('tokens')!)).buffer as ArrayBuffer);
  const checkpoint = await openCheckpoint(from);
  const losses = await nextTokenLosses(checkpoint, tokens, tokens.length);
  const off = relativeDifference(losses, await readFloats(tensors.get('nll')!));
  check(off < TOLERANCE, `losses of ${losses.length} tokens differ by ${off.toExponential(1)} of the largest`);
  const worst = { name: '', off: -1 };
  const values = await runHooks(checkpoint, tokens, tokens.length);
  for (const [name, ours] of values) {
    const location = tensors.get(name);
    const difference = location ? relativeDifference(ours, await readFloats(location)) : Number.POSITIVE_INFINITY;
    // NaN is the worst of all.
    if (!(difference <= worst.off)) Object.assign(worst, { name, off: difference });
  }
  const most = `${values.size} hooks differ by ${worst.off.toExponential(1)} of the largest entry, at ${worst.name}`;
  check(values.size > 0 && worst.off < TOLERANCE, most);
}

/** The store that is trained on. */
function storeOf(from: string): string {
  if (options.activations !== undefined) return options.activations;
  const store = join(directory, 'activations', hook);
  if (!existsSync(join(store, 'manifest.json'))) {
    const { corpus, context } = TRIAL;
    const out = join(directory, 'activations');
    saePipe('harvest', ...flagsOf({ model: from, corpus, context, hook, tokens: options.rows, out }));
  }
  return store;
}

/** Trains an SAE with defaults except for its sizes. @returns its directory */
function trained(arch: string, activations: string): string {
  const out = join(directory, 'saes', arch);
  const own: Record<string, string | number> = /topk|matryoshka/.test(arch) ? { k: K } : {};
  if (arch === 'matryoshka') own.prefixes = `${dSae / 4},${dSae}`;
  const settings = { activations, arch, 'd-sae': dSae, batch: options.batch, steps: STEPS, 'dead-window': DEAD_WINDOW };
  saePipe('train', ...flagsOf({ ...settings, ...own, out }), '--overwrite');
  return out;
}

interface Measured {
  readonly l0: number;
  readonly loss_recovered: number;
  readonly delta_ce: number;
  readonly explained_variance: number;
  readonly explained_variance_tokens: number;
}

/** 300 steps of each architecture with defaults, and their evaluation. */
function trainAll(from: string): void {
  const activations = storeOf(from);
  const saes = trainable.map((arch) => trained(arch, activations));
  const out = join(directory, 'eval');
  const text = { model: from, corpus: TRIAL.heldOut, context: TRIAL.context, tokens: options.tokens };
  saePipe('eval', ...saes.flatMap((sae) => ['--sae', sae]), ...flagsOf({ ...text, out }), '--overwrite');
  const records = JSON.parse(readFileSync(join(out, 'eval.json'), 'utf8')) as Measured[];
  const table = records.map((record, i) => {
    const arch = trainable[i]!;
    const last = readFileSync(join(saes[i]!, 'metrics.jsonl'), 'utf8').trim().split('\n').at(-1)!;
    const { dead_fraction: dead } = JSON.parse(last) as { dead_fraction: number | null };
    const { l0, loss_recovered, delta_ce, explained_variance, explained_variance_tokens } = record;
    const measured = [loss_recovered, delta_ce, explained_variance, explained_variance_tokens];
    check([l0, ...measured].every(Number.isFinite), `${arch}: all that its evaluation measured is finite`);
    check(l0 < MOST_L0 * dSae, `${arch}: L0 ${l0.toFixed(1)}, below ${MOST_L0 * dSae}`);
    const share = dead === null ? 'unknown' : `${(100 * dead).toFixed(1)} %`;
    check(dead !== null && dead < MOST_DEAD, `${arch}: dead ${share}, below ${100 * MOST_DEAD} %`);
    const [recovered, ...others] = measured;
    return [arch, l0.toFixed(1), `${(100 * recovered!).toFixed(2)} %`, ...others.map((one) => one.toFixed(3)), share];
  });
  const measures = ['L0', 'loss recovered', 'ΔCE', 'explained variance', 'per token', 'dead'];
  const head = [`${hook}, ${STEPS} steps of ${options.batch}`, ...measures];
  console.log(`\n${markdownTable(head, table)}\n\n${circumstances()}.`);
}

if (model === undefined || positionals.length > 1) {
  console.error('npm run check:real -- MODEL: name one model, a directory with config.json and its weights.');
  process.exit(2);
}
mkdirSync(directory, { recursive: true });
await compareWithPeer(model);
trainAll(model);
if (wrong.length > 0) {
  console.error(`${wrong.length} did not hold: ${wrong.join('; ')}.`);
  process.exitCode = 1;
}
