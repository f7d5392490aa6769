import { Refusal } from '../errors/refusal.js';
import type { GraphBuilder, Value } from '../onnx/graph.js';
import type { Hook, HookFunction } from './hooks.js';
import type { ModelWriter } from './model-writer.js';

/**
 * `model_type` of every language model that can be opened, and HookedTransformer, which TransformerLens's own files do
 * not name. families/registry.ts has an entry for each, or it does not compile.
 */
export type ModelType =
  | 'gemma'
  | 'gemma2'
  | 'gemma3_text'
  | 'llama'
  | 'mistral'
  | 'qwen2'
  | 'qwen3'
  | 'gpt_neox'
  | 'gpt2'
  | 'vaultgemma'
  | 'gemma4_text'
  | 'HookedTransformer';

/** A family of models, one file in families/: it reads config.json; what it makes of it says all the rest. */
export interface Family {
  /**
   * Keys that would change the result and are not supported are refused by name.
   *
   * @throws Refusal for a missing key, or an unsupported setting
   */
  parse(file: ConfigFile): ModelConfig;
}

export type Keys = Readonly<Record<string, unknown>>;

/** A parsed config.json. */
export interface ConfigFile {
  /** For messages. */
  readonly path: string;
  /** Keys of the language model. */
  readonly keys: Keys;
  /** Keys of the file around them; the same where nothing is nested. */
  readonly outer: Keys;
}

/**
 * Whether contexts begin with BOS where the command does not say: always, never, or as the model's own tokenizer does.
 */
export type BosPolicy = 'always' | 'never' | 'tokenizer';

/** A language model as its config.json describes it; all that the rest of the program knows of a family. */
export interface ModelConfig {
  /** The family and its generation, as its papers call it. */
  readonly family: string;
  readonly layers: number;
  /** d_model. */
  readonly hidden: number;
  readonly vocabulary: number;
  readonly maxContext: number;
  /** −1 where the model has none. */
  readonly bosTokenId: number;
  readonly bos: BosPolicy;
  /** Other tokens that config.json gives a meaning to, by its key: eos_token_id, pad_token_id. */
  readonly special: ReadonlyMap<string, readonly number[]>;
  /** Every hook point, in the order in which the model computes them. */
  readonly hooks: readonly Hook[];
  readonly costs: ModelCosts;
  /** What of config.json changes what the model computes, written in one way: part of the fingerprint. */
  readonly shape: string;
  readonly names: TensorNames;
  /** Shapes of every tensor that the model has, by name without prefix, as they lie in its files. */
  tensors(): ReadonlyMap<string, readonly number[]>;
  /** The model in a graph; called once a graph. */
  write(writer: ModelWriter): ModelGraph;
}

/** What a forward pass takes, in numbers that are multiplied or held. */
interface ModelCosts {
  /** Of each block, parameters that are multiplied with every token. */
  readonly blocks: readonly number[];
  /** Entries per token of the widest value. */
  readonly widest: number;
  /** Entries per token that are alive at once, at most, about. */
  alive(context: number): number;
}

/** How a family's tensors are called in its files. */
export interface TensorNames {
  /** What may stand before every name. */
  readonly prefixes: readonly string[];
  /** A tensor that every checkpoint has: it tells the prefix. */
  readonly anchor: string;
  /** Full names of a tensor that stands outside the prefix, by its name here. */
  readonly elsewhere: Readonly<Record<string, readonly string[]>>;
  /** What the names of blocks begin with: a tensor there that the model does not have is refused. */
  readonly blocks: string;
  /** Tables that files may carry along; they follow from config.json. */
  readonly derived: RegExp;
  /** A matrix whose element type is that of most. */
  readonly typical: string;
}

/** A model in a graph. Written whole; the builder leaves out what no output needs. */
export interface ModelGraph {
  /**
   * Tokens to the residual stream after the last block.
   *
   * @param tokens int64 [batch, context]
   * @returns float32 [variants × batch, context, hidden]
   */
  residual(tokens: Value, hook: HookFunction): Value;
  /** Final norm, before the unembedding. */
  finalNorm(x: Value): Value;
  /**
   * Logits, as the model gives them.
   *
   * @param hidden float32 [..., hidden] after the final norm
   * @param body the builder of the Loop that `hidden` is a value of, if it is
   * @returns float32 [..., vocabulary]
   */
  logits(hidden: Value, body?: GraphBuilder): Value;
  /**
   * What directions at a hook add to the logits on the direct path, past all blocks above: through the linear part of
   * the way to the residual stream (W_O, W_down, weights of post norms), then the final norm's weight (a LayerNorm
   * centres first) and the unembedding. What norms divide by, biases and soft-caps are left out.
   *
   * @param directions float32 [n, width of the hook]
   * @returns float32 [n, vocabulary]; null where what the hook shows reaches the residual stream by no linear path
   */
  directLogits(hook: Hook, directions: Value): Value | null;
}

/** Refuses a key of config.json. */
export type UnsupportedModel = (key: string, value: unknown) => never;

export function unsupportedIn(path: string): UnsupportedModel {
  return (key, value) => {
    throw new Refusal(
      `${path} sets ${key} to ${JSON.stringify(value)}, which is not supported.`,
      'It would change what the model computes; use a checkpoint without it.',
      'lm/unsupported-setting',
    );
  };
}
