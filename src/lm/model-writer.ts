import type { GraphBuilder, Value } from '../onnx/graph.js';
import type { DType } from '../onnx/messages.js';
import { storedWeight, weightAs } from '../onnx/weight.js';
import type { TensorLocation } from '../safetensors/file.js';
import type { HookOfBlock, HookSite } from './hooks.js';
import type { Past } from './past.js';
import type { Placement } from './placement.js';

/**
 * Shared state for building the parts of a model: the graph, the weights on disk, and the precision of matrix products.
 * The residual stream, norms, rotations and activation functions are float32.
 */
export class ModelWriter {
  private readonly storedWeights = new Map<string, Value>();
  private readonly weights = new Map<string, Value>();

  /**
   * @param tensors of the model, by name without prefix
   * @param context tokens per context; fixed, so that reshapes need no shape arithmetic. 0 with `past`, where a step
   * has any number of tokens: for a Reshape, 0 means the unchanged dimension
   * @param past for a model that processes tokens step by step; null: it processes complete contexts
   */
  constructor(
    readonly g: GraphBuilder,
    private readonly tensors: ReadonlyMap<string, TensorLocation>,
    readonly context: number,
    readonly placement: Placement,
    readonly past: Past | null = null,
  ) {}

  /** Max tokens of a text. */
  get longest(): number {
    return this.past?.longest ?? this.context;
  }

  /** A tensor in the given element type. */
  weight(name: string, dtype: DType): Value {
    const key = `${name}/${dtype}`;
    const value = this.weights.get(key) ?? weightAs(this.g, dtype, this.stored(name), this.tensors.get(name)!);
    this.weights.set(key, value);
    return value;
  }

  /** A tensor in the element type of the checkpoint. */
  stored(name: string): Value {
    const value = this.storedWeights.get(name) ?? storedWeight(this.g, name, this.tensors.get(name)!);
    this.storedWeights.set(name, value);
    return value;
  }

  /** x [..., in] times a matrix stored as [out, in], plus a bias [out] if given, in the precision of the products. */
  linear(x: Value, name: string, bias?: string): Value {
    return this.biased(this.g.matmul(x, this.weight(name, this.placement.precision), { transB: true }), bias);
  }

  /** The same with a matrix stored as [in, out], as GPT-2's are. */
  linearOfColumns(x: Value, name: string, bias?: string): Value {
    return this.biased(this.g.matmul(x, this.weight(name, this.placement.precision)), bias);
  }

  private biased(product: Value, bias: string | undefined): Value {
    return bias === undefined ? product : this.g.add(product, this.weight(bias, this.placement.precision));
  }

  /**
   * From float32 to the precision of the products.
   *
   * @param g the builder of the Loop that x belongs to, if any
   */
  narrow(x: Value, g: GraphBuilder = this.g): Value {
    return this.placement.precision === 'float32' ? x : g.cast(x, this.placement.precision);
  }

  /** From the precision of the products to float32. */
  wide(x: Value, g: GraphBuilder = this.g): Value {
    return this.placement.precision === 'float32' ? x : g.cast(x, 'float32');
  }

  /** [variants, batch, context, width] or [batch, context, width] → [variants × batch, context, width]. */
  foldVariants(x: Value, width: number): Value {
    return this.g.reshape(x, -1, this.context, width);
  }

  /** Number of times the batch (first dimension) of b is repeated in that of a: int64 [1]. */
  times(a: Value, b: Value): Value {
    const size = (x: Value) => this.g.op('Shape', [x], { start: 0, end: 1 });
    return this.g.div(size(a), size(b));
  }

  /** Repeats a batch [batch, context, width] `times` times. */
  repeat(x: Value, times: Value, width: number): Value {
    const tiled = this.g.op('Tile', [x, this.g.concat([times, this.g.ints(1, 1)], 0)]);
    // ONNX Runtime does not know the shape after a dynamic Tile, and infers dependent shapes wrongly.
    return this.foldVariants(tiled, width);
  }

  /** 0 … context − 1 for each row of the batch of x; for a step, the positions of its tokens. */
  positions(x: Value): Value {
    if (this.past) return this.past.positions;
    const batchAndContext = this.g.op('Shape', [x], { start: 0, end: 2 });
    const range = this.g.op('Range', [this.g.int(0), this.g.int(this.context), this.g.int(1)]);
    return this.g.op('Expand', [range, batchAndContext]);
  }

  /** A hook between two products: no casts are added unless the value is replaced. */
  hookBetween(hook: HookOfBlock, site: HookSite, value: Value): Value {
    const seen = this.wide(value);
    const returned = hook(site, seen);
    return returned === seen ? value : this.narrow(returned);
  }
}
