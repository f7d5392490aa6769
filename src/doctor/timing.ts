import { Refusal } from '../config/refusal.js';
import type { DoctorConfig } from '../config/stages.js';
import type { Context } from '../corpus/contexts.js';
import { openForwardPass } from '../harvest/forward-pass.js';
import type { Checkpoint } from '../lm/checkpoint.js';
import type { Hook } from '../lm/hooks.js';
import { Generator } from '../random/generator.js';

/** How fast the model runs here. */
export interface Timing {
  /** Activations (tokens other than BOS) a second of the forward pass alone. */
  readonly tokensPerSecond: number;
  /** Contexts a pass in the timed passes. */
  readonly batch: number;
  /** Seconds until the session was open. */
  readonly opening: number;
}

/** Seconds that timed passes may take together, about. */
const BUDGET = 6;
const PASSES = 3;

/**
 * Times a few of harvest's own forward passes on random tokens. The first, of one context, warms up and tells how many
 * contexts a pass can have within the budget; the median of the rest counts.
 *
 * @throws Refusal when the model cannot run on the device
 */
export async function timeForwardPass(
  checkpoint: Checkpoint,
  hooks: readonly Hook[],
  context: number,
  config: DoctorConfig,
): Promise<Timing> {
  const begun = performance.now();
  const pass = await openForwardPass(checkpoint, hooks, context, config);
  const opening = seconds(begun);
  try {
    const bos = checkpoint.config.bosTokenId;
    const random = new Generator(0);
    const contexts = (count: number) =>
      Array.from({ length: count }, (_, index) =>
        randomContext(random, context, checkpoint.config.vocabulary, bos, index),
      );
    const time = async (count: number) => {
      const group = contexts(count);
      const start = performance.now();
      const result = await pass.run(group, bos, Number.POSITIVE_INFINITY);
      return { rows: result.count, seconds: seconds(start) };
    };
    await time(1);
    const one = await time(1);
    const batch = Math.max(1, Math.min(config.batch, pass.contexts, Math.floor(BUDGET / PASSES / one.seconds)));
    const rates: number[] = [];
    for (let i = 0; i < PASSES; i++) {
      const timed = await time(batch);
      rates.push(timed.rows / timed.seconds);
    }
    rates.sort((a, b) => a - b);
    return { tokensPerSecond: rates[Math.floor(PASSES / 2)]!, batch, opening };
  } finally {
    await pass.release();
  }
}

const seconds = (since: number) => (performance.now() - since) / 1000;

/** BOS, then any other tokens. */
function randomContext(random: Generator, length: number, vocabulary: number, bos: number, index: number): Context {
  const tokens = Int32Array.from({ length }, (_, t) => {
    if (t === 0) return bos;
    const token = random.below(vocabulary - 1);
    return token < bos ? token : token + 1;
  });
  return { index, tokens, documents: new Uint32Array(length) };
}

/** The timing, or why there is none: random tokens may overflow float16 where text does not. */
export async function tryTiming(...args: Parameters<typeof timeForwardPass>): Promise<Timing | { reason: string }> {
  try {
    return await timeForwardPass(...args);
  } catch (error) {
    if (error instanceof Refusal) return { reason: error.message };
    throw error;
  }
}
