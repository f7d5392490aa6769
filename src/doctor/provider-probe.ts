import { openTokenizer } from '../corpus/tokenizer.js';
import { packagedFile } from '../disk/input-file.js';
import { openForwardPass } from '../harvest/forward-pass.js';
import { type Checkpoint, openCheckpoint } from '../lm/checkpoint.js';
import { findHook } from '../lm/hooks.js';
import { prepareCudaProvider } from '../onnx/cuda-provider.js';
import { type CudaTrial, tryCudaDevice } from '../train/engines/cuda/gpu.js';
import type { ProviderReport } from './provider-report.js';

/** Has a GPU compute something through the CUDA engine's own device. */
async function probedTraining(ordinal: string): Promise<CudaTrial | { error: string }> {
  return tryCudaDevice(Number(ordinal)).catch((error: Error) => ({ error: error.message }));
}

/** How far |x| on a device may be from that on the CPU: sums in another order, not another result. */
const PROBE_TOLERANCE = 0.01;

/** Tokenizes a sentence and runs the bundled model on it, as a harvest does. */
async function probedDevice(name: string): Promise<{ error?: string }> {
  // Before the tokenizer, which loads ONNX Runtime, too.
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

/** |x| of every token but BOS after the last layer. */
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

/** What there is of ONNX Runtime's CUDA provider. */
async function providerReport(): Promise<ProviderReport> {
  const { refusal, ...report } = await prepareCudaProvider();
  return { ...report, refusal: refusal?.message ?? null };
}

/**
 * Run as a separate program, with a device, the number of a GPU to train on, or `provider` alone, as
 * arguments: providers and drivers may write to standard error or bring their process down, and doctor must survive it
 * and read what they wrote.
 */
// Of an older Node, which opens its debugger on SIGUSR1 where nothing listens.
process.on('SIGUSR1', () => process.exit(1));
const [kind, ...names] = process.argv.slice(2);
const answers = { device: probedDevice, training: probedTraining, provider: providerReport };
const probeAnswer = await answers[kind as keyof typeof answers](names[0]!);
process.stdout.write(JSON.stringify(probeAnswer));
