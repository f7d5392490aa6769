import type { GraphBuilder } from '../../onnx/graph.js';
import type { Architecture, EncoderInput, ParameterValues, Unsupported } from '../architecture.js';
import { ablated, type Gated, type GatedOptions, gate, gated, gatedLoss, gateOpening } from './gated.js';

/** Magnitudes have their own matrix: eq. 6 of the paper without eq. 7. */
function untied(g: GraphBuilder, w: ParameterValues, { input, p }: EncoderInput): Gated {
  return gate(g, w, p, g.matmul(input, w.W_mag!));
}

const TWO_MATRICES: Unsupported = {
  unsupported: 'it has one encoder matrix, but --ablate untied-encoder needs two',
};

/** A gated SAE with a separate matrix W_mag for magnitudes, trained by `--arch gated --ablate untied-encoder`. */
export const gatedUntied: Architecture<GatedOptions> = {
  name: 'gated_untied',
  about: 'gated with --ablate untied-encoder',
  parameters: ['W_enc', 'W_mag', 'W_dec', 'b_dec', 'b_gate', 'b_mag'],
  proportional: ['b_dec', 'b_gate', 'b_mag'],
  encode: (g, w, x) => untied(g, w, x).f,
  saelens: { names: ['gated_untied'] },
  look: {
    label: 'gated_untied',
    // The result of --ablate untied-encoder has its own parameters, and therefore its own name in files.
    family(made, _, only) {
      const ways = ablated(made);
      return [ways.includes('untied encoder') ? gated.look.label : 'gated_untied', ...ways, ...only];
    },
  },
  training: {
    variantOf: 'gated',
    flags: {},
    penalised: true,
    options: (flags, sizes) => gated.training!.options(flags, sizes),
    trains: () => gatedUntied.parameters,
    sparseStart: { kind: 'thresholds', opening: gateOpening },
    initial: (name, { W_enc }) => (name === 'W_mag' ? W_enc!.slice() : undefined),
    loss: (g, w, batch, chosen) => gatedLoss(g, w, untied(g, w, batch.x), batch, chosen),
    sparse: () => TWO_MATRICES,
    cuda: () => TWO_MATRICES,
  },
};
