import { tokenTexts } from '../corpus/token-texts.js';
import { Refusal } from '../errors/refusal.js';
import { openModel, openTextModel, promptTokens } from '../generate/prompts.js';
import { expandHooks } from '../lm/chosen-hooks.js';
import { findHook } from '../lm/hooks.js';
import { chooseBos, choosePrecision } from '../lm/pass.js';
import type { Activations } from './activations.js';
import {
  type FeatureIntervention,
  type GeneratedText,
  type GenerateOptions,
  generateText,
  type SteeredText,
  type SteerOptions,
  steerText,
} from './generation.js';
import { ModelSession } from './model-session.js';
import { progressOf, type RunOptions, stopOf } from './run-options.js';
import { configFromOptions } from './stage-options.js';

/** How a model is opened. */
export interface ModelOptions extends RunOptions {
  /** Branch, tag or commit of a model of the hub; `main` by default. */
  readonly revision?: string;
  /** Ask nothing of the network; also `HF_HUB_OFFLINE=1`. */
  readonly offline?: boolean;
  /** `cpu` (default), `cuda`, `cuda:N` or `webgpu`. */
  readonly device?: string;
  /** Of matrix products; `auto` (default) is float32 on the CPU and the checkpoint's own on CUDA. */
  readonly precision?: 'auto' | 'float32' | 'bfloat16' | 'float16';
  /** Threads per operator; all cores by default. */
  readonly threads?: number;
  /** Begin texts with BOS; by default as models of the family expect, or as an SAE was trained where one is used. */
  readonly prependBos?: boolean;
}

/** What a model's config.json says, in the words of TransformerLens. */
export interface HookedTransformerConfig {
  readonly modelName: string;
  readonly nLayers: number;
  readonly dModel: number;
  readonly dVocab: number;
  /** Positions, at most. */
  readonly nCtx: number;
  /** Identifies weights and settings wherever they lie; stores and SAEs record it. */
  readonly fingerprint: string;
}

/** A hook point: where a model's activations are read. */
export interface HookPoint {
  /** `blocks.L.SITE`, as TransformerLens names it. */
  readonly name: string;
  readonly layer: number;
  /** Entries per token. */
  readonly width: number;
}

/** What a model computed of a text. */
export interface CachedRun {
  readonly tokens: Int32Array;
  /** Each token as text. */
  readonly strTokens: readonly string[];
  /** Of each hook that was asked for, by name: [tokens, width], float32, BOS included. */
  readonly cache: ReadonlyMap<string, Activations>;
}

/** The options with their defaults. @throws UsageRefusal naming one that does not fit */
function checkedOptions(model: string, options: ModelOptions) {
  const { revision, offline, device, precision, threads, prependBos } = options;
  const flags = { model, revision, offline, device, precision, threads, prependBos };
  return configFromOptions('generate', { ...flags, prompt: '-' });
}

/**
 * A language model with TransformerLens's hook points. Values are those of the Hugging Face model: nothing is folded or
 * centred (TransformerLens's `from_pretrained_no_processing`). Calls run one after another.
 */
export class HookedTransformer {
  private constructor(
    readonly cfg: HookedTransformerConfig,
    /** Every hook point, in the order in which the model computes them. */
    readonly hooks: readonly HookPoint[],
    /** @internal */
    readonly session: ModelSession,
    private readonly shown: readonly string[],
  ) {}

  /**
   * Opens a model. Weights are read where they lie; a model of the hub that is not in Hugging Face's cache is downloaded
   * into it.
   *
   * @param model a directory, or an id of the hub such as `google/gemma-2-2b`
   * @throws Refusal where there is no such model, it is not supported, or a file is missing or broken; UsageRefusal for an
   *   option that does not fit
   */
  static async fromPretrained(model: string, options: ModelOptions = {}): Promise<HookedTransformer> {
    const source = checkedOptions(model, options);
    const { device, precision, threads, prependBos } = source;
    const checkpoint = await openModel(source, progressOf(options), stopOf(options));
    const { config, directory } = checkpoint;
    const text = await openTextModel(checkpoint, chooseBos(prependBos, config));
    const placement = choosePrecision(precision, device, checkpoint);
    const session = new ModelSession(text, { placement, threads, prependBos });
    const cfg = {
      ...{ modelName: checkpoint.name, nLayers: config.layers, dModel: config.hidden },
      ...{ dVocab: config.vocabulary, nCtx: config.maxContext, fingerprint: checkpoint.fingerprint },
    };
    const hooks = config.hooks.map(({ name, layer, width }) => ({ name, layer, width }));
    return new HookedTransformer(cfg, hooks, session, await tokenTexts(directory, config.vocabulary));
  }

  /**
   * The tokens of a text.
   *
   * @param prependBos begin with BOS; by default as the model was opened
   */
  toTokens(text: string, prependBos = this.session.model.tokenizer.prependBos): Int32Array {
    return Int32Array.from(promptTokens(this.session.withBos(prependBos), text));
  }

  /** Each token as text; bytes that are not text by their number, `<0xE2>`. */
  toStrTokens(input: string | ArrayLike<number>): string[] {
    const tokens = typeof input === 'string' ? this.toTokens(input) : input;
    return Array.from(tokens, (id) => this.shown[id] ?? `<token ${id}>`);
  }

  /**
   * Runs the model over a text and keeps what stands at hook points. Only the layers up to the deepest of them run.
   *
   * @param input a text, or its tokens
   * @param hooks names or patterns (`blocks.*.hook_resid_post`)
   * @throws Refusal where there is no such hook, the text is longer than the model's positions, or values are not finite
   */
  async runWithCache(input: string | ArrayLike<number>, hooks: string | readonly string[]): Promise<CachedRun> {
    const { config } = this.session.model.checkpoint;
    const names = await expandHooks([hooks].flat(), async () => this.hooks.map(({ name }) => name));
    const wanted = names.map((name) => findHook(name, config));
    const tokens = typeof input === 'string' ? this.toTokens(input) : this.checkedTokens(input);
    if (tokens.length > config.maxContext) {
      throw new Refusal(
        `The text has ${tokens.length} tokens, and the model ${config.maxContext} positions.`,
        'Shorten the text.',
        'lm/context-too-long',
      );
    }
    const read = () => this.session.read(tokens, wanted);
    const cache = wanted.length === 0 ? new Map<string, Activations>() : await this.session.inTurn(read);
    return { tokens, strTokens: this.toStrTokens(tokens), cache };
  }

  /**
   * Continues a prompt.
   *
   * @throws Refusal where prompt and continuation have more tokens than the model has positions
   * @throws Interrupted where `signal` was aborted
   */
  generate(prompt: string, options: GenerateOptions = {}): Promise<GeneratedText> {
    return this.session.inTurn(() => generateText(this.session, prompt, options));
  }

  /**
   * Continues a prompt without and with features of SAEs changed; nothing else differs.
   *
   * @param changes at most one per feature; of one SAE or several
   * @throws Refusal where an SAE belongs to another model or hook, has no such feature, or logits are not finite
   * @throws Interrupted where `signal` was aborted
   */
  steer(
    prompt: string,
    changes: FeatureIntervention | readonly FeatureIntervention[],
    options: SteerOptions = {},
  ): Promise<SteeredText> {
    return this.session.inTurn(() =>
      steerText(this.session, prompt, [changes].flat() as FeatureIntervention[], options),
    );
  }

  /** Releases what is in memory; a later call opens it again. */
  close(): Promise<void> {
    return this.session.inTurn(() => this.session.release());
  }

  /** @throws Refusal where a number is no token of the model, or there is none */
  private checkedTokens(input: ArrayLike<number>): Int32Array {
    const numbers = Array.from(input);
    const wrong = numbers.find((id) => !Number.isInteger(id) || id < 0 || id >= this.cfg.dVocab);
    if (numbers.length > 0 && wrong === undefined) return Int32Array.from(numbers);
    throw new Refusal(
      wrong === undefined ? 'There are no tokens.' : `${wrong} is not one of the model's ${this.cfg.dVocab} tokens.`,
      'Give a text, or what toTokens returns.',
      'library/wrong-tokens',
    );
  }
}
