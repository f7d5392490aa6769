import { tokenTexts } from '../corpus/token-texts.js';
import { Refusal, UsageRefusal } from '../errors/refusal.js';
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
import { checkOptionNames, checkText, configFromOptions } from './stage-options.js';

/** How a model is opened. */
export interface ModelOptions extends RunOptions {
  /** Branch, tag or commit of a hub model; `main` by default. */
  readonly revision?: string;
  /** Never use the network; also `HF_HUB_OFFLINE=1`. */
  readonly offline?: boolean;
  /** `cpu` (default), `cuda`, `cuda:N` or `webgpu`. */
  readonly device?: string;
  /** Precision of matrix products; `auto` (default) is float32 on the CPU and the checkpoint's own on CUDA. */
  readonly precision?: 'auto' | 'float32' | 'bfloat16' | 'float16';
  /** Threads per operator; all cores by default. */
  readonly threads?: number;
  /** Begin texts with BOS; by default as expected by the model's family, or as in training if an SAE is used. */
  readonly prependBos?: boolean;
}

/** A model's settings from config.json, with TransformerLens's names. */
export interface HookedTransformerConfig {
  readonly modelName: string;
  readonly nLayers: number;
  readonly dModel: number;
  readonly dVocab: number;
  /** Max number of positions. */
  readonly nCtx: number;
  /** Identifies weights and settings, wherever they are stored; recorded by stores and SAEs. */
  readonly fingerprint: string;
}

/** A hook point: where a model's activations are read. */
export interface HookPoint {
  /** `blocks.L.SITE`, TransformerLens's name. */
  readonly name: string;
  readonly layer: number;
  /** Entries per token. */
  readonly width: number;
}

/** The result of running a model on a text. */
export interface CachedRun {
  readonly tokens: Int32Array;
  /** The text of each token. */
  readonly strTokens: readonly string[];
  /** For each requested hook, by name: [tokens, width], float32, BOS included. */
  readonly cache: ReadonlyMap<string, Activations>;
}

const OPTIONS = {
  ...{ revision: true, offline: true, device: true, precision: true, threads: true, prependBos: true },
  ...{ log: true, onProgress: true, signal: true },
} as const satisfies Record<keyof ModelOptions, true>;

/** The options with their defaults. @throws UsageRefusal naming an invalid one */
function checkedOptions(model: string, options: ModelOptions) {
  checkOptionNames(options, OPTIONS);
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
    /** Every hook point, in order of computation. */
    readonly hooks: readonly HookPoint[],
    /** @internal */
    readonly session: ModelSession,
    private readonly shown: readonly string[],
  ) {}

  /**
   * Opens a model. Weights are read directly from their files; a hub model that is not in Hugging Face's cache is
   * downloaded into it.
   *
   * @param model a directory, or a hub id such as `google/gemma-2-2b`
   * @throws Refusal if there is no such model, it is not supported, or a file is missing or damaged; UsageRefusal for
   * an invalid option
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
   * @param prependBos begin with BOS; by default as when the model was opened
   * @throws UsageRefusal if it is not a string
   */
  toTokens(text: string, prependBos = this.session.model.tokenizer.prependBos): Int32Array {
    checkText('The text', text);
    return Int32Array.from(promptTokens(this.session.withBos(prependBos), text));
  }

  /** The text of each token; invalid UTF-8 as hexadecimal bytes, `<0xE2>`. */
  toStrTokens(input: string | ArrayLike<number>): string[] {
    const tokens = typeof input === 'string' ? this.toTokens(input) : input;
    return Array.from(tokens, (id) => this.shown[id] ?? `<token ${id}>`);
  }

  /**
   * Runs the model on a text and returns the values at hook points. Only the layers up to the deepest hook are run.
   *
   * @param input a text, or its token ids
   * @param hooks names or patterns (`blocks.*.hook_resid_post`)
   * @throws Refusal if there is no such hook, the text is longer than the model's positions, or values are not finite
   */
  async runWithCache(input: string | ArrayLike<number>, hooks: string | readonly string[]): Promise<CachedRun> {
    if (hooks === undefined) {
      throw new UsageRefusal(
        'runWithCache was not told which hooks to keep.',
        "Name them: 'blocks.2.hook_resid_post', a pattern such as 'blocks.*.hook_resid_post', or a list.",
        'config/missing-flag',
      );
    }
    const { config } = this.session.model.checkpoint;
    const names = await expandHooks([hooks].flat(), async () => this.hooks.map(({ name }) => name));
    const wanted = names.map((name) => findHook(name, config));
    const tokens = typeof input === 'string' ? this.toTokens(input) : this.checkedTokens(input);
    if (tokens.length > config.maxContext) {
      throw new Refusal(
        `The text has ${tokens.length} tokens, but the model has only ${config.maxContext} positions.`,
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
   * @throws Refusal if prompt and continuation have more tokens than the model has positions
   * @throws Interrupted if `signal` was aborted
   */
  generate(prompt: string, options: GenerateOptions = {}): Promise<GeneratedText> {
    return this.session.inTurn(() => generateText(this.session, prompt, options));
  }

  /**
   * Continues a prompt with and without changes of SAE features; nothing else differs.
   *
   * @param changes at most one per feature, of one or several SAEs
   * @throws Refusal if an SAE belongs to another model or hook, has no such feature, or logits are not finite
   * @throws Interrupted if `signal` was aborted
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

  /** Frees the model's memory; a later call opens it again. */
  close(): Promise<void> {
    return this.session.inTurn(() => this.session.release());
  }

  /** @throws Refusal if an id is not a token of the model, or there are no ids */
  private checkedTokens(input: ArrayLike<number>): Int32Array {
    const numbers = Array.from(input);
    const wrong = numbers.find((id) => !Number.isInteger(id) || id < 0 || id >= this.cfg.dVocab);
    if (numbers.length > 0 && wrong === undefined) return Int32Array.from(numbers);
    throw new Refusal(
      wrong === undefined ? 'No tokens given.' : `${wrong} is not one of the model's ${this.cfg.dVocab} tokens.`,
      'Give a text, or the result of toTokens.',
      'library/wrong-tokens',
    );
  }
}
