import { type AttributedText, ablationEffects, directEffects, readText, strongest } from '../generate/attribution.js';
import { nextTokens } from '../generate/next-token.js';
import type { Audience } from './audience.js';

/** Activations that are ablated, at most. */
const MOST_ABLATED = 64;
/** Activations that are shown, at most. */
const MOST_SHOWN = 30;

/** What is told while a logit is attributed, in numbers. */
export type AttributionNews =
  | { readonly kind: 'opening' | 'reading' }
  | {
      readonly kind: 'next';
      readonly likely: readonly { readonly id: number; readonly probability: number }[];
      readonly token: number;
      readonly logit: number;
    }
  | { readonly kind: 'ablated'; readonly done: number; readonly of: number };

/** What made a logit, in numbers. */
export interface FoundEffects {
  readonly features: readonly {
    readonly feature: number;
    readonly position: number;
    /** Token there. */
    readonly id: number;
    readonly activation: number;
    readonly direct: number | null;
    readonly effect: number;
  }[];
  readonly ablated: number;
  readonly leftOut: number;
}

/** Nobody listens any more. */
class Left extends Error {}

/**
 * Which features made the logit of the token that follows a text.
 *
 * @param first token whose features are examined: 1 where the text begins with BOS
 * @param token whose logit it is; null: the most probable one's
 * @returns null where nobody listens any more
 */
export async function attributeText(
  text: AttributedText,
  first: number,
  token: number | null,
  tell: (news: AttributionNews) => void,
  audience: Audience,
): Promise<FoundEffects | null> {
  const { active, logits, likeliest, divisor } = await readText(text, first);
  const target = { token: token ?? likeliest };
  tell({ kind: 'next', ...nextOf(logits, target.token), logit: logits[target.token]! });
  const chosen = strongest(active, MOST_ABLATED);
  const checkListened = () => {
    if (audience.signal !== undefined) throw new Left();
  };
  try {
    checkListened();
    tell({ kind: 'ablated', done: 0, of: chosen.length });
    const effects = await ablationEffects(text, chosen, target, async (done) => {
      tell({ kind: 'ablated', done, of: chosen.length });
      checkListened();
    });
    const direct = await directEffects(text, chosen, target, divisor);
    const features = chosen
      .map(({ feature, position, activation }, i) => ({
        ...{ feature, position, id: text.tokens[position]!, activation },
        ...{ direct: direct[i]!, effect: effects[i]! },
      }))
      .sort((a, b) => Math.abs(b.effect) - Math.abs(a.effect) || a.feature - b.feature || a.position - b.position);
    return {
      features: features.slice(0, MOST_SHOWN),
      ...{ ablated: chosen.length, leftOut: active.length - chosen.length },
    };
  } catch (error) {
    if (error instanceof Left) return null;
    throw error;
  }
}

/** The most probable tokens, and the one that is asked for, which may be none of them. */
function nextOf(logits: Float32Array, token: number) {
  const likely = nextTokens(logits, logits, []).likely.map(({ id, probability }) => ({ id, probability }));
  if (likely.some(({ id }) => id === token)) return { likely, token };
  const [first] = likely;
  const probability = Math.exp(logits[token]! - logits[first!.id]!) * first!.probability;
  return { likely: [...likely, { id: token, probability }], token };
}
