import type { Context } from '../../src/corpus/contexts.js';
import { PARAMETERS } from '../../src/sae/registry.js';
import type { ArchitectureName } from '../../src/sae/sae.js';
import type { SaeFiles } from '../../src/sae/saelens.js';
import { openGolden } from '../golden.js';

/** Tokens of a golden context. */
export const CONTEXT = 256;

const golden = await openGolden('eval');
const tokens = await (await openGolden('tiny-gemma')).ints('tokens');

export function goldenContexts(indices: Iterable<number>): Context[] {
  return [...indices].map((index) => ({
    index,
    tokens: tokens.slice(index * CONTEXT, (index + 1) * CONTEXT),
    documents: new Uint32Array(CONTEXT),
  }));
}

/** An SAE whose weights lie in the golden file, for blocks.2.hook_resid_post of the bundled model. */
export function goldenSae(architecture: ArchitectureName): SaeFiles {
  const tensors = Object.fromEntries(
    PARAMETERS[architecture].map((name) => [name, golden.location(`${architecture}/${name}`)]),
  );
  return { directory: 'golden', architecture, dIn: 192, dOut: 192, dSae: 48, metadata: {}, tensors, cfg: {} };
}
