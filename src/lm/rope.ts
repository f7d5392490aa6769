import { z } from 'zod';
import type { GraphBuilder, Value } from '../onnx/graph.js';
import type { UnsupportedModel } from './family.js';
import type { ModelWriter } from './model-writer.js';

/** What attention of a layer sees: everything before it, or a window. Names of Hugging Face's `layer_types`. */
export type LayerType = 'full_attention' | 'sliding_attention';

/** Rotary position embedding of one layer (Su et al. 2021): frequencies θ^(−2i / headDim) / factor. */
export interface Rope {
  readonly theta: number;
  /** Positions are divided by it (linear scaling); 1 where there is none. */
  readonly factor: number;
}

const parameters = z.strictObject({
  rope_type: z.string().nullish(),
  /** `rope_type` before 2024. */
  type: z.string().nullish(),
  rope_theta: z.number().positive().nullish(),
  factor: z.number().positive().nullish(),
});

const byType = z.strictObject({ full_attention: z.unknown().optional(), sliding_attention: z.unknown().optional() });

/** The keys about rotary embeddings, in the spelling before transformers 5 and in the one since. */
interface RopeKeys {
  readonly rope_theta?: number | null;
  readonly rope_local_base_freq?: number | null;
  readonly rope_scaling?: unknown;
  readonly rope_parameters?: unknown;
}

/**
 * Rotary parameters of each type of layer, from either spelling.
 *
 * @param unsupported called with key and value where a setting is not known; never returns
 */
export function parseRope(
  file: RopeKeys,
  family: { readonly ropeTheta: Readonly<Record<LayerType, number>>; readonly ropeByType: boolean },
  unsupported: UnsupportedModel,
): Record<LayerType, Rope> {
  if (file.rope_parameters != null && file.rope_scaling != null) return unsupported('rope_scaling', file.rope_scaling);
  const rope = (key: string, value: unknown, theta: number | null | undefined, type: LayerType): Rope => {
    const named = (value ?? {}) as { rope_type?: unknown; type?: unknown };
    const kind = named.rope_type ?? named.type ?? 'default';
    if (kind !== 'default' && kind !== 'linear') return unsupported(`${key}.rope_type`, kind);
    const parsed = parameters.safeParse(named);
    if (!parsed.success || (kind === 'linear' && parsed.data.factor == null)) return unsupported(key, value);
    return {
      theta: parsed.data.rope_theta ?? theta ?? family.ropeTheta[type],
      factor: kind === 'linear' ? parsed.data.factor! : 1,
    };
  };
  if (!family.ropeByType) {
    const key = file.rope_parameters == null ? 'rope_scaling' : 'rope_parameters';
    const one = rope(key, file[key], file.rope_theta, 'full_attention');
    return { full_attention: one, sliding_attention: one };
  }
  const types = byType.safeParse(file.rope_parameters ?? {});
  if (!types.success) return unsupported('rope_parameters', file.rope_parameters);
  const { full_attention, sliding_attention } = types.data;
  return {
    // The old key scales the layers that see everything, and only those.
    full_attention: full_attention
      ? rope('rope_parameters.full_attention', full_attention, file.rope_theta, 'full_attention')
      : rope('rope_scaling', file.rope_scaling, file.rope_theta, 'full_attention'),
    sliding_attention: rope(
      'rope_parameters.sliding_attention',
      sliding_attention,
      file.rope_local_base_freq,
      'sliding_attention',
    ),
  };
}

/** Cosines and sines of position · frequency, float32 [context, headDim / 2] each. */
function ropeTables(g: GraphBuilder, { theta, factor }: Rope, context: number, headDim: number): [Value, Value] {
  const half = headDim / 2;
  const cos = new Float32Array(context * half);
  const sin = new Float32Array(context * half);
  for (let i = 0; i < half; i++) {
    // transformers computes frequencies and angles in float32; so do we, or long contexts would drift apart.
    const base = Math.fround(1 / Math.fround(theta ** Math.fround((2 * i) / headDim)));
    const frequency = Math.fround(base / factor);
    for (let position = 0; position < context; position++) {
      const angle = Math.fround(position * frequency);
      cos[position * half + i] = Math.cos(angle);
      sin[position * half + i] = Math.sin(angle);
    }
  }
  const table = (name: string, values: Float32Array) =>
    g.table(`rope_${name}/${theta}/${factor}`, [context, half], values);
  return [table('cos', cos), table('sin', sin)];
}

/** Rotations of queries and keys; layers that rotate alike share their tables. */
export class Rotary {
  private readonly tables = new Map<string, [Value, Value]>();

  constructor(
    private readonly writer: ModelWriter,
    private readonly headDim: number,
  ) {}

  /**
   * @param x float32 [batch, context, heads × headDim]
   * @param positions int64 [batch, context]
   */
  rotate(x: Value, heads: number, rope: Rope, positions: Value): Value {
    return this.writer.g.op('RotaryEmbedding', [x, ...this.tablesOf(rope), positions], { num_heads: heads });
  }

  private tablesOf(rope: Rope): [Value, Value] {
    const key = `${rope.theta}/${rope.factor}`;
    const made = this.tables.get(key) ?? ropeTables(this.writer.g, rope, this.writer.context, this.headDim);
    this.tables.set(key, made);
    return made;
  }
}
