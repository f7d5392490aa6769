import { Refusal } from '../config/refusal.js';
import type { Architecture, Parameters, Sae } from './sae.js';

/**
 * The same function in the parameters of another architecture, up to float32 rounding; what `forward` says stays.
 *
 * @throws Refusal where the other architecture cannot express it
 */
export function convert(sae: Sae, to: Architecture): Sae {
  if (sae.architecture === to) return sae;
  const parameters = CONVERSIONS[`${sae.architecture} → ${to}`]?.(sae.parameters, sae.dSae);
  if (!parameters)
    throw new Refusal(`A ${sae.architecture} SAE cannot be written as a ${to} one.`, 'Use a gated or a standard SAE.');
  return { ...sae, architecture: to, parameters };
}

/** Is there a conversion? */
export function canConvert(from: Architecture, to: Architecture): boolean {
  return from === to || CONVERSIONS[`${from} → ${to}`] !== undefined;
}

type Conversion = (w: Parameters, dSae: number) => Parameters;

const CONVERSIONS: { readonly [pair: string]: Conversion | undefined } = {
  /** One bias decides and measures, and r_mag = 0: 1[p + b > 0] ReLU(p + b) = ReLU(p + b), to the bit. */
  'standard → gated': ({ W_enc, W_dec, b_dec, b_enc }, dSae) => ({
    W_enc,
    W_dec,
    b_dec,
    b_gate: b_enc!.slice(),
    b_mag: b_enc!.slice(),
    r_mag: new Float32Array(dSae),
  }),
  'standard → gated_untied': ({ W_enc, W_dec, b_dec, b_enc }) => ({
    W_enc,
    W_mag: W_enc!.slice(),
    W_dec,
    b_dec,
    b_gate: b_enc!.slice(),
    b_mag: b_enc!.slice(),
  }),
  /** W_mag = W_gate ∘ exp(r_mag), the paper's eq. 7. */
  'gated → gated_untied': ({ r_mag, W_enc, ...rest }) => ({ ...rest, W_enc, W_mag: magnified(W_enc!, r_mag!) }),
  'standard → jumprelu': (w, dSae) => ({ ...w, threshold: new Float32Array(dSae) }),
  /**
   * Appendix E: with e = exp(r_mag), π_gate = p + b_gate > 0 where e p + b_mag > b_mag − e b_gate. Where that gap is
   * negative the gate opens before the magnitude is positive, and ReLU decides: threshold 0.
   */
  'gated → jumprelu': ({ W_enc, W_dec, b_dec, b_gate, b_mag, r_mag }) => ({
    W_enc: magnified(W_enc!, r_mag!),
    W_dec,
    b_dec,
    b_enc: b_mag!.slice(),
    threshold: b_mag!.map((bias, j) => Math.max(0, bias - Math.exp(r_mag![j]!) * b_gate![j]!)),
  }),
};

/** W [d_in, d_sae] ∘ exp(r_mag), column by column. */
function magnified(W: Float32Array, r_mag: Float32Array): Float32Array {
  const e = Float64Array.from(r_mag, Math.exp);
  return W.map((value, k) => value * e[k % e.length]!);
}
