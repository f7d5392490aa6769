import { join } from 'node:path';
import { writeNpz } from '../../../safetensors/write-npz.js';
import { convert, withRawInput } from '../../convert.js';
import { parametersOf } from '../../registry.js';
import { parameterShape } from '../../sae.js';
import { cannotHold, checkPlain, type SaeWriter } from '../writer.js';

const LAYOUT = 'gemma-scope';

/** params.npz. In Gemma Scope, hook, model and context are only given by folder names. */
export const gemmaScopeWriter: SaeWriter = {
  files: ['params.npz'],
  result: 'params.npz',
  fitted(sae, _, name) {
    checkPlain(sae, name, LAYOUT);
    if (sae.skip) cannotHold(name, LAYOUT, 'its skip connection');
    return withRawInput(convert(sae, 'jumprelu'));
  },
  async write(directory, sae) {
    await writeNpz(
      join(directory, 'params.npz'),
      parametersOf(sae).map((name) => ({
        name,
        shape: parameterShape(name, sae),
        read: async () => sae.parameters[name]!,
      })),
    );
  },
};
