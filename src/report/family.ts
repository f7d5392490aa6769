import type { EvalRecord } from '../eval/record.js';
import { listed } from './format.js';

/** The part of cfg.json's record of training (metadata.sae_pipe) that says how the SAE was made otherwise than usual. */
interface Made {
  /** Parts of the paper's recipe that were left out (sections 5.1 and 5.2). */
  ablate: readonly string[];
  /** The only parameters that were trained; none: all were. */
  train: readonly string[];
}

function words(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((word) => typeof word === 'string') : [];
}

function made({ cfg }: Pick<EvalRecord, 'cfg'>): Made {
  const { sae_pipe } = (cfg.metadata ?? {}) as { sae_pipe?: unknown };
  const { ablate, train } = (sae_pipe ?? {}) as Record<string, unknown>;
  return { ablate: words(ablate), train: words(train) };
}

/** The ablations of `train --ablate` as a reader says them; another's name stands as it is. */
const ABLATIONS: Readonly<Record<string, string>> = {
  'untied-encoder': 'untied encoder',
  'no-r-mag': 'no r_mag',
  'unfrozen-decoder': 'unfrozen decoder',
  'no-auxiliary': 'no auxiliary loss',
  'l1-on-f': 'L1 on f',
};

/**
 * What the SAE is one of: its architecture, and how it was made where that is not the usual way. SAEs of one family at
 * one site are the points of one curve.
 *
 * "gated"; "gated, no r_mag" (an ablation of section 5.1); "standard, rescaled & shifted" (the frozen baseline with
 * learned r_mag and b_mag of section 5.2, which is saved as a gated SAE).
 */
export function familyOf(record: Pick<EvalRecord, 'architecture' | 'cfg'>): string {
  const { ablate, train } = made(record);
  const rescaled = record.architecture === 'gated' && [...train].sort().join() === 'b_mag,r_mag';
  // What --ablate untied-encoder makes has its own parameters, and so its own name in the file.
  const untied = record.architecture === 'gated_untied' && ablate.includes('untied-encoder');
  return [
    rescaled ? 'standard' : untied ? 'gated' : record.architecture,
    ...ablate.map((name) => ABLATIONS[name] ?? name),
    ...(rescaled ? ['rescaled & shifted'] : train.length > 0 ? [`only ${listed(train)} trained`] : []),
  ].join(', ');
}

/** The families that every page has in the same colours. */
export const MAIN_FAMILIES: readonly string[] = ['gated', 'standard'];
