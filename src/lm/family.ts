import { Refusal } from '../errors/refusal.js';
import type { GraphBuilder, Value } from '../onnx/graph.js';
import type { Hook, HookFunction } from './hooks.js';
import type { ModelWriter } from './model-writer.js';

/**
 * `model_type` of every supported language model, plus HookedTransformer for TransformerLens's own files, which have
 * none. families/registry.ts does not compile without an entry for each.
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

/** A family of models, one file in families/: parses config.json into a ModelConfig, which contains everything else. */
export interface Family {
  /**
   * Unsupported keys that would change the result are refused by name.
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
  /** Keys of the enclosing file; the same if nothing is nested. */
  readonly outer: Keys;
}

/**
 * Whether contexts begin with BOS by default: always, never, or as the model's tokenizer does.
 */
export type BosPolicy = 'always' | 'never' | 'tokenizer';

/** A language model as described by its config.json; the rest of sae-pipe knows nothing else about a family. */
export interface ModelConfig {
  /** The family and its generation, named as in its papers. */
  readonly family: string;
  readonly layers: number;
  /** d_model. */
  readonly hidden: number;
  readonly vocabulary: number;
  readonly maxContext: number;
  /** −1 if the model has none. */
  readonly bosTokenId: number;
  readonly bos: BosPolicy;
  /** Other tokens with a role in config.json, by key: eos_token_id, pad_token_id. */
  readonly special: ReadonlyMap<string, readonly number[]>;
  /** Every hook point, in order of computation. */
  readonly hooks: readonly Hook[];
  readonly costs: ModelCosts;
  /** The settings that affect the model's output, in canonical form: part of the fingerprint. */
  readonly shape: string;
  readonly names: TensorNames;
  /** Shapes of the model's tensors, by name without prefix, as stored in its files. */
  tensors(): ReadonlyMap<string, readonly number[]>;
  /** Builds the model in a graph; call once per graph. */
  write(writer: ModelWriter): ModelGraph;
}

/** Costs of a forward pass. */
interface ModelCosts {
  /** For each block, number of parameters multiplied with every token. */
  readonly blocks: readonly number[];
  /** Entries per token of the widest value. */
  readonly widest: number;
  /** Approximate max entries per token alive at once. */
  alive(context: number): number;
}

/** Names of a family's tensors in its files. */
export interface TensorNames {
  /** Possible prefixes of all names. */
  readonly prefixes: readonly string[];
  /** A tensor that every checkpoint has; determines the prefix. */
  readonly anchor: string;
  /** Full names of tensors outside the prefix, by their name here. */
  readonly elsewhere: Readonly<Record<string, readonly string[]>>;
  /** Prefix of the blocks' names: an unknown tensor there is refused. */
  readonly blocks: string;
  /** Tables that files may include although they follow from config.json. */
  readonly derived: RegExp;
  /** A matrix with the most common element type. */
  readonly typical: string;
}

/** A model in a graph. Built completely; the builder drops what no output needs. */
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
   * The model's logits.
   *
   * @param hidden float32 [..., hidden] after the final norm
   * @param body the builder of the Loop that `hidden` belongs to, if any
   * @returns float32 [..., vocabulary]
   */
  logits(hidden: Value, body?: GraphBuilder): Value;
  /**
   * The contribution of directions at a hook to the logits on the direct path, skipping all blocks above: the linear
   * map to the residual stream (W_O, W_down, weights of post norms), the final norm's weight (after centring, for a
   * LayerNorm) and the unembedding. Divisors of norms, biases and soft-caps are left out.
   *
   * @param directions float32 [n, width of the hook]
   * @returns float32 [n, vocabulary]; null if there is no linear path from the hook to the residual stream
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
