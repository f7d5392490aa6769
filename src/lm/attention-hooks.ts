import type { Value } from '../onnx/graph.js';
import { type AttentionForm, type AttentionInputs, type AttentionShape, attention } from './attention.js';
import type { HookOfBlock, HookSite } from './hooks.js';
import type { ModelWriter } from './model-writer.js';

/**
 * Hooks between the residual stream and attention's output by head. Attention works on a batch of contexts, so when a
 * hook replaces a value by several variants, these are folded into the batch, the other inputs are repeated, and the
 * output is unfolded again. Adds nothing to the graph if nothing is replaced.
 */
export class AttentionHooks {
  /** Calls the hook with values in float32; a replacement is [variants × batch, context, width]. */
  readonly hook: HookOfBlock;
  private readonly replaced = new Set<HookSite>();
  /** int64 [1], number of variants; null: nothing was replaced. */
  private variants: Value | null = null;

  constructor(
    private readonly writer: ModelWriter,
    hook: HookOfBlock,
    widths: Readonly<Partial<Record<HookSite, number>>>,
  ) {
    this.hook = Object.assign(
      (site: HookSite, value: Value) => {
        const returned = hook(site, value);
        // A generation step has no variants: a replacement has the value's shape.
        if (returned === value || writer.past) return returned;
        const folded = writer.foldVariants(returned, widths[site]!);
        this.variants ??= writer.times(folded, value);
        this.replaced.add(site);
        return folded;
      },
      { actsOn: hook.actsOn },
    );
  }

  /** The value returned by the hook at `site`, in the precision of the products. */
  between(site: HookSite, value: Value): Value {
    return this.hook.actsOn(site) ? this.writer.hookBetween(this.hook, site, value) : value;
  }

  /** Was the value at any of the sites replaced? */
  has(...sites: readonly HookSite[]): boolean {
    return sites.some((site) => this.replaced.has(site));
  }

  /**
   * A value [batch, context, width] repeated for each variant, unless it depends on a value replaced at one of `sites`.
   */
  even(value: Value, width: number, ...sites: readonly HookSite[]): Value {
    return this.variants === null || this.has(...sites) ? value : this.writer.repeat(value, this.variants, width);
  }

  /**
   * Attention's output by head, [variants, batch, context, width] if there are variants.
   *
   * @param layer layer whose keys and values are used
   */
  attend(form: AttentionForm, shape: AttentionShape, inputs: AttentionInputs, layer: number): Value {
    const { writer } = this;
    const width = shape.heads * shape.headDim;
    if (!writer.past) return this.unfold(attention(writer.g, form, shape, inputs), width);
    const { q, k, v, window } = inputs;
    const wide = { q: writer.wide(q), k: writer.wide(k), v: writer.wide(v), window };
    return writer.narrow(writer.past.attention(shape, wide, layer));
  }

  /** [variants × batch, context, width] → [variants, batch, context, width], if there are variants. */
  private unfold(value: Value, width: number): Value {
    if (this.variants === null) return value;
    const { g, context } = this.writer;
    return g.op('Reshape', [value, g.concat([this.variants, g.ints(-1, context, width)], 0)]);
  }
}
