import { Refusal } from '../errors/refusal.js';
import { saeDirectory } from '../sae/published/open.js';
import { type ArchitectureName, type ParameterName, PLAIN } from '../sae/sae.js';
import { checkFiniteWeights, openSameSae, readSae, type SaeFiles } from '../sae/saelens.js';
import { type Activations, checkWidth } from './activations.js';
import { progressOf, type RunOptions, stopOf } from './run-options.js';
import { SaeGraphs } from './sae-graphs.js';
import { checkOptionNames, configFromOptions } from './stage-options.js';

/** How an SAE is opened. */
export interface SAEOptions extends RunOptions {
  /** Never use the network; also `HF_HUB_OFFLINE=1`. */
  readonly offline?: boolean;
  /** `cpu` (default), `cuda`, `cuda:N` or `webgpu`. */
  readonly device?: string;
  /** Threads per operator; all cores by default. */
  readonly threads?: number;
  /** Its hook point, if its configuration names none. */
  readonly hookName?: string;
  /** Allow another model (of the same width) than the one it was trained on. */
  readonly anyModel?: boolean;
}

const OPTIONS = {
  ...{ offline: true, device: true, threads: true, hookName: true, anyModel: true },
  ...{ log: true, onProgress: true, signal: true },
} as const satisfies Record<keyof SAEOptions, true>;

/** An SAE's configuration, with SAELens's names. */
export interface SAEConfig {
  readonly architecture: ArchitectureName;
  /** Width of its input. */
  readonly dIn: number;
  /** Width of its reconstruction: `dIn`, unless it is a transcoder. */
  readonly dOut: number;
  /** Number of features. */
  readonly dSae: number;
  /** Its input hook; undefined if none is given. */
  readonly hookName?: string;
  /** For a transcoder: its output hook. */
  readonly hookNameOut?: string;
  readonly isTranscoder: boolean;
  readonly modelName?: string;
  /** Tokens per context in training. */
  readonly contextSize?: number;
  /** Did its training contexts begin with BOS? */
  readonly prependBos?: boolean;
}

/** The output of an SAE. */
export interface SAEOutput {
  /** f, [tokens, d_sae] */
  readonly features: Activations;
  /** x̂, [tokens, d_out] */
  readonly reconstruction: Activations;
}

/**
 * A sparse autoencoder or transcoder, opened from any layout accepted by `--sae`: a directory of sae-pipe or SAELens,
 * Gemma Scope, Llama Scope, Qwen Scope, dictionary_learning, sparsify or circuit-tracer, on disk or on the hub.
 */
export class SAE {
  private readonly graphs: SaeGraphs;

  private constructor(
    /** As named in `fromPretrained`. */
    readonly name: string,
    readonly cfg: SAEConfig,
    /** @internal */
    readonly files: SaeFiles,
    /** @internal */
    readonly options: SAEOptions,
  ) {
    this.graphs = new SaeGraphs(files, options);
  }

  /**
   * Opens an SAE; from the hub, only its files are downloaded, into Hugging Face's cache.
   *
   * @param reference a directory or file, `OWNER/REPO[@REVISION]/PATH` on the hub, or `RELEASE:ID` as in SAELens
   * @throws Refusal if there is no such SAE, it cannot be represented exactly, or a weight is NaN or infinite;
   * UsageRefusal for an invalid option
   */
  static async fromPretrained(reference: string, options: SAEOptions = {}): Promise<SAE> {
    checkOptionNames(options, OPTIONS);
    const { offline, device, threads } = options;
    const checked = configFromOptions('generate', { model: '-', prompt: '-', offline, device, threads });
    const source = { offline: checked.offline };
    const directory = await saeDirectory(reference, source, progressOf(options), stopOf(options));
    const { files, unchanged } = await openSameSae(directory, 'transcoder');
    await checkFiniteWeights(files);
    await unchanged.check();
    return new SAE(reference, configOf(files, options), files, options);
  }

  /**
   * f, the feature activations.
   *
   * @param x raw activations of its hook, [tokens, d_in]
   * @returns [tokens, d_sae], dense; `topFeatures` needs less memory
   * @throws Refusal if `x` has another width
   */
  async encode(x: Activations): Promise<Activations> {
    checkWidth(x, this.cfg.dIn, 'The activations');
    return (await (await this.graphs.get('encode')).all(x)).f!;
  }

  /**
   * Decodes feature activations.
   *
   * @param features [tokens, d_sae]
   * @returns [tokens, d_out]
   * @throws Refusal if the width differs, or the reconstruction depends on more than the features (a skip connection,
   * or per-token normalisation): use `forward` then
   */
  async decode(features: Activations): Promise<Activations> {
    checkWidth(features, this.cfg.dSae, 'The features');
    const { skip, transcoder, forward = PLAIN } = this.files;
    const normalised = !transcoder && forward.normalize_activations !== 'none';
    if (skip || normalised) {
      throw new Refusal(
        `${this.name} cannot decode features alone: its ${skip ? 'skip connection' : 'normalisation'} needs the activations.`,
        'Use forward(x).',
        'library/decode-alone',
      );
    }
    return (await (await this.graphs.get('decode')).all(features)).xHat!;
  }

  /**
   * Features and reconstruction of activations, including normalisation and skip connection if it has them.
   *
   * @param x raw activations of its hook, [tokens, d_in]
   * @throws Refusal if `x` has another width
   */
  async forward(x: Activations): Promise<SAEOutput> {
    checkWidth(x, this.cfg.dIn, 'The activations');
    const { f, xHat } = await (await this.graphs.get('reconstruct')).all(x);
    return { features: f!, reconstruction: xHat! };
  }

  /**
   * Reads the parameters, float32, row-major: W_enc [d_in, d_sae], W_dec [d_sae, d_out], b_dec [d_out], W_skip [d_out,
   * d_in], all others [d_sae]. Which of them exist depends on the architecture.
   */
  async parameters(): Promise<Readonly<Partial<Record<ParameterName, Float32Array>>>> {
    return (await readSae(this.files)).parameters;
  }

  /** @internal f of chunks of tokens. */
  async eachChunk(x: Activations, take: (f: Activations, firstRow: number) => void): Promise<void> {
    await (await this.graphs.get('encode')).each(x, ({ f }, first) => take(f!, first));
  }

  /** Frees the SAE's memory; a later call opens it again. */
  close(): Promise<void> {
    return this.graphs.release();
  }
}

function configOf(files: SaeFiles, { hookName }: SAEOptions): SAEConfig {
  const { architecture, dIn, dOut, dSae, transcoder, metadata } = files;
  return {
    ...{ architecture, dIn, dOut, dSae, isTranscoder: transcoder === true },
    hookName: metadata.hook_name ?? hookName,
    hookNameOut: metadata.hook_name_out,
    modelName: metadata.model_name,
    contextSize: metadata.context_size,
    prependBos: metadata.prepend_bos,
  };
}
