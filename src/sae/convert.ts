import { Refusal } from '../errors/refusal.js';
import { ARCHITECTURES } from './registry.js';
import { type ArchitectureName, architectures, type ParameterName, type Parameters, PLAIN, type Sae } from './sae.js';

/**
 * The same function with the parameters of another architecture, up to float32 rounding; `forward` stays unchanged.
 *
 * @throws Refusal if the other architecture cannot express it
 */
export function convert(sae: Sae, to: ArchitectureName): Sae {
  if (sae.architecture === to) return sae;
  const parameters = ARCHITECTURES[sae.architecture].writtenAs?.[to]?.(sae.parameters, sae);
  if (!parameters) {
    throw new Refusal(
      `A ${sae.architecture} SAE cannot be written as a ${to} one.`,
      `Use ${expressible(to)}.`,
      'sae/not-convertible',
    );
  }
  const { W_skip } = sae.parameters;
  return { ...sae, architecture: to, parameters: { ...parameters, ...(W_skip && { W_skip }) } };
}

/** Does a conversion exist? */
export function canConvert(from: ArchitectureName, to: ArchitectureName): boolean {
  return from === to || ARCHITECTURES[from].writtenAs?.[to] !== undefined;
}

/** The SAEs that an architecture can express, in words: "a gated or a standard SAE". */
export function expressible(to: ArchitectureName): string {
  const from = architectures.filter((name) => canConvert(name, to));
  return `${from.map((name) => `a ${name}`).join(' or ')} SAE`;
}

/** Architectures that SAEs of others can be written as. */
export const exportFormats = architectures.filter((to) =>
  architectures.some((from) => canConvert(from, to) && from !== to),
);

/** Rows whose norm is this close to 1 are not rescaled: float32 cannot resolve the difference. */
const TOLERANCE = 1e-6;

/** Matrices multiplied by |W_dec[j]| when row j is divided by it; the biases of feature j are too. */
const COLUMNS: readonly ParameterName[] = ['W_enc', 'W_mag'];

/**
 * The same function in the form used in training: x − b_dec is encoded, and rows of W_dec have norm 1. Other programs'
 * SAEs may encode x itself (b_dec W_enc is folded into the biases), and have rows of any norm (f_j is multiplied by it,
 * row j divided). Zero rows stay: they have no direction.
 *
 * @param name of the SAE, for messages
 * @param unitRows false leaves the rows of W_dec as they are
 * @returns the SAE, and the number of rows with another norm
 * @throws Refusal if no weights compute the same function: per-token normalisation; a topk SAE whose selection would
 * change with the rows' norms
 */
export function folded(sae: Sae, unitRows: boolean, name: string): { sae: Sae; rows: number } {
  const { apply_b_dec_to_input, normalize_activations } = sae.forward ?? PLAIN;
  if (normalize_activations !== 'none') {
    throw new Refusal(
      `${name} has normalize_activations "${normalize_activations}", which cannot be folded into the weights.`,
      'Use an SAE trained without it, or with a constant factor.',
      'sae/normalisation',
    );
  }
  // The b_dec of a transcoder belongs to its target and is not subtracted from its input.
  const centred = apply_b_dec_to_input || sae.transcoder ? sae : withCentredInput(sae);
  return unitRows ? withUnitRows(centred, name) : { sae: centred, rows: 0 };
}

/** x W + b = (x − b_dec) W + (b + b_dec W) */
function withCentredInput(sae: Sae): Sae {
  const { W_enc, W_mag, b_dec, b_enc, b_gate, b_mag, r_mag } = sae.parameters;
  const shift = product(b_dec!, W_enc!);
  const parameters: Parameters = { ...sae.parameters };
  if (b_enc) parameters.b_enc = b_enc.map((b, j) => b + shift[j]!);
  if (b_gate) parameters.b_gate = b_gate.map((b, j) => b + shift[j]!);
  if (b_mag && W_mag) {
    const magnitude = product(b_dec!, W_mag);
    parameters.b_mag = b_mag.map((b, j) => b + magnitude[j]!);
  } else if (b_mag) parameters.b_mag = b_mag.map((b, j) => b + Math.exp(r_mag![j]!) * shift[j]!);
  return { ...sae, forward: { ...sae.forward!, apply_b_dec_to_input: true }, parameters };
}

/** The same function of x itself: (x − b_dec) W + b = x W + (b − b_dec W). For SAEs with only b_enc. */
export function withRawInput(sae: Sae): Sae {
  const { forward = PLAIN } = sae;
  if (!forward.apply_b_dec_to_input) return sae;
  const { W_enc, b_dec, b_enc } = sae.parameters;
  const shift = product(b_dec!, W_enc!);
  const parameters = { ...sae.parameters, b_enc: b_enc!.map((b, j) => b - shift[j]!) };
  return { ...sae, forward: { ...forward, apply_b_dec_to_input: false }, parameters };
}

/** v W, [columns of W] */
function product(v: Float32Array, W: Float32Array): Float64Array {
  const columns = W.length / v.length;
  const sums = new Float64Array(columns);
  for (let i = 0; i < v.length; i++) {
    for (let j = 0; j < columns; j++) sums[j]! += v[i]! * W[i * columns + j]!;
  }
  return sums;
}

function withUnitRows(sae: Sae, name: string): { sae: Sae; rows: number } {
  const { dOut, dSae, parameters } = sae;
  const norms = rowNorms(parameters.W_dec!, dOut);
  const rows = norms.filter((norm) => norm !== 1).length;
  if (rows === 0) return { sae, rows };
  if (ARCHITECTURES[sae.architecture].competes && !sae.forward?.rescale_acts_by_decoder_norm) {
    throw new Refusal(
      `${name} is a ${sae.architecture} SAE whose rows of W_dec do not have norm 1: normalised, it would select other features.`,
      'Start from one that was trained with --normalize mean-norm, or save it with rows of norm 1 or rescale_acts_by_decoder_norm.',
      'sae/topk-norms',
    );
  }
  const changed: Parameters = { ...parameters };
  changed.W_dec = parameters.W_dec!.map((value, k) => value / norms[Math.floor(k / dOut)]!);
  for (const column of COLUMNS) {
    const W = parameters[column];
    if (W) changed[column] = W.map((value, k) => value * norms[k % dSae]!);
  }
  for (const bias of ARCHITECTURES[sae.architecture].proportional) {
    const b = parameters[bias];
    if (b && bias !== 'b_dec') changed[bias] = b.map((value, j) => value * norms[j]!);
  }
  return { sae: { ...sae, parameters: changed }, rows };
}

/** Norms of rows of length d; exactly 1 if within rounding of 1, or if there is no direction. */
function rowNorms(W: Float32Array, d: number): Float64Array {
  return Float64Array.from({ length: W.length / d }, (_, j) => {
    const norm = Math.sqrt(W.subarray(j * d, (j + 1) * d).reduce((sum, value) => sum + value * value, 0));
    return norm === 0 || Math.abs(norm - 1) <= TOLERANCE ? 1 : norm;
  });
}

/**
 * The SAE that acts on s·x as `sae` does on x: the starting point when activations are scaled by s. Every architecture
 * is positively homogeneous: scaling x and the proportional parameters by s scales f and x̂ by s.
 *
 * @param sOut the target's scale, if different: f is then scaled by it, and the encoder by sOut / s
 */
export function scaleActivations(sae: Sae, s: number, sOut = s): Sae {
  const parameters = { ...sae.parameters };
  for (const name of ARCHITECTURES[sae.architecture].proportional) {
    parameters[name] = parameters[name]!.map((value) => value * sOut);
  }
  for (const name of sOut === s ? [] : ([...COLUMNS, 'W_skip'] as const)) {
    const W = parameters[name];
    if (W) parameters[name] = W.map((value) => value * (sOut / s));
  }
  return { ...sae, parameters };
}
