import { z } from 'zod';
import type { GraphBuilder, Value } from '../onnx/graph.js';
import type { UnsupportedModel } from './family.js';
import type { ModelWriter } from './model-writer.js';

/** Attention of a layer: full, or a sliding window. Names from Hugging Face's `layer_types`. */
export type LayerType = 'full_attention' | 'sliding_attention';

/** Rotary position embedding of one layer (Su et al. 2021): frequencies θ^(−2i / width) / factor. */
export interface Rope {
  readonly theta: number;
  /** Divisor of positions (linear scaling); 1 for none. With `bands`, applied only where those say so. */
  readonly factor: number;
  /** Llama 3.1's scaling; absent: every frequency is divided by the factor. */
  readonly bands?: RopeBands;
  /**
   * Number of leading entries of a head that are rotated; absent: all. The width in the frequencies' exponents is this
   * number, or with `proportional` that of the head.
   */
  readonly rotated?: number;
  readonly proportional?: boolean;
}

/**
 * Which frequencies Llama 3.1 divides by the factor: those with wavelengths beyond original / low; none below original
 * / high; an interpolation in between.
 */
interface RopeBands {
  readonly low: number;
  readonly high: number;
  /** Context length of the model's first training. */
  readonly original: number;
}

/** The settings that affect a model's output, in a fixed order. */
export function ropeShape({ theta, factor, bands, rotated, proportional }: Rope): unknown[] {
  const scaled = bands ? [[bands.low, bands.high, bands.original]] : [];
  const partial = rotated === undefined ? [] : [[rotated, proportional ?? false]];
  return [theta, factor, ...scaled, ...partial];
}

const positive = z.number().positive().nullish();
const parameters = z.strictObject({
  rope_type: z.string().nullish(),
  /** The key for `rope_type` before 2024. */
  type: z.string().nullish(),
  rope_theta: positive,
  factor: positive,
  low_freq_factor: positive,
  high_freq_factor: positive,
  original_max_position_embeddings: positive,
  partial_rotary_factor: positive,
});
type Parameters = z.infer<typeof parameters>;

/** Kinds of scaling, with the keys that each requires; `default` has none. */
const KINDS: Readonly<Record<string, readonly (keyof Parameters)[]>> = {
  default: [],
  linear: ['factor'],
  llama3: ['factor', 'low_freq_factor', 'high_freq_factor', 'original_max_position_embeddings'],
  proportional: [],
};
/** Keys without effect unless a kind requires them. */
const EVERYWHERE: readonly (keyof Parameters)[] = ['rope_type', 'type', 'rope_theta'];

const byType = z.strictObject({ full_attention: z.unknown().optional(), sliding_attention: z.unknown().optional() });

/** The keys for rotary embeddings, in the spelling before and since transformers 5. */
interface RopeKeys {
  readonly rope_theta?: number | null;
  readonly rope_local_base_freq?: number | null;
  readonly rope_scaling?: unknown;
  readonly rope_parameters?: unknown;
}

/**
 * Rotary parameters of each layer type, from either spelling.
 *
 * @param unsupported called with key and value of an unsupported setting; never returns
 */
export function parseRope(
  file: RopeKeys,
  family: {
    readonly ropeTheta: Readonly<Record<LayerType, number>>;
    readonly ropeByType: boolean;
    /** Allowed kinds of scaling besides `default`. */
    readonly ropeKinds?: readonly string[];
    /** Width of a head that is partially rotated, unless config.json gives another; absent: fully rotated. */
    readonly rotated?: { readonly width: number; readonly share: number };
    /** Widths of a head, which proportional rotation needs. */
    readonly widths?: Readonly<Record<LayerType, number>>;
  },
  unsupported: UnsupportedModel,
): Record<LayerType, Rope> {
  if (file.rope_parameters != null && file.rope_scaling != null) return unsupported('rope_scaling', file.rope_scaling);
  const rope = (key: string, value: unknown, theta: number | null | undefined, type: LayerType): Rope => {
    const named = (value ?? {}) as { rope_type?: unknown; type?: unknown };
    const kind = named.rope_type ?? named.type ?? 'default';
    if (kind !== 'default' && !(family.ropeKinds ?? ['linear']).includes(String(kind))) {
      return unsupported(`${key}.rope_type`, kind);
    }
    const needs = KINDS[String(kind)]!;
    const parsed = parameters.safeParse(named);
    if (!parsed.success || needs.some((need) => parsed.data[need] == null)) return unsupported(key, value);
    const known = [
      ...EVERYWHERE,
      ...needs,
      'factor',
      ...(family.rotated || kind === 'proportional' ? ['partial_rotary_factor'] : []),
    ];
    const odd = Object.keys(parsed.data).find((name) => !known.includes(name) && parsed.data[name as 'factor'] != null);
    if (odd !== undefined) return unsupported(`${key}.${odd}`, parsed.data[odd as 'factor']);
    const scaled = ropeOf(String(kind), parsed.data, parsed.data.rope_theta ?? theta ?? family.ropeTheta[type]);
    if (kind === 'proportional') {
      const rotated = 2 * Math.trunc(((parsed.data.partial_rotary_factor ?? 1) * family.widths![type]) / 2);
      return { ...scaled, rotated, proportional: true };
    }
    if (!family.rotated) return scaled;
    const { width, share } = family.rotated;
    const rotated = Math.trunc(width * (parsed.data.partial_rotary_factor ?? share));
    if (rotated === 0 || rotated % 2 !== 0) return unsupported('partial_rotary_factor', rotated / width);
    return rotated === width ? scaled : { ...scaled, rotated };
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
    // The old key applies only to full-attention layers.
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

/** @param kind one of KINDS, whose keys are there */
function ropeOf(kind: string, keys: Parameters, theta: number): Rope {
  const factor = kind === 'default' ? 1 : (keys.factor ?? 1);
  if (kind !== 'llama3') return { theta, factor };
  const original = keys.original_max_position_embeddings!;
  return { theta, factor, bands: { low: keys.low_freq_factor!, high: keys.high_freq_factor!, original } };
}

/** Frequency i of a rope whose exponents are over `width`. */
function frequencyOf({ theta, factor, bands }: Rope, i: number, width: number): number {
  // transformers computes frequencies and angles in float32, and so do we; otherwise long contexts would diverge.
  const base = Math.fround(1 / Math.fround(theta ** Math.fround((2 * i) / width)));
  if (!bands) return Math.fround(base / factor);
  const { low, high, original } = bands;
  const wavelength = Math.fround(Math.fround(2 * Math.PI) / base);
  if (wavelength < original / high) return base;
  if (wavelength > original / low) return Math.fround(base / factor);
  const smooth = Math.fround(Math.fround(Math.fround(original / wavelength) - low) / (high - low));
  const scaled = Math.fround(Math.fround(Math.fround(1 - smooth) * base) / factor);
  return Math.fround(scaled + Math.fround(smooth * base));
}

/** Names the tables of a rope. */
const ropeName = ({ theta, factor, ...more }: Rope): string =>
  Object.keys(more).length === 0 ? `${theta}/${factor}` : JSON.stringify(ropeShape({ theta, factor, ...more }));

/** Cosines and sines of position · frequency, float32 [longest, rotated / 2] each. */
function ropeTables(g: GraphBuilder, rope: Rope, longest: number, headDim: number): [Value, Value] {
  const { rotated = headDim, proportional = false } = rope;
  const half = (proportional ? headDim : rotated) / 2;
  const cos = new Float32Array(longest * half);
  const sin = new Float32Array(longest * half);
  for (let i = 0; i < half; i++) {
    const frequency = i < rotated / 2 ? frequencyOf(rope, i, 2 * half) : 0;
    for (let position = 0; position < longest; position++) {
      const angle = Math.fround(position * frequency);
      cos[position * half + i] = Math.cos(angle);
      sin[position * half + i] = Math.sin(angle);
    }
  }
  const table = (name: string, values: Float32Array) =>
    g.table(`rope_${name}/${ropeName(rope)}`, [longest, half], values);
  return [table('cos', cos), table('sin', sin)];
}

/** Rotations of queries and keys; layers with equal settings share their tables. */
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
    const attributes: Record<string, number> = { num_heads: heads };
    if (rope.rotated !== undefined && !rope.proportional) attributes.rotary_embedding_dim = rope.rotated;
    return this.writer.g.op('RotaryEmbedding', [x, ...this.tablesOf(rope), positions], attributes);
  }

  private tablesOf(rope: Rope): [Value, Value] {
    const key = ropeName(rope);
    const made = this.tables.get(key) ?? ropeTables(this.writer.g, rope, this.writer.longest, this.headDim);
    this.tables.set(key, made);
    return made;
  }
}
