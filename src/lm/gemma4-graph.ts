import type { GraphBuilder, Value } from '../onnx/graph.js';
import { attentionForm } from './attention.js';
import { AttentionHooks } from './attention-hooks.js';
import type { ModelConfig, ModelGraph } from './family.js';
import { type Gemma4Numbers, gemma4Names, gemma4Shape, gemma4Tensors, gemma4Widths } from './gemma4-layout.js';
import { type Hook, type HookFunction, type HookOfBlock, hookOfBlock, hooksOfModel, isOnResidual } from './hooks.js';
import { FinalNorm, gatedMlp, headNorm, hookedRmsNorm, normWeight, rmsNorm } from './layers.js';
import type { ModelWriter } from './model-writer.js';
import { Rotary } from './rope.js';

/** Builds a model's description from its settings. */
export function gemma4Of(c: Gemma4Numbers): ModelConfig {
  const { hidden, heads, perLayer } = c;
  const mlp = Math.max(...c.layers.map((layer) => layer.mlp));
  const [queries, keys] = [0, 1].map((i) =>
    Math.max(...c.layers.map(({ headDim, kvHeads }) => headDim * [heads, kvHeads][i]!)),
  ) as [number, number];
  return {
    ...{ family: 'Gemma 4', layers: c.layers.length, hidden, vocabulary: c.vocabulary, maxContext: c.maxContext },
    ...{ bosTokenId: c.bosTokenId, special: c.special, bos: 'always' },
    hooks: hooksOfModel({ layers: c.layers.length, hidden }, (layer) => gemma4Widths(c, c.layers[layer]!)),
    costs: {
      blocks: c.layers.map(
        (layer) =>
          hidden * ((2 * heads + (layer.keysOf === null ? 2 : 0) * layer.kvHeads) * layer.headDim + 3 * layer.mlp) +
          3 * hidden * perLayer,
      ),
      widest: Math.max(mlp, c.layers.length * perLayer),
      // The residual stream, its norm and the per-layer embeddings, plus attention or the MLP.
      alive: (context) =>
        2 * hidden + 2 * c.layers.length * perLayer + Math.max(queries + 2 * keys + heads * context, 3 * mlp),
    },
    shape: gemma4Shape(c),
    names: gemma4Names(c),
    tensors: () => gemma4Tensors(c),
    write: (writer) => new Gemma4Graph(writer, c),
  };
}

/** A value of the graph, and the number of replacements when it was computed. */
interface Kept<T> {
  readonly value: T;
  readonly replaced: number;
}

class Gemma4Graph implements ModelGraph {
  private readonly final: FinalNorm;
  private readonly rotary = new Map<number, Rotary>();
  /** Number of values replaced by hooks so far: afterwards, the batch may contain several variants. */
  private replaced = 0;
  private readonly keysAndValues = new Map<number, Kept<readonly [k: Value, v: Value]>>();
  /** [batch, context, layers × perLayer] */
  private perLayerInputs: Kept<Value> | null = null;

  constructor(
    private readonly writer: ModelWriter,
    private readonly config: Gemma4Numbers,
  ) {
    const norm = { ...this.rms, width: config.hidden };
    this.final = new FinalNorm((x, hook) =>
      hookedRmsNorm(writer, x, 'norm.weight', norm, [hook, 'ln_final.hook_normalized']),
    );
  }

  residual(tokens: Value, given: HookFunction): Value {
    const hook: HookFunction = Object.assign(
      (name: string, value: Value) => {
        const returned = given(name, value);
        if (returned !== value) this.replaced++;
        return returned;
      },
      given.only === undefined ? {} : { only: given.only },
    );
    const { writer, config } = this;
    let x = writer.foldVariants(
      hook('hook_embed', this.embed('embed_tokens.weight', tokens, config.hidden)),
      config.hidden,
    );
    if (config.perLayer > 0) this.perLayerInputs = { value: this.inputsOfLayers(tokens, x), replaced: this.replaced };
    for (let layer = 0; layer < config.layers.length; layer++) x = this.block(layer, x, hook);
    return this.final.show(x, hook);
  }

  finalNorm(x: Value): Value {
    return this.final.of(x);
  }

  logits(hidden: Value, body: GraphBuilder = this.writer.g): Value {
    const { logitSoftcap: cap } = this.config;
    const logits = this.unembed(hidden, body);
    if (cap === null) return logits;
    return body.mul(body.op('Tanh', [body.mul(logits, body.scalar(1 / cap))]), body.scalar(cap));
  }

  directLogits({ layer, site }: Hook, directions: Value): Value | null {
    const { writer, config } = this;
    const { g } = writer;
    const through = (matrix: string, norm: string) => {
      const out = writer.wide(writer.linear(writer.narrow(directions), `layers.${layer}.${matrix}.weight`));
      return g.mul(out, normWeight(writer, `layers.${layer}.${norm}.weight`, this.rms));
    };
    let added: Value | null = isOnResidual(site) ? directions : null;
    if (site === 'attn.hook_z') added = through('self_attn.o_proj', 'post_attention_layernorm');
    if (site === 'mlp.hook_post') added = through('mlp.down_proj', 'post_feedforward_layernorm');
    if (added === null) return null;
    // Every block scales the entire residual stream at its end.
    const after = site === 'hook_resid_post' ? layer + 1 : layer;
    const first = site === 'ln_final.hook_normalized' ? config.layers.length : after;
    for (let i = first; i < config.layers.length; i++) added = g.mul(added, this.scalarOf(i));
    return this.unembed(g.mul(added, normWeight(writer, 'norm.weight', this.rms)), g);
  }

  /** Logits before their soft-cap. */
  private unembed(hidden: Value, body: GraphBuilder): Value {
    const { writer } = this;
    const matrix = this.config.tiedHead ? 'embed_tokens.weight' : 'lm_head.weight';
    const unembedding = writer.weight(matrix, writer.placement.precision);
    return writer.wide(body.matmul(writer.narrow(hidden, body), unembedding, { transB: true }), body);
  }

  private scalarOf(layer: number): Value {
    return this.writer.weight(`layers.${layer}.layer_scalar`, 'float32');
  }

  /** Embedding rows times √width; transformers rounds that factor to the model's precision, and so do we. */
  private embed(name: string, tokens: Value, width: number): Value {
    const { writer } = this;
    const { g } = writer;
    const rows = g.cast(g.gather(writer.stored(name), tokens), 'float32');
    return g.mul(rows, writer.wide(writer.narrow(g.scalar(Math.sqrt(width)))));
  }

  /** Per-layer inputs computed from the tokens and their embeddings x, [batch, context, layers × perLayer]. */
  private inputsOfLayers(tokens: Value, x: Value): Value {
    const { writer, config } = this;
    const { g, context } = writer;
    const { perLayer, hidden, layers } = config;
    const product = writer.wide(writer.linear(writer.narrow(x), 'per_layer_model_projection.weight'));
    const scaled = g.mul(product, g.scalar(hidden ** -0.5));
    const byLayer = g.reshape(scaled, -1, context, layers.length, perLayer);
    const normed = rmsNorm(writer, byLayer, 'per_layer_projection_norm.weight', this.rms);
    const own = this.embed('embed_tokens_per_layer.weight', tokens, perLayer);
    const even = this.replaced > 0 ? writer.repeat(own, writer.times(x, own), layers.length * perLayer) : own;
    const flat = g.reshape(normed, -1, context, layers.length * perLayer);
    return g.mul(g.add(flat, even), g.scalar(2 ** -0.5));
  }

  private block(layer: number, input: Value, onHook: HookFunction): Value {
    const { writer, config } = this;
    const { hidden } = config;
    const { g } = writer;
    const hook = hookOfBlock(layer, onHook);
    const weights = `layers.${layer}`;
    const norm = (x: Value, name: string) => rmsNorm(writer, x, `${weights}.${name}.weight`, this.rms);

    const residPre = writer.foldVariants(hook('hook_resid_pre', input), hidden);
    const replaced = this.replaced;
    const z = writer.hookBetween(hook, 'attn.hook_z', this.attention(layer, residPre, hook));
    const headsOut = writer.wide(writer.linear(z, `${weights}.self_attn.o_proj.weight`));
    const attnOut = hook('hook_attn_out', norm(headsOut, 'post_attention_layernorm'));
    const residMid = hook('hook_resid_mid', g.add(residPre, attnOut));

    const mlpNorm = `${weights}.pre_feedforward_layernorm.weight`;
    const normed = hookedRmsNorm(writer, residMid, mlpNorm, { ...this.rms, width: hidden }, [
      hook,
      'ln2.hook_normalized',
    ]);
    const mlpIn = hook('mlp.hook_in', normed);
    const matrix = (name: string) => `${weights}.mlp.${name}_proj`;
    const matrices = { gate: matrix('gate'), up: matrix('up'), down: matrix('down') };
    const down = gatedMlp(writer, writer.narrow(mlpIn), { ...matrices, activation: 'geluTanh', biases: false }, hook);
    const mlpOut = hook('hook_mlp_out', norm(down, 'post_feedforward_layernorm'));
    let x = g.add(residMid, mlpOut);
    if (this.perLayerInputs)
      x = g.add(x, norm(this.ofLayer(layer, x, residPre, replaced), 'post_per_layer_input_norm'));
    return writer.foldVariants(hook('hook_resid_post', g.mul(x, this.scalarOf(layer))), hidden);
  }

  /** The contribution of a layer's own input, gated by the residual stream x. */
  private ofLayer(layer: number, x: Value, residPre: Value, replaced: number): Value {
    const { writer } = this;
    const { g } = writer;
    const { perLayer } = this.config;
    const { value, replaced: before } = this.perLayerInputs!;
    const part = g.slice(value, layer * perLayer, (layer + 1) * perLayer, 2);
    const own = replaced > before ? writer.repeat(part, writer.times(residPre, part), perLayer) : part;
    const weights = `layers.${layer}`;
    const gate = writer.wide(writer.linear(writer.narrow(x), `${weights}.per_layer_input_gate.weight`));
    const gated = g.mul(g.op('Gelu', [gate], { approximate: 'tanh' }), own);
    return writer.wide(writer.linear(writer.narrow(gated), `${weights}.per_layer_projection.weight`));
  }

  /** Causal attention of the residual stream [batch, context, hidden] → z [batch, context, heads × headDim]. */
  private attention(layer: number, residPre: Value, onHook: HookOfBlock): Value {
    const { writer, config } = this;
    const { heads, hidden } = config;
    const own = config.layers[layer]!;
    const { headDim, kvHeads, window } = own;
    const [queries, keys] = [heads * headDim, kvHeads * headDim];
    const widths = { 'ln1.hook_normalized': hidden, 'attn.hook_q': queries, 'attn.hook_k': keys, 'attn.hook_v': keys };
    const before = this.replaced;
    const hooks = new AttentionHooks(writer, onHook, widths);
    const inputNorm = `layers.${layer}.input_layernorm.weight`;
    const normOf = { ...this.rms, width: hidden };
    const normed = hookedRmsNorm(writer, residPre, inputNorm, normOf, [hooks.hook, 'ln1.hook_normalized']);
    const x = writer.narrow(normed);
    const q = this.rotated(layer, 'q', writer.wide(hooks.between('attn.hook_q', this.projected(layer, 'q', x))));
    const [k, v] = own.keysOf === null ? this.ownKeys(layer, x, hooks) : this.sharedKeys(own.keysOf, residPre, before);
    const isOwn = own.keysOf === null;
    const source = own.valuesAreKeys ? 'attn.hook_k' : 'attn.hook_v';
    const even = hooks.even(q, queries, 'ln1.hook_normalized', 'attn.hook_q');
    const key = isOwn ? hooks.even(k, keys, 'ln1.hook_normalized', 'attn.hook_k') : hooks.even(k, keys);
    const value = isOwn ? hooks.even(v, keys, 'ln1.hook_normalized', source) : hooks.even(v, keys);
    this.keysAndValues.set(layer, { value: [key, value], replaced: this.replaced });
    const { device, precision } = writer.placement;
    const shape = { heads, kvHeads, headDim, attentionScale: 1, attentionSoftcap: null };
    const inputs = { q: even, k: key, v: value, context: writer.context, window };
    return hooks.attend(attentionForm(device, precision, headDim), shape, inputs, own.keysOf ?? layer);
  }

  private projected(layer: number, name: 'q' | 'k' | 'v', x: Value): Value {
    return this.writer.linear(x, `layers.${layer}.self_attn.${name}_proj.weight`);
  }

  /** Queries or keys, normalised per head and rotated. */
  private rotated(layer: number, name: 'q' | 'k', x: Value): Value {
    const { writer, config } = this;
    const { headDim, kvHeads, rope } = config.layers[layer]!;
    const heads = name === 'q' ? config.heads : kvHeads;
    const weight = `layers.${layer}.self_attn.${name}_norm.weight`;
    const normed = headNorm(writer, x, weight, { ...this.rms, heads, headDim });
    const rotary = this.rotary.get(headDim) ?? new Rotary(writer, headDim);
    this.rotary.set(headDim, rotary);
    return writer.narrow(rotary.rotate(normed, heads, rope, writer.positions(normed)));
  }

  private ownKeys(layer: number, x: Value, hooks: AttentionHooks): readonly [k: Value, v: Value] {
    const { writer, config } = this;
    const { g, context } = writer;
    const { headDim, kvHeads, valuesAreKeys } = config.layers[layer]!;
    const projected = hooks.between('attn.hook_k', this.projected(layer, 'k', x));
    const values = valuesAreKeys ? projected : hooks.between('attn.hook_v', this.projected(layer, 'v', x));
    const byHead = g.reshape(writer.wide(values), -1, context, kvHeads, headDim);
    const ones = g.table(`layers.${layer}.self_attn.v_norm/ones`, [headDim], new Float32Array(headDim).fill(1));
    const epsilon = { float: config.rmsNormEps };
    const normed = g.reshape(
      g.op('RMSNormalization', [byHead, ones], { axis: -1, epsilon }),
      -1,
      context,
      kvHeads * headDim,
    );
    return [this.rotated(layer, 'k', writer.wide(projected)), writer.narrow(normed)];
  }

  /** Keys and values of another layer, for the current batch of the residual stream. */
  private sharedKeys(from: number, residPre: Value, replaced: number): readonly [k: Value, v: Value] {
    const { value, replaced: before } = this.keysAndValues.get(from)!;
    const [k, v] = value;
    if (replaced === before) return value;
    const times = this.writer.times(residPre, k);
    const { headDim, kvHeads } = this.config.layers[from]!;
    const width = headDim * kvHeads;
    return [this.writer.repeat(k, times, width), this.writer.repeat(v, times, width)];
  }

  private get rms() {
    return { epsilon: this.config.rmsNormEps, offset: false };
  }
}
