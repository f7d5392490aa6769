import { isLeftOut, leftOutTokens } from '../corpus/contexts.js';
import { UsageRefusal } from '../errors/refusal.js';
import { excludedTokens } from '../eval/candidates.js';
import { strongestFeatures } from '../features/strongest.js';
import { Activations } from './activations.js';
import { HookedTransformer } from './hooked-transformer.js';
import { SAE } from './sae.js';
import { checkOptionNames, checkText, checkWhole } from './stage-options.js';

/** A feature that fires. */
export interface FiringFeature {
  readonly feature: number;
  /** f > 0 */
  readonly activation: number;
}

/** One token of a text, and its features. */
export interface TokenFeatures {
  readonly token: number;
  readonly strToken: string;
  /**
   * Was the SAE trained on such tokens? Not on BOS, excluded special tokens, or activations much longer than the median
   * (attention sinks): these have no features here.
   */
  readonly counted: boolean;
  /** Strongest first. */
  readonly features: readonly FiringFeature[];
}

/** A feature over a whole text. */
export interface FeatureOfText extends FiringFeature {
  /** Position of its largest activation: an index into `tokens`. */
  readonly position: number;
}

/** An SAE's features in a text. */
export interface TopFeatures {
  readonly tokens: readonly TokenFeatures[];
  /** The features with the largest activations anywhere in the text, strongest first. */
  readonly features: readonly FeatureOfText[];
}

/** Options of `topFeatures`. */
export interface TopFeaturesOptions {
  /** Max features per token, and for the whole text; 5 by default. */
  readonly count?: number;
}

const OPTIONS = { count: true } as const satisfies Record<keyof TopFeaturesOptions, true>;

/**
 * The features of an SAE that fire most strongly on a text: at each token, and anywhere in it.
 *
 * @throws UsageRefusal if an argument is not of its kind, or an option does not exist
 * @throws Refusal if the SAE belongs to another model or hook, or the text is longer than the model's positions
 */
export async function topFeatures(
  model: HookedTransformer,
  sae: SAE,
  text: string,
  options: TopFeaturesOptions = {},
): Promise<TopFeatures> {
  if (!(model instanceof HookedTransformer) || !(sae instanceof SAE)) {
    throw new UsageRefusal(
      'topFeatures takes a HookedTransformer first, then an SAE.',
      'Call topFeatures(model, sae, text).',
      'config/wrong-value',
    );
  }
  checkText('The text', text);
  checkOptionNames(options, OPTIONS);
  const { count = 5 } = options;
  checkWhole('count', count, 1);
  const { session } = model;
  const candidate = await session.fit(sae);
  const prependBos = session.bosFor([candidate]);
  const tokens = model.toTokens(text, prependBos);
  const { cache, strTokens } = await model.runWithCache(tokens, candidate.input.name);
  const x = cache.get(candidate.input.name)!;
  const { special, bosTokenId } = session.model.tokenizer;
  const excluded = excludedTokens([candidate], {}, { prependBos, special, bosTokenId });
  const leftOut = leftOutTokens(prependBos ? bosTokenId : null, excluded);
  const tooLong = longRow(sae);
  const counted = Array.from(tokens, (token, i) => !isLeftOut(token, leftOut) && !tooLong(x.row(i)));
  const kept = [...counted.keys()].filter((i) => counted[i]);
  const found = new Strongest(sae.cfg.dSae, kept, count);
  await sae.eachChunk(rowsOf(x, kept), (f, first) => found.take(f, first));
  return {
    tokens: Array.from(tokens, (token, i) => ({
      ...{ token, strToken: strTokens[i]!, counted: counted[i]! },
      features: found.at.get(i) ?? [],
    })),
    features: found.ofText(),
  };
}

/** Is an activation longer than those the SAE was trained on? */
function longRow({ files }: SAE): (x: Float32Array) => boolean {
  const { max_activation_norm_multiple: multiple, median_activation_norm: median } = files.metadata;
  if (multiple === undefined || median === undefined) return () => false;
  return (x) => Math.sqrt(x.reduce((sum, value) => sum + value * value, 0)) > multiple * median;
}

function rowsOf(x: Activations, rows: readonly number[]): Activations {
  const kept = new Activations(new Float32Array(rows.length * x.width), x.width);
  for (const [to, row] of rows.entries()) kept.row(to).set(x.row(row));
  return kept;
}

/** The strongest features at each token, and the position at which each feature is strongest. */
class Strongest {
  readonly at = new Map<number, FiringFeature[]>();
  private readonly largest: Float32Array;
  private readonly position: Uint32Array;

  /** @param positions of the given rows */
  constructor(
    dSae: number,
    private readonly positions: readonly number[],
    private readonly count: number,
  ) {
    this.largest = new Float32Array(dSae);
    this.position = new Uint32Array(dSae);
  }

  take(f: Activations, firstRow: number): void {
    for (let row = 0; row < f.rows; row++) {
      const position = this.positions[firstRow + row]!;
      const values = f.row(row);
      const top = strongestFeatures(values, this.count);
      this.at.set(
        position,
        top.map(([feature, activation]) => ({ feature, activation })),
      );
      for (let j = 0; j < values.length; j++) {
        if (values[j]! <= this.largest[j]!) continue;
        this.largest[j] = values[j]!;
        this.position[j] = position;
      }
    }
  }

  ofText(): FeatureOfText[] {
    const top = strongestFeatures(this.largest, this.count);
    return top.map(([feature, activation]) => ({ feature, activation, position: this.position[feature]! }));
  }
}
