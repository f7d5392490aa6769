import { createHash } from 'node:crypto';
import type { Context } from '../corpus/contexts.js';

/**
 * What an evaluation was made of, and how. With all of it equal, one machine measures the same again: threads, which
 * move last bits only, are left out.
 */
export interface EvalSettings {
  /** Version of this program. */
  version: string;
  /** SHA-256 of the SAE's cfg.json and sae_weights.safetensors, one after the other. */
  sae_sha256: string;
  model_fingerprint: string;
  corpus: string;
  text_field: string;
  /** Of .txt and JSON Lines; utf-8 where it is not said. */
  encoding?: string;
  /** SHA-256 of the contexts that were read beforehand to see whether the text suffices: up to 20 million tokens. */
  text_sha256: string;
  /** Tokens a context, BOS included. */
  context: number;
  /** Other tokens than BOS whose positions do not count; none where it is not said. */
  exclude_special_tokens?: readonly number[];
  /** Contexts a forward pass. */
  batch: number;
  mean_ablation: boolean;
  device: string;
  /** In which the model's matrices are multiplied. */
  precision: string;
}

/** Passes contexts on and hashes the tokens of those that are taken. */
export class HashedContexts {
  private readonly hash = createHash('sha256');

  async *pass(contexts: AsyncIterable<Context>): AsyncGenerator<Context> {
    for await (const context of contexts) {
      this.hash.update(Int32Array.from(context.tokens));
      yield context;
    }
  }

  digest(): string {
    return this.hash.digest('hex');
  }
}
