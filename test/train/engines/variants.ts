import type { GatedOptions } from '../../../src/sae/architectures/gated.js';
import { PARAMETERS } from '../../../src/sae/registry.js';
import type { EngineSettings } from '../../../src/train/engines/engine.js';

/** Of what kind an SAE is, what its loss has and which parameters are trained. */
export type Variant = Pick<EngineSettings, 'architecture' | 'trained'> & { readonly options?: GatedOptions };

const without = (...names: string[]) => PARAMETERS.gated.filter((name) => !names.includes(name));
const gated = (...ablate: GatedOptions['ablate']): Variant => ({ architecture: 'gated', options: { ablate } });

/** The cases of the golden, by their names there. */
export const CASES: Record<string, Variant> = {
  'untied-encoder': { architecture: 'gated_untied' },
  'no-r-mag': { ...gated(), trained: without('r_mag') },
  'unfrozen-decoder': gated('unfrozen-decoder'),
  'no-auxiliary': gated('no-auxiliary'),
  'l1-on-f': gated('l1-on-f'),
  combined: { ...gated('unfrozen-decoder', 'l1-on-f'), trained: without('r_mag') },
  'rescale-and-shift': { ...gated(), trained: ['b_mag', 'r_mag'] },
};

/** More than the golden has: frozen parameters of every layout, alone and with changed losses. */
export const VARIANTS: readonly Variant[] = [
  ...Object.values(CASES).filter(({ architecture }) => architecture !== 'gated_untied'),
  gated('no-auxiliary', 'l1-on-f'),
  { ...gated('unfrozen-decoder'), trained: ['b_dec'] },
  { ...gated('unfrozen-decoder'), trained: ['W_dec', 'b_gate'] },
  { ...gated('l1-on-f'), trained: ['W_enc'] },
  { ...gated(), trained: without('W_dec') },
  { ...gated('no-auxiliary'), trained: without('b_dec') },
  { architecture: 'standard', trained: ['W_dec'] },
  { architecture: 'standard', trained: ['W_enc', 'b_dec', 'b_enc'] },
];
