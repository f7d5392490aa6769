import type { z } from 'zod';
import type { GraphBuilder, Value } from '../onnx/graph.js';
import type { ArchitectureName, ForwardSettings, ParameterName, Parameters, Sae, Sizes } from './sae.js';

/** The parameters of an SAE as values of a graph. */
export type ParameterValues = Partial<Record<ParameterName, Value>>;

/** Input of an encoder: `input` [tokens, d_in] (x − b_dec, or x if nothing is subtracted), and input · W_enc. */
export interface EncoderInput {
  readonly input: Value;
  readonly p: Value;
}

/**
 * Complete description of one architecture. All other code (flags, training, engines, evaluation, files, reports) reads
 * it and never compares names, so a new architecture only needs a file under architectures/.
 */
export interface Architecture<Options = unknown> {
  readonly name: ArchitectureName;
  /** For help and docs: what it computes, or who introduced it. */
  readonly about: string;
  /** In file order; names and shapes are SAELens's where it has them. */
  readonly parameters: readonly ParameterName[];
  /**
   * Parameters scaled by s when activations are: f and x̂ then scale by s, and the others stay unchanged (W_enc, W_dec,
   * r_mag).
   */
  readonly proportional: readonly ParameterName[];
  /** Features compete, so that rescaling one of them changes which others fire. */
  readonly competes?: true;
  /** f [tokens, d_sae]. */
  encode(g: GraphBuilder, w: ParameterValues, x: EncoderInput, settings: ForwardSettings): Value;
  /** f of one feature as a function of its p alone; absent if it depends on more. */
  readonly unit?: (w: Parameters, feature: number) => (p: number) => number;
  /** The same function with the parameters of another architecture, if possible; up to float32 rounding. */
  readonly writtenAs?: Partial<Record<ArchitectureName, (w: Parameters, sizes: Sizes) => Parameters>>;
  readonly saelens: SaelensCodec;
  /** Its name and colour in reports, curves and tables. */
  readonly look: Look;
  /** Absent: it can be read, evaluated and written, but not trained. */
  readonly training?: Training<Options>;
}

/** How an architecture is trained. `Options` are its own settings by flag key, validated and complete. */
export interface Training<Options> {
  /** For a variant: the architecture whose --arch and flags train it; it has the same options. */
  readonly variantOf?: ArchitectureName;
  /** Its own flags; keys are unique among architectures, and refused with any other. None for a variant. */
  readonly flags: z.ZodRawShape;
  /** Does it have a λ? If not, --l1 and related flags are refused. */
  readonly penalised: boolean;
  /** λ if --l1 is not given; USUAL_L1 if absent. */
  usualL1?(options: Options): number;
  /**
   * false: the penalty does not change when activations are scaled, such as a feature count; absent: it scales with s.
   * --l1-convention paper assumes that it scales, and is refused otherwise.
   */
  readonly penaltyScales?: false;
  /**
   * The L0 to which λ is adjusted, as a multiple of --l0; 1 if absent. A penalty that itself aims at --l0 (read by
   * `options`) gets closer with larger λ, but never reaches it.
   */
  adjustsTo?(options: Options): number;
  /**
   * @param flags values of its flags, and --l0; those not given are absent, or have their schema's default
   * @throws UsageRefusal if flags contradict each other or the sizes
   */
  options(flags: Readonly<Record<string, unknown>>, sizes: Sizes): Options;
  /** The architecture whose parameters are trained, if these options change it. */
  variant?(options: Options): ArchitectureName;
  /** Parameters that these options train; --train selects among them. */
  trains(options: Options): readonly ParameterName[];
  /**
   * A parameter [d_sae] without a gradient: the running mean of the smallest f > 0 of each batch, updated with weight
   * `share` per step. A batch in which nothing fires leaves it unchanged.
   */
  readonly follows?: { readonly parameter: ParameterName; readonly share: number };
  /** Forward settings other than PLAIN. */
  forward?(options: Options): Partial<ForwardSettings>;
  /** Parameters clamped at 0 from below after each step. */
  readonly nonNegative?: readonly ParameterName[];
  /**
   * Initial values of a parameter with `size` entries, if it is not W_dec (random unit rows), W_enc (its transpose) or
   * zeros.
   */
  initial?(name: ParameterName, w: Parameters, size: number, options?: Options): Float32Array | undefined;
  /** Parameters set by a sparse start (docs/explanation/training.md, "Where it starts"); absent: none. */
  readonly sparseStart?: SparseStart<Options>;
  /**
   * Checks the SAE of --init, converted to this architecture.
   *
   * @param path of that SAE, for messages
   * @throws Refusal if training with these options cannot start from it
   */
  checkStart?(start: Sae, options: Options, path: string): void;
  /** The training loss as a graph; engines differentiate it (reference), or compute its SparseForm. */
  loss(g: GraphBuilder, w: ParameterValues, batch: LossInput, options: Options): Loss;
  /** What the sparse and the CUDA engine need to know, or why they cannot train it. */
  sparse(options: Options): SparseForm | Unsupported;
  cuda(options: Options): SparseForm | Unsupported;
  /** Why --resample-at does not apply, if so. */
  readonly resampling?: Unsupported;
}

export type SparseStart<Options> =
  /** Initial biases such that feature j fires if its p exceeds thresholds[j] [d_sae]. */
  | { readonly kind: 'thresholds'; opening(thresholds: Float32Array): Parameters }
  /** The number of features per token is fixed, so the encoder is scaled. */
  | { readonly kind: 'scale'; firing(options: Options): number };

export interface LossInput {
  /** Input of the encoder. */
  readonly x: EncoderInput;
  /** [tokens, d_out], to be reconstructed: the target, minus the contribution of a skip connection. */
  readonly y: Value;
  /** The target itself, for variances. */
  readonly target: Value;
  /** λ, a scalar. */
  readonly sparsity: Value;
  /** [d_sae] 1 for features that were dead before the step, otherwise 0. */
  readonly dead: Value;
  readonly sizes: Sizes;
}

/** Loss terms per input, [tokens] each; training minimises the mean over tokens of their sum. */
export interface Loss {
  /** [tokens, d_sae] */
  readonly f: Value;
  /** |y − ŷ|² */
  readonly mse: Value;
  /** λ times the penalty. */
  readonly penalty?: Value;
  /** Auxiliary loss, including its coefficient. */
  readonly auxiliary?: Value;
}

/** Unsupported cases are named explicitly, so that a run is refused with a clear message. */
export interface Unsupported {
  /** Completes "--engine sparse cannot train …: REASON." */
  readonly unsupported: string;
}

export function isUnsupported(form: object): form is Unsupported {
  return 'unsupported' in form;
}

/** Which pre-activations p + bias become entries. NaN always does, so that it reaches the loss. */
export type Select =
  /** Those above 0. */
  | { readonly kind: 'positive'; readonly bias: ParameterName }
  /** Those above the feature's threshold, and those at most `window` below it. */
  | { readonly kind: 'threshold'; readonly bias: ParameterName; readonly window: number }
  /** Of those above 0, the k largest per token; ties go to the lower feature. */
  | { readonly kind: 'k-per-token'; readonly bias: ParameterName; readonly k: number }
  /** Of those above 0, the k · B largest in a batch of B; ties go to the lower feature, then to the lower token. */
  | { readonly kind: 'k-per-batch'; readonly bias: ParameterName; readonly k: number };

/** A loss step in terms of the engines' primitives: select, sparse decode, sparse gradient + Adam on rows. */
export interface SparseForm {
  readonly select: Select;
  /**
   * How an entry is transformed, inlined into the kernels: `relu` f = ReLU(p + bias); `gated` f = ReLU(exp(r_mag) p +
   * b_mag), and g = p + bias as a second value; `jumprelu` f = p + bias above the threshold, trained as `jump` says.
   */
  readonly rule: 'relu' | 'gated' | 'jumprelu';
  readonly jump?: Jump;
  /** Is there a second reconstruction, from g; and does it train W_dec and the decoder bias? */
  readonly second?: { readonly trainsDecoder: boolean };
  /** The penalised quantity; `jump`: see its penalty. */
  readonly penalty: 'f' | 'g' | 'jump' | 'none';
  /**
   * Matryoshka: for each `width`, the first `width` features reconstruct the target by themselves; ascending, the last
   * is d_sae. The squared errors are added with their weights.
   */
  readonly prefixes?: readonly { readonly width: number; readonly weight: number }[];
  /** AuxK: the k largest dead features reconstruct the error (Gao et al. 2024, section A.2). */
  readonly auxK?: { readonly k: number; readonly coefficient: number };
}

/** Estimators for jumps f = h where h > θ: K is 1 where |h − θ| < bandwidth / 2, otherwise 0. */
export interface Jump {
  /** ε: ∂f/∂θ is estimated by −(θ/ε) K, and ∂1[h > θ]/∂θ by −K/ε. */
  readonly bandwidth: number;
  /** Do the negatives of both also train the encoder, through h? */
  readonly toEncoder: boolean;
  readonly penalty: JumpPenalty;
  /** Weight of Σ ReLU(θ − h) over the features that were dead before the step. */
  readonly preAct: number;
}

/** The penalty per token: L0, Σ tanh(scale · f), or (2 / target) (L0 − target)². */
export type JumpPenalty =
  | { readonly kind: 'step' }
  | { readonly kind: 'tanh'; readonly scale: number }
  | { readonly kind: 'quadratic'; readonly target: number };

/** How cfg.json represents an architecture and its forward pass, which is written in the form of ForwardSettings. */
export interface SaelensCodec {
  /** Names of this architecture in cfg.json; the first is written, unless it is saved as another. */
  readonly names: readonly string[];
  /**
   * Saved as the architecture it is equivalent to once trained, with the same parameters; `training` is the
   * `training_architecture` in the metadata, from which it is recognised.
   */
  readonly savedAs?: { readonly architecture: ArchitectureName; readonly training: string };
  /**
   * Prefix of its transcoders' names, if not its own name: PREFIXtranscoder, PREFIXskip_transcoder. SAELens has those
   * for ReLU and JumpReLU.
   */
  readonly transcoderPrefix?: string;
  /** The name of its activation function in SAELens before version 6, if that determined the architecture. */
  readonly activation?: string;
  /**
   * @param path of the file, for messages
   * @throws Refusal naming the key and the file
   */
  read?(cfg: Readonly<Record<string, unknown>>, dSae: number, path: string): Partial<ForwardSettings>;
}

export interface Look {
  /** As in "gated SAE". */
  readonly label: string;
  /**
   * Index in the palette; architectures without one take the remaining colours, in alphabetical order. Figure 1
   * compares the firing features of index 0 with those of index 1.
   */
  readonly colour?: number;
  /**
   * The variant an SAE belongs to, if flags create variants; by default, label and `only`.
   *
   * @param made cfg.json's training record, metadata.sae_pipe
   * @param trained parameters given to --train
   * @param only the same in words, if any
   * @returns the label, and its deviations from the usual
   */
  family?(
    made: Readonly<Record<string, unknown>>,
    trained: readonly string[],
    only: readonly string[],
  ): readonly string[];
}

/** input = x − b_dec, and p = input · W_enc [tokens, d_sae]: the encoder's single dense product. */
export function centredInput(g: GraphBuilder, w: ParameterValues, x: Value): EncoderInput {
  const input = g.sub(x, w.b_dec!);
  return { input, p: g.matmul(input, w.W_enc!) };
}

/** x̂ = f W_dec + b_dec, [tokens, d_out]. */
export function decode(g: GraphBuilder, w: ParameterValues, f: Value): Value {
  return g.add(g.matmul(f, w.W_dec!), w.b_dec!);
}

/** |a − b|² per token, [tokens]. */
export function squaredDistance(g: GraphBuilder, a: Value, b: Value): Value {
  return g.reduceSumSquare(g.sub(a, b), [1]);
}

/** |v − v̄|² per token of v [tokens, width], where v̄ is the mean of the batch: [tokens]. */
export function squaredDeviation(g: GraphBuilder, v: Value): Value {
  // Relative to the first row: equal rows then have zero variance, instead of that of a rounded mean.
  const aboutFirst = g.sub(v, g.gather(v, g.ints(0)));
  const centre = g.op('ReduceMean', [aboutFirst, g.ints(0)], { keepdims: 1 });
  return g.reduceSumSquare(g.sub(aboutFirst, centre), [1]);
}

/** |W_dec[j]|, [d_sae]. */
export function decoderNorms(g: GraphBuilder, w: ParameterValues): Value {
  return g.op('Sqrt', [g.reduceSumSquare(w.W_dec!, [1])]);
}
