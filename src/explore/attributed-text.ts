import { Interrupted } from '../errors/refusal.js';
import { type Attributed, type AttributedText, byEffect, readText } from '../generate/attribution.js';
import { effectsBy, NOT_ATTRIBUTED } from '../generate/attribution-methods.js';
import { nextTokens } from '../generate/next-token.js';
import { type Progress, silent } from '../progress/progress.js';
import { throwIfStopped } from '../progress/stop.js';
import type { Audience } from './audience.js';
import type { AttributedEvent, AttributeRequest } from './steering-api.js';

/** Max activations to ablate if there is no gradient. */
const MOST_ABLATED = 64;
/** Max activations to show. */
const MOST_SHOWN = 30;

/** Progress events of an attribution, in numeric form. */
export type AttributionNews =
  | { readonly kind: 'opening' | 'reading' }
  | {
      readonly kind: 'next';
      readonly likely: readonly { readonly id: number; readonly probability: number }[];
      readonly token: number;
      readonly logit: number;
    }
  | { readonly kind: 'ablated'; readonly done: number; readonly of: number };

/** The contributions to a logit, in numeric form. */
export interface FoundEffects extends Pick<AttributedEvent, 'method' | 'remark' | 'examined' | 'leftOut'> {
  readonly features: readonly (Omit<Attributed, 'of' | 'norm'> & {
    /** Token at that position. */
    readonly id: number;
  })[];
}

/**
 * Which features contributed to the logit of the token that follows a text, by gradient if the model supports it.
 *
 * @param first token whose features are examined: 1 if the text begins with BOS
 * @param asked the token whose logit is attributed, and the name of the only SAE
 * @returns null if nobody is listening any more
 */
export async function attributeText(
  text: AttributedText,
  first: number,
  { sae, token }: Pick<AttributeRequest, 'sae' | 'token'>,
  tell: (news: AttributionNews) => void,
  audience: Audience,
): Promise<FoundEffects | null> {
  const reading = await readText(text, first);
  const target = { token: token ?? reading.likeliest };
  tell({ kind: 'next', ...nextOf(reading.logits, target.token), logit: reading.logits[target.token]! });
  try {
    throwIfStopped(audience, NOT_ATTRIBUTED);
    const terminal = { progress: ablationProgress(tell), stop: audience };
    const { method, remark, features } = await effectsBy(
      { method: 'auto', candidates: MOST_ABLATED, sae: [sae] },
      text,
      reading,
      target,
      terminal,
    );
    const shown = [...features].sort(byEffect).slice(0, MOST_SHOWN);
    return {
      method: method === 'gradient' ? 'gradient' : 'ablation',
      remark: remark ?? null,
      features: shown.map(({ of: _, norm: __, ...one }) => ({ ...one, id: text.tokens[one.position]! })),
      ...{ examined: features.length, leftOut: reading.active.length - features.length },
    };
  } catch (error) {
    if (error instanceof Interrupted) return null;
    throw error;
  }
}

/** Reports how many activations have been ablated. */
function ablationProgress(tell: (news: AttributionNews) => void): Progress {
  let of = 0;
  const update = (done: number) => tell({ kind: 'ablated', done, of });
  const begin = (_: string, total: number) => {
    of = total;
    update(0);
  };
  return { ...silent, begin, update };
}

/** The most probable tokens, and the requested one, which may not be among them. */
function nextOf(logits: Float32Array, token: number) {
  const likely = nextTokens(logits, logits, []).likely.map(({ id, probability }) => ({ id, probability }));
  if (likely.some(({ id }) => id === token)) return { likely, token };
  const [first] = likely;
  const probability = Math.exp(logits[token]! - logits[first!.id]!) * first!.probability;
  return { likely: [...likely, { id: token, probability }], token };
}
