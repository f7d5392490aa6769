import type { z } from 'zod';
import type { GraphBuilder, Value } from '../onnx/graph.js';
import type { ArchitectureName, ForwardSettings, ParameterName, Parameters, Sae, Sizes } from './sae.js';

/** The parameters of an SAE as values of a graph. */
export type ParameterValues = Partial<Record<ParameterName, Value>>;

/** What an encoder sees: `input` [tokens, d_in] (x − b_dec, or x where nothing is subtracted), and input · W_enc. */
export interface EncoderInput {
  readonly input: Value;
  readonly p: Value;
}

/**
 * Everything that one architecture is. Everything else in the tree (flags, training, engines, evaluation, files,
 * reports) reads this and compares no names, so a file under architectures/ is all that a new one takes.
 */
export interface Architecture<Options = unknown> {
  readonly name: ArchitectureName;
  /** For help and docs: what it computes, or who introduced it. */
  readonly about: string;
  /** In the order of files; names and layouts are SAELens's where it has them. */
  readonly parameters: readonly ParameterName[];
  /**
   * Parameters that are multiplied by s when activations are: f and x̂ then are s times as large, and what is not named
   * here stays (W_enc, W_dec, r_mag).
   */
  readonly proportional: readonly ParameterName[];
  /** Features compete, so that rescaling one of them changes which others fire. */
  readonly competes?: true;
  /** f [tokens, d_sae]. */
  encode(g: GraphBuilder, w: ParameterValues, x: EncoderInput, settings: ForwardSettings): Value;
  /** f of one feature as a function of its p alone; absent where it depends on more. */
  readonly unit?: (w: Parameters, feature: number) => (p: number) => number;
  /** The same function in the parameters of another architecture, where it has one; up to float32 rounding. */
  readonly writtenAs?: Partial<Record<ArchitectureName, (w: Parameters, sizes: Sizes) => Parameters>>;
  readonly saelens: SaelensCodec;
  /** How reports, curves and tables name and colour it. */
  readonly look: Look;
  /** Absent: it is read, evaluated and written, not trained. */
  readonly training?: Training<Options>;
}

/** How an architecture is trained. `Options` are its own settings by the keys of its flags, checked and complete. */
export interface Training<Options> {
  /** Of a variant: the architecture by whose --arch and flags it is trained; it has the same options. */
  readonly variantOf?: ArchitectureName;
  /** Its own flags; keys are unique among architectures, and refused with any other. None of a variant. */
  readonly flags: z.ZodRawShape;
  /** Does λ mean anything? Where it does not, --l1 and what belongs to it are refused. */
  readonly penalised: boolean;
  /** λ where --l1 is not given; USUAL_L1 where absent. */
  usualL1?(options: Options): number;
  /**
   * false: what λ multiplies stays the same when activations are scaled, as a count of features does; absent: it is s
   * times as large. --l1-convention paper assumes that it scales, and is refused where it does not.
   */
  readonly penaltyScales?: false;
  /**
   * The L0 to which λ is adjusted, as a multiple of --l0; 1 where absent. A penalty that itself leads to --l0, which
   * `options` then reads, comes nearer the larger λ is, and never to it.
   */
  adjustsTo?(options: Options): number;
  /**
   * @param flags values of its flags, and --l0; those not given are absent, or as their schema's default has them
   * @throws UsageRefusal where flags contradict each other or the sizes
   */
  options(flags: Readonly<Record<string, unknown>>, sizes: Sizes): Options;
  /** The architecture whose parameters are trained, where these options make it another. */
  variant?(options: Options): ArchitectureName;
  /** Parameters that these options train; --train chooses among them. */
  trains(options: Options): readonly ParameterName[];
  /**
   * A parameter [d_sae] without a gradient: the running mean of the smallest f > 0 of a batch, of which a step's is
   * `share`. A batch in which nothing fires leaves it as it is.
   */
  readonly follows?: { readonly parameter: ParameterName; readonly share: number };
  /** What its forward pass depends on beyond PLAIN. */
  forward?(options: Options): Partial<ForwardSettings>;
  /** Parameters that a step leaves at 0 where it would take them below. */
  readonly nonNegative?: readonly ParameterName[];
  /** Initial values of a parameter of `size` numbers that is not W_dec (random unit rows), W_enc (their transpose) or zeros. */
  initial?(name: ParameterName, w: Parameters, size: number, options?: Options): Float32Array | undefined;
  /** What a sparse start sets (docs/explanation/training.md, "Where it starts"); absent: nothing. */
  readonly sparseStart?: SparseStart<Options>;
  /**
   * Checks the SAE of --init, in this architecture's parameters.
   *
   * @param path of that SAE, for the message
   * @throws Refusal where these options cannot start from it
   */
  checkStart?(start: Sae, options: Options, path: string): void;
  /** The loss by which it is trained, as a graph; engines differentiate it (reference), or compute what it says. */
  loss(g: GraphBuilder, w: ParameterValues, batch: LossInput, options: Options): Loss;
  /** What the sparse and the CUDA engine need to know, or why they cannot train it. */
  sparse(options: Options): SparseForm | Unsupported;
  cuda(options: Options): SparseForm | Unsupported;
  /** Why --resample-at does not apply, where it does not. */
  readonly resampling?: Unsupported;
}

export type SparseStart<Options> =
  /** Initial biases with which feature j fires where its p exceeds thresholds[j] [d_sae]. */
  | { readonly kind: 'thresholds'; opening(thresholds: Float32Array): Parameters }
  /** The number that fires per token is given, so the encoder is scaled. */
  | { readonly kind: 'scale'; firing(options: Options): number };

export interface LossInput {
  /** What is encoded. */
  readonly x: EncoderInput;
  /** [tokens, d_out], what is to be reconstructed: the target, less what a skip connection gives of it. */
  readonly y: Value;
  /** The target itself, of which variances are taken. */
  readonly target: Value;
  /** λ, a scalar. */
  readonly sparsity: Value;
  /** [d_sae] 1 for features that were dead before the step, else 0. */
  readonly dead: Value;
  readonly sizes: Sizes;
}

/** Terms of the loss of single inputs, [tokens] each; what trains is the mean over tokens of their sum. */
export interface Loss {
  /** [tokens, d_sae] */
  readonly f: Value;
  /** |y − ŷ|² */
  readonly mse: Value;
  /** λ times what is penalised. */
  readonly penalty?: Value;
  /** Auxiliary loss, coefficient included. */
  readonly auxiliary?: Value;
}

/** Said by name, so that a run is refused by one sentence and never falls through. */
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
  /** Of those above 0, the k largest of each token; of equals, the one of the lower feature. */
  | { readonly kind: 'k-per-token'; readonly bias: ParameterName; readonly k: number }
  /** Of those above 0, the k · B largest of a batch of B; of equals, the one of the lower feature, then of the lower token. */
  | { readonly kind: 'k-per-batch'; readonly bias: ParameterName; readonly k: number };

/** A loss step in terms of the engines' primitives: select, sparse decode, sparse gradient + Adam on rows. */
export interface SparseForm {
  readonly select: Select;
  /**
   * What becomes of an entry, inlined into the kernels: `relu` f = ReLU(p + bias); `gated` f = ReLU(exp(r_mag) p +
   * b_mag), and g = p + bias as a second value; `jumprelu` f = p + bias where that is above the threshold, which
   * `jump` says how to train.
   */
  readonly rule: 'relu' | 'gated' | 'jumprelu';
  readonly jump?: Jump;
  /** Is there a second reconstruction, of g; and does it train W_dec and the bias of its decode? */
  readonly second?: { readonly trainsDecoder: boolean };
  /** What λ multiplies; `jump` as its penalty says. */
  readonly penalty: 'f' | 'g' | 'jump' | 'none';
  /**
   * Matryoshka: the first `width` features reconstruct the target by themselves, for each of these; ascending, the last
   * is d_sae. The squared errors are added up by their weights.
   */
  readonly prefixes?: readonly { readonly width: number; readonly weight: number }[];
  /** AuxK: the k largest of the dead features reconstruct the error (Gao et al. 2024, section A.2). */
  readonly auxK?: { readonly k: number; readonly coefficient: number };
}

/** How jumps f = h where h > θ are trained: K is 1 where |h − θ| < bandwidth / 2, else 0. */
export interface Jump {
  /** ε: ∂f/∂θ stands for −(θ/ε) K, and ∂1[h > θ]/∂θ for −K/ε. */
  readonly bandwidth: number;
  /** Do the negatives of both also train what makes h? */
  readonly toEncoder: boolean;
  readonly penalty: JumpPenalty;
  /** Weight of Σ ReLU(θ − h) over the features that were dead before the step. */
  readonly preAct: number;
}

/** What λ multiplies, of a token: L0, Σ tanh(scale · f), or (2 / target) (L0 − target)². */
export type JumpPenalty =
  | { readonly kind: 'step' }
  | { readonly kind: 'tanh'; readonly scale: number }
  | { readonly kind: 'quadratic'; readonly target: number };

/** How cfg.json tells an architecture, and what of its forward pass it says; that is written as ForwardSettings has it. */
export interface SaelensCodec {
  /** Names that mean this architecture in cfg.json; the first is written, unless it is saved as another. */
  readonly names: readonly string[];
  /**
   * Saved as the architecture that it is once trained, with the same parameters; `training` is the
   * `training_architecture` in the metadata by which it is known again.
   */
  readonly savedAs?: { readonly architecture: ArchitectureName; readonly training: string };
  /**
   * What the names of its transcoders begin with, where not with its own: PREFIXtranscoder, PREFIXskip_transcoder.
   * SAELens has those of ReLU and JumpReLU.
   */
  readonly transcoderPrefix?: string;
  /** What SAELens before version 6 called its activation function, where that told the architecture. */
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
   * Place in the palette; those without one take what is left, in the order of their names. Figure 1 compares the
   * firing features of place 0 with those of place 1.
   */
  readonly colour?: number;
  /**
   * What an SAE of it is one of, where flags make others of it; without, label and `only`.
   *
   * @param made cfg.json's record of training, metadata.sae_pipe
   * @param trained what --train named
   * @param only that in words, if anything
   * @returns the label, and what is unusual about it
   */
  family?(
    made: Readonly<Record<string, unknown>>,
    trained: readonly string[],
    only: readonly string[],
  ): readonly string[];
}

/** input = x − b_dec, and p = input · W_enc [tokens, d_sae]: the one dense product of an encoder. */
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

/** |v − v̄|² per token of v [tokens, width], v̄ the mean of the batch: [tokens]. */
export function squaredDeviation(g: GraphBuilder, v: Value): Value {
  // About the first of them: values that are all alike have no variance at all, not that of rounded means.
  const aboutFirst = g.sub(v, g.gather(v, g.ints(0)));
  const centre = g.op('ReduceMean', [aboutFirst, g.ints(0)], { keepdims: 1 });
  return g.reduceSumSquare(g.sub(aboutFirst, centre), [1]);
}

/** |W_dec[j]|, [d_sae]. */
export function decoderNorms(g: GraphBuilder, w: ParameterValues): Value {
  return g.op('Sqrt', [g.reduceSumSquare(w.W_dec!, [1])]);
}
