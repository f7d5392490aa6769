import { openTokenizer } from '../corpus/tokenizer.js';
import { packagedFile } from '../disk/input-file.js';
import { openForwardPass } from '../harvest/forward-pass.js';
import { type Checkpoint, openCheckpoint } from '../lm/checkpoint.js';
import { findHook } from '../lm/hooks.js';
import { prepareCudaProvider } from '../onnx/cuda-provider.js';
import { type CudaTrial, tryCudaDevice } from '../train/engines/cuda/gpu.js';
import type { ProviderReport } from './provider-report.js';

/** Runs a small computation on a GPU through the CUDA engine's device. */
async function probedTraining(ordinal: string): Promise<CudaTrial | { error: string }> {
  return tryCudaDevice(Number(ordinal)).catch((error: Error) => ({ error: error.message }));
}

/** Tolerance of |x| between device and CPU: a different order of summation, not a different result. */
const PROBE_TOLERANCE = 0.01;

/** Tokenizes a sentence and runs the bundled model on it, like a harvest. */
async function probedDevice(name: string): Promise<{ error?: string }> {
  // Before opening the tokenizer, which also loads ONNX Runtime.
  if (name.startsWith('cuda')) await prepareCudaProvider();
  try {
    const directory = packagedFile('assets/tiny-gemma');
    const checkpoint = await openCheckpoint(directory);
    const { bosTokenId: bos } = checkpoint.config;
    const document = (await openTokenizer(directory, checkpoint.config)).begin('the sentence');
    const known = [...document.push('Once upon a time there was a little graph.'), ...document.end()];
    const tokens = Int32Array.from([bos, ...known.flatMap((ids) => [...ids])]);
    const expected = await norms(checkpoint, tokens, 'cpu');
    const found = name === 'cpu' ? expected : await norms(checkpoint, tokens, name);
    const off = found.findIndex((norm, i) => !(Math.abs(norm - expected[i]!) <= PROBE_TOLERANCE * expected[i]!));
    if (off >= 0) return { error: `it computes |x| = ${found[off]} where the CPU has ${expected[off]}` };
    return {};
  } catch (error) {
    const { cause = error } = error as Error;
    return { error: cause instanceof Error ? cause.message : String(cause) };
  }
}

/** |x| of every token except BOS after the last layer. */
async function norms(checkpoint: Checkpoint, tokens: Int32Array, device: string): Promise<Float32Array> {
  const hook = findHook(`blocks.${checkpoint.config.layers - 1}.hook_resid_post`, checkpoint.config);
  const config = { device, precision: 'float32', dtype: 'float32', threads: 1 } as const;
  const pass = await openForwardPass(checkpoint, [hook], tokens.length, config);
  try {
    const context = { index: 0, tokens, documents: new Uint32Array(tokens.length) };
    const result = await pass.run([context], checkpoint.config.bosTokenId, tokens.length);
    return result.norms[0]!;
  } finally {
    await pass.release();
  }
}

/** State of ONNX Runtime's CUDA provider. */
async function providerReport(): Promise<ProviderReport> {
  const { refusal, ...report } = await prepareCudaProvider();
  return { ...report, refusal: refusal?.message ?? null };
}

/**
 * Runs as a separate program; its argument is a device, the number of a GPU to train on, or `provider`. Providers and
 * drivers may write to standard error or crash their process, and doctor must survive that and read what they wrote.
 */
// Older Node versions open the debugger on SIGUSR1 unless something listens to it.
process.on('SIGUSR1', () => process.exit(1));
const [kind, ...names] = process.argv.slice(2);
const answers = { device: probedDevice, training: probedTraining, provider: providerReport };
const probeAnswer = await answers[kind as keyof typeof answers](names[0]!);
process.stdout.write(JSON.stringify(probeAnswer));
