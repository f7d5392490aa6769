import type { GraphBuilder, Value } from '../onnx/graph.js';
import { type AttentionForm, type AttentionShape, attentionForm } from './attention.js';
import { AttentionHooks } from './attention-hooks.js';
import type { BosPolicy, Keys, ModelConfig, ModelGraph, TensorNames, UnsupportedModel } from './family.js';
import { type Hook, type HookFunction, type HookOfBlock, hookOfBlock, hooksOfModel, isOnResidual } from './hooks.js';
import { type Activation, centred, FinalNorm, hookedLayerNorm, plainMlp } from './layers.js';
import type { ModelWriter } from './model-writer.js';
import { type Rope, Rotary, ropeShape } from './rope.js';

// The decoder shared by GPT-2, GPT-NeoX and TransformerLens's small models: layer norms, multi-head attention, and a
// plain MLP, all with biases. PlainWeights describes how its weights are stored in a checkpoint.

/** Settings that determine the graph, in one notation. */
export interface PlainNumbers {
  /** The family, named as in its papers. */
  readonly name: string;
  readonly layers: number;
  readonly hidden: number;
  readonly heads: number;
  readonly headDim: number;
  /** d_mlp. */
  readonly mlp: number;
  readonly vocabulary: number;
  readonly maxContext: number;
  readonly epsilon: number;
  readonly activation: Activation;
  /** Parallel attention and MLP: both read the residual stream before the block. */
  readonly parallel: boolean;
  /** Null: positions are embedded. */
  readonly rope: Rope | null;
  /** Factor of the attention scores, per layer. */
  readonly attentionScales: readonly number[];
  /** Whether embedding and unembedding are tied. */
  readonly tiedHead: boolean;
  readonly bosTokenId: number;
  readonly special: ModelConfig['special'];
}

/** Names of the MLP's activation function in config.json; some are synonyms. */
export const GELUS: Readonly<Record<string, Activation>> = {
  gelu: 'gelu',
  gelu_new: 'geluTanh',
  gelu_fast: 'geluTanh',
  gelu_pytorch_tanh: 'geluTanh',
};

/** Refuses keys that are set at either level of a config.json. */
export function refuseKeys(refused: readonly string[], levels: readonly Keys[], unsupported: UnsupportedModel): void {
  for (const level of levels) for (const key of refused) if (level[key]) unsupported(key, level[key]);
}

/** Matrices that follow another computation within a block, each with its bias. */
export type PlainMatrix = 'attentionOut' | 'mlpIn' | 'mlpOut';

/** How a family's weights are stored. */
export interface PlainWeights {
  readonly names: TensorNames;
  /** Shapes of all tensors, by name without prefix. */
  tensors(): ReadonlyMap<string, readonly number[]>;
  /** [vocabulary, hidden], and [positions, hidden] if positions are embedded. */
  readonly embedding: string;
  readonly positions: string | null;
  /** Names of the weight and the bias of a norm. */
  norm(which: 'attention' | 'mlp', layer: number): readonly [weight: string, bias: string];
  readonly finalNorm: readonly [weight: string, bias: string];
  /** Queries, keys and values of x [batch, context, hidden], [batch, context, heads × headDim] each. */
  qkv(writer: ModelWriter, layer: number, x: Value): readonly [q: Value, k: Value, v: Value];
  /** x times a matrix, with its bias or without. */
  linear(writer: ModelWriter, which: PlainMatrix, layer: number, x: Value, biased: boolean): Value;
  /** x [..., hidden] times the unembedding; `body` is the builder that x belongs to. */
  unembed(writer: ModelWriter, x: Value, body: GraphBuilder): Value;
  /** Name of a bias [vocabulary] of the logits, if there is one. */
  readonly unembedBias: string | null;
}

/** Builds a model's description from its settings and the storage of its weights. */
export function plainDecoderOf(numbers: PlainNumbers, weights: PlainWeights, bos: BosPolicy): ModelConfig {
  const { layers, hidden, heads, headDim, mlp } = numbers;
  const width = heads * headDim;
  const block = hidden * (4 * width + 2 * mlp);
  return {
    ...{ family: numbers.name, layers, hidden, bos },
    ...{ vocabulary: numbers.vocabulary, maxContext: numbers.maxContext },
    ...{ bosTokenId: numbers.bosTokenId, special: numbers.special },
    hooks: hooksOfModel(numbers, () => ({
      hook_resid_pre: hidden,
      'ln1.hook_normalized': hidden,
      'attn.hook_q': width,
      'attn.hook_k': width,
      'attn.hook_v': width,
      'attn.hook_z': width,
      hook_attn_out: hidden,
      ...(numbers.parallel ? {} : { hook_resid_mid: hidden }),
      'ln2.hook_normalized': hidden,
      'mlp.hook_in': hidden,
      'mlp.hook_pre': mlp,
      'mlp.hook_post': mlp,
      hook_mlp_out: hidden,
      hook_resid_post: hidden,
    })),
    costs: {
      blocks: Array.from({ length: layers }, () => block),
      widest: Math.max(mlp, 3 * width),
      // The residual stream and its norm, plus attention (fused, q, k, v, the scores) or the MLP (before and after).
      alive: (context) => 2 * hidden + Math.max(6 * width + heads * context, 2 * mlp),
    },
    shape: shapeOf(numbers),
    names: weights.names,
    tensors: () => weights.tensors(),
    write: (writer) => new PlainGraph(writer, numbers, weights),
  };
}

/** The settings that affect the model's output, in a fixed order. */
function shapeOf(c: PlainNumbers): string {
  const sizes = [c.layers, c.hidden, c.heads, c.headDim, c.mlp, c.vocabulary];
  const constants = [c.epsilon, c.activation, c.parallel, c.tiedHead, c.bosTokenId];
  return JSON.stringify([c.name, sizes, constants, c.rope && ropeShape(c.rope), c.attentionScales]);
}

class PlainGraph implements ModelGraph {
  private readonly attentionForm: AttentionForm;
  private readonly rotary: Rotary;
  private readonly final: FinalNorm;

  constructor(
    private readonly writer: ModelWriter,
    private readonly config: PlainNumbers,
    private readonly weights: PlainWeights,
  ) {
    const { device, precision } = writer.placement;
    this.attentionForm = attentionForm(device, precision, config.headDim);
    this.rotary = new Rotary(writer, config.headDim);
    const norm = this.normOf(weights.finalNorm);
    this.final = new FinalNorm((x, hook) => hookedLayerNorm(writer, x, norm, [hook, 'ln_final.hook_normalized']));
  }

  residual(tokens: Value, hook: HookFunction): Value {
    const { writer, weights } = this;
    const { g } = writer;
    const embedded = g.gather(writer.stored(weights.embedding), tokens);
    let x = hook('hook_embed', g.cast(embedded, 'float32'));
    if (weights.positions !== null) {
      const rows = writer.weight(weights.positions, 'float32');
      x = g.add(x, writer.past ? g.gather(rows, writer.past.positions) : g.slice(rows, 0, writer.context, 0));
    }
    for (let layer = 0; layer < this.config.layers; layer++) x = this.block(layer, x, hook);
    return this.final.show(x, hook);
  }

  finalNorm(x: Value): Value {
    return this.final.of(x);
  }

  logits(hidden: Value, body: GraphBuilder = this.writer.g): Value {
    const { writer, weights } = this;
    const logits = writer.wide(weights.unembed(writer, writer.narrow(hidden, body), body), body);
    return weights.unembedBias === null ? logits : body.add(logits, writer.weight(weights.unembedBias, 'float32'));
  }

  directLogits({ layer, site }: Hook, directions: Value): Value | null {
    const { writer, weights } = this;
    const { g } = writer;
    const through = (which: PlainMatrix) =>
      writer.wide(weights.linear(writer, which, layer, writer.narrow(directions), false));
    const added = isOnResidual(site)
      ? directions
      : site === 'attn.hook_z'
        ? through('attentionOut')
        : site === 'mlp.hook_post'
          ? through('mlpOut')
          : null;
    if (added === null) return null;
    // The output of the last norm is already centred.
    const middle = site === 'ln_final.hook_normalized' ? added : centred(g, added);
    const weighted = g.mul(middle, writer.weight(weights.finalNorm[0], 'float32'));
    return writer.wide(weights.unembed(writer, writer.narrow(weighted), g));
  }

  private normOf([weight, bias]: readonly [string, string]) {
    return { weight, bias, epsilon: this.config.epsilon, width: this.config.hidden };
  }

  private block(layer: number, input: Value, onHook: HookFunction): Value {
    const { writer, config, weights } = this;
    const { hidden, activation, parallel } = config;
    const { g } = writer;
    const hook = hookOfBlock(layer, onHook);
    const linear = (which: PlainMatrix) => (x: Value) => weights.linear(writer, which, layer, x, true);

    const residPre = writer.foldVariants(hook('hook_resid_pre', input), hidden);
    const z = writer.hookBetween(hook, 'attn.hook_z', this.attention(layer, residPre, hook));
    const attnOut = hook('hook_attn_out', writer.wide(linear('attentionOut')(z)));
    const residMid = g.add(residPre, attnOut);
    const before = parallel ? residPre : hook('hook_resid_mid', residMid);
    const norm = this.normOf(weights.norm('mlp', layer));
    const mlpIn = hook('mlp.hook_in', hookedLayerNorm(writer, before, norm, [hook, 'ln2.hook_normalized']));
    const mlp = { into: linear('mlpIn'), out: linear('mlpOut'), activation };
    const mlpOut = hook('hook_mlp_out', plainMlp(writer, writer.narrow(mlpIn), mlp, hook));
    const residPost = g.add(parallel ? residMid : before, mlpOut);
    return writer.foldVariants(hook('hook_resid_post', residPost), hidden);
  }

  /** Causal attention of the residual stream [batch, context, hidden] → z [batch, context, heads × headDim]. */
  private attention(layer: number, residPre: Value, onHook: HookOfBlock): Value {
    const { writer, config, weights } = this;
    const { heads, headDim, hidden, rope } = config;
    const width = heads * headDim;
    const widths = { 'ln1.hook_normalized': hidden, 'attn.hook_q': width, 'attn.hook_k': width, 'attn.hook_v': width };
    const hooks = new AttentionHooks(writer, onHook, widths);
    const norm = this.normOf(weights.norm('attention', layer));
    const normalised = hookedLayerNorm(writer, residPre, norm, [hooks.hook, 'ln1.hook_normalized']);
    const [q, k, v] = weights.qkv(writer, layer, writer.narrow(normalised));
    const seen = (name: 'q' | 'k' | 'v', value: Value) => hooks.between(`attn.hook_${name}`, value);
    const rotated = (value: Value) => {
      if (rope === null) return value;
      const wide = writer.wide(value);
      return writer.narrow(this.rotary.rotate(wide, heads, rope, writer.positions(wide)));
    };
    const [query, key, values] = [rotated(seen('q', q)), rotated(seen('k', k)), seen('v', v)];
    const even = (value: Value, name: 'q' | 'k' | 'v') =>
      hooks.even(value, width, 'ln1.hook_normalized', `attn.hook_${name}`);
    const inputs = {
      q: even(query, 'q'),
      k: even(key, 'k'),
      v: even(values, 'v'),
      context: writer.context,
      window: null,
    };
    const attentionScale = config.attentionScales[layer]!;
    const shape: AttentionShape = { heads, kvHeads: heads, headDim, attentionScale, attentionSoftcap: null };
    return hooks.attend(this.attentionForm, shape, inputs, layer);
  }
}
