/**
 * The measurements of `npm run check:placement`, by an ONNX Runtime that has the CUDA provider over stub libraries:
 *
 *     CUDA_STUB_TRACE=FILE node dist/bench/check-placement-run.js DIRECTORY
 *
 * Prints a line of JSON for each case as it is measured.
 */
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { InferenceSession } from 'onnxruntime-node';
import { openSpliceIn } from '../src/eval/splice-in.js';
import { openForwardPass } from '../src/harvest/forward-pass.js';
import { type Checkpoint, openCheckpoint } from '../src/lm/checkpoint.js';
import { findHook } from '../src/lm/hooks.js';
import type { Precision } from '../src/lm/placement.js';
import { prepareCudaProvider } from '../src/onnx/cuda-provider.js';
import { onnxRuntime } from '../src/onnx/session.js';
import { initialise } from '../src/sae/registry.js';
import { square } from '../src/sae/sae.js';
import { openSae, saveSae } from '../src/sae/saelens.js';
import { openReferenceEngine } from '../src/train/engines/reference/engine.js';
import { openRandomModel, type RandomModel, writeCheckpoint } from '../test/lm/random-model.js';
import { batches, randomStart, smallSettings } from '../test/train/engines/problem.js';
import { type PlacementCase, readTrace } from './placement-trace.js';

const directory = process.argv[2]!;
const TRACE = process.env.CUDA_STUB_TRACE!;
const DEVICE = 'cuda';
const NO_TOKEN = -1;
const ALL = Number.POSITIVE_INFINITY;

/** One of each family. */
const MODELS: readonly (RandomModel | 'gelu-1l')[] = [
  ...(['gemma-gqa', 'gemma2-gqa', 'gemma3-gqa', 'vault-gqa', 'gemma4-e', 'llama-gqa'] as const),
  ...(['mistral-window', 'qwen2-gqa', 'qwen3-gqa', 'neox-parallel', 'gpt2-tied', 'gelu-1l'] as const),
];
const PRECISIONS = [
  ['float32', 'F32'],
  ['float16', 'F16'],
  ['bfloat16', 'BF16'],
] as const;

/** Sessions that are open, each of which keeps a profile: who ran which operator. */
const sessions: InferenceSession[] = [];

async function keepProfiles(): Promise<void> {
  const { InferenceSession: kind } = await onnxRuntime();
  const create = kind.create as (
    model: Uint8Array,
    options: InferenceSession.SessionOptions,
  ) => Promise<InferenceSession>;
  const profiled = async (model: Uint8Array, options: InferenceSession.SessionOptions) => {
    const prefix = join(directory, `profile-${sessions.length}`);
    const session = await create.call(kind, model, { ...options, enableProfiling: true, profileFilePrefix: prefix });
    sessions.push(session);
    return session;
  };
  Object.assign(kind, { create: profiled });
}

/** Operators by the provider that ran them, as the profiles of sessions that are released have it. */
function takeProfiles(): Map<string, Set<string>> {
  const found = new Map<string, Set<string>>();
  for (const name of readdirSync(directory).filter((one) => one.startsWith('profile-'))) {
    const path = join(directory, name);
    const events = JSON.parse(readFileSync(path, 'utf8')) as { args?: { op_name?: string; provider?: string } }[];
    for (const { args } of events) {
      if (args?.op_name === undefined || args.provider === undefined) continue;
      found.set(args.provider, (found.get(args.provider) ?? new Set()).add(args.op_name));
    }
    rmSync(path);
  }
  return found;
}

function endProfiles(): void {
  for (const session of sessions.splice(0)) {
    try {
      session.endProfiling();
    } catch {
      // It was released before, and its profile written then.
    }
  }
}

const traceBytes = () => statSync(TRACE, { throwIfNoEntry: false })?.size ?? 0;

/** Opens something, runs it twice, and reports on the second run. */
async function measured(
  about: Pick<PlacementCase, 'stage' | 'model' | 'precision'>,
  open: () => Promise<{ run: () => Promise<unknown>; release: () => Promise<unknown> }>,
): Promise<void> {
  try {
    const opened = await open();
    await opened.run();
    const from = traceBytes();
    await opened.run();
    const trace = readFileSync(TRACE).subarray(from).toString();
    endProfiles();
    await opened.release();
    const byProvider = takeProfiles();
    const on = byProvider.get('CUDAExecutionProvider') ?? new Set();
    byProvider.delete('CUDAExecutionProvider');
    const elsewhere = [...byProvider.values()].flatMap((operators) => [...operators]).sort();
    console.log(JSON.stringify({ ...about, operators: on.size, elsewhere, ...readTrace(trace) }));
  } catch (error) {
    endProfiles();
    console.log(JSON.stringify({ ...about, error: (error as Error).message }));
  }
}

async function model(
  name: (typeof MODELS)[number],
  precision: Precision,
  dtype: 'F32' | 'F16' | 'BF16',
): Promise<void> {
  const { tokens, context, ...random } = await openRandomModel(name);
  const checkpoint = await openCheckpoint(await writeCheckpoint(join(directory, name, dtype), random, { dtype }));
  const contexts = [0, 1].map((index) => ({
    index,
    tokens: tokens.slice(index * context, (index + 1) * context),
    documents: new Uint32Array(context),
  }));
  const hook = middle(checkpoint);
  const settings = { device: DEVICE, precision, threads: 1 } as const;
  await measured({ stage: 'harvest', model: name, precision }, async () => {
    const pass = await openForwardPass(checkpoint, [hook], context, { ...settings, dtype: precision });
    return { run: () => pass.run(contexts, NO_TOKEN, ALL), release: () => pass.release() };
  });
  const sae = join(directory, `sae-${hook.width}`);
  mkdirSync(sae, { recursive: true });
  await saveSae(sae, initialise('gated', square(hook.width, 64), 1), {});
  await measured({ stage: 'eval', model: name, precision }, async () => {
    const spliceIn = await openSpliceIn(checkpoint, hook, [await openSae(sae)], context, settings);
    await spliceIn.addToMean(contexts, NO_TOKEN, ALL);
    return { run: () => spliceIn.add(contexts, NO_TOKEN, ALL), release: () => spliceIn.release() };
  });
}

const middle = ({ config: { hooks, layers } }: Checkpoint) => {
  const name = hooks.find(
    ({ layer, site }) => layer === Math.floor((layers - 1) / 2) && site === 'hook_resid_post',
  )!.name;
  return findHook(name, { hooks });
};

const k = { k: 6, kAux: 11, auxCoefficient: 1 / 32 };
const ARCHITECTURES = {
  gated: smallSettings('gated'),
  standard: smallSettings('standard'),
  gated_untied: smallSettings('gated_untied', { options: { ablate: [] } }),
  topk: smallSettings('topk', { options: k }),
  batchtopk: smallSettings('batchtopk', { options: k }),
  jumprelu: smallSettings('jumprelu', {
    options: { sparsityLoss: 'step', bandwidth: 0.4, steToEncoder: true, preActLoss: 1e-3 },
  }),
  matryoshka: smallSettings('matryoshka', { options: { ...k, prefixes: [50, 210], prefixWeights: [0.5, 0.5] } }),
};

await prepareCudaProvider();
await keepProfiles();
for (const name of MODELS) for (const [precision, dtype] of PRECISIONS) await model(name, precision, dtype);
for (const [name, settings] of Object.entries(ARCHITECTURES)) {
  await measured({ stage: 'train, reference', model: name, precision: 'float32' }, async () => {
    const engine = await openReferenceEngine({ ...settings, device: DEVICE }, randomStart(settings, -0.2));
    const x = batches(settings)();
    return { run: () => engine.step({ x }, { lr: 1e-3, l1: 1 }), release: () => engine.close() };
  });
}
