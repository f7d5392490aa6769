import { UsageRefusal } from '../config/refusal.js';
import type { GemmaConfig } from './gemma-config.js';

/** Longest context by default: that of the paper's Gemma 7B runs (appendix D). */
const DEFAULT_CONTEXT = 1024;

/**
 * Tokens a context: the wanted number, or the default as far as the model goes.
 *
 * @throws UsageRefusal when it is longer than the model's positions
 */
export function chooseContext(wanted: number | undefined, config: GemmaConfig): number {
  const longest = config.maxContext;
  if (wanted !== undefined && wanted > longest) {
    throw new UsageRefusal(
      `--context ${wanted} is longer than the model's ${longest} tokens.`,
      `Use at most ${longest}.`,
    );
  }
  return wanted ?? Math.min(DEFAULT_CONTEXT, longest);
}
