import { CFG_FILE, cfgOf, saveSae, WEIGHTS_FILE } from '../../saelens.js';
import { cannotHold, type SaeWriter } from '../writer.js';

/** The classes of SAELens 6.54 that are also supported here. */
const KNOWN = ['standard', 'gated', 'jumprelu', 'topk', 'transcoder', 'skip_transcoder', 'jumprelu_transcoder'].concat(
  'jumprelu_skip_transcoder',
);

/** Does SAELens have a class of this name? */
export const isOfSaelens = (architecture: string): boolean => KNOWN.includes(architecture);

/** cfg.json and sae_weights.safetensors. */
export const saelensWriter: SaeWriter = {
  files: [CFG_FILE, WEIGHTS_FILE],
  result: CFG_FILE,
  fitted(sae, metadata, name) {
    const { architecture } = cfgOf(sae, metadata);
    if (isOfSaelens(architecture as string)) return sae;
    return cannotHold(name, 'SAELens', `that it is ${architecture}`);
  },
  write: saveSae,
};
