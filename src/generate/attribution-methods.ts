import type { AttributeConfig } from '../config/stages/generation.js';
import { UsageRefusal } from '../errors/refusal.js';
import { NoGradient } from '../onnx/shapes.js';
import type { Terminal } from '../progress/progress.js';
import { stopRequested, throwIfStopped } from '../progress/stop.js';
import {
  type Active,
  type Attributed,
  type AttributedLogit,
  type AttributedText,
  ablationEffects,
  directEffects,
  type readText,
  strongest,
} from './attribution.js';
import { gradientEffects, gradientGraph } from './attribution-gradient.js';

/** How effects are measured. */
export type Method = 'gradient' | 'ablation' | 'direct';

export const NOT_ATTRIBUTED = 'Nothing was attributed.';

/** Definition of an effect, in words. */
export const EFFECTS: Readonly<Record<Method, string>> = {
  gradient: 'activation × gradient, f · ∂logit/∂f',
  ablation: 'decrease of the logit when the feature is ablated at that token (exact)',
  direct: 'equal to direct',
};

/** Effects of activations, measured by one method. */
interface Effects {
  readonly method: Method;
  /** Why another method than gradients was used, as a sentence. */
  readonly remark?: string;
  readonly features: readonly Attributed[];
}

/**
 * The effects of a text's activations by the requested method; `auto` uses gradients if available.
 *
 * @throws UsageRefusal if the method is not available for the model
 */
export async function effectsBy(
  config: Pick<AttributeConfig, 'method' | 'candidates' | 'sae'>,
  text: AttributedText,
  reading: Awaited<ReturnType<typeof readText>>,
  target: AttributedLogit,
  terminal: Pick<Terminal, 'progress' | 'stop'>,
): Promise<Effects> {
  const { method, remark, graph } = chosenMethod(config.method, text);
  const chosen = method === 'ablation' ? strongest(reading.active, config.candidates) : reading.active;
  const effects =
    graph !== undefined
      ? await gradientEffects(text, graph, chosen, target)
      : method === 'ablation'
        ? await ablated(text, chosen, target, terminal)
        : undefined;
  throwIfStopped(terminal.stop, NOT_ATTRIBUTED);
  const direct = await directEffects(text, chosen, target, reading.divisor);
  const without = chosen.find((_, i) => effects === undefined && direct[i] === null);
  if (without) {
    throw new UsageRefusal(
      `There is no linear path from the output of ${config.sae[without.of]} to the residual stream.`,
      'Use --method gradient or ablation.',
      'generate/no-direct-path',
    );
  }
  const features = chosen.map((one, i) => ({ ...one, effect: effects ? effects[i]! : direct[i]!, direct: direct[i]! }));
  return { method, remark, features };
}

interface Chosen extends Omit<Effects, 'features'> {
  /** State for gradients. */
  readonly graph?: Uint8Array;
}

function chosenMethod(asked: AttributeConfig['method'], text: AttributedText): Chosen {
  if (asked === 'ablation' || asked === 'direct') return { method: asked };
  try {
    return { method: 'gradient', graph: gradientGraph(text) };
  } catch (error) {
    if (!(error instanceof NoGradient)) throw error;
    const sentence = `${text.checkpoint.name} has no gradient here: ${error.message}`;
    if (asked === 'auto') return { method: 'ablation', remark: `${sentence}. Ablation is used instead.` };
    throw new UsageRefusal(`${sentence}.`, 'Use --method ablation, which is exact.', 'generate/no-gradient');
  }
}

async function ablated(
  text: AttributedText,
  chosen: readonly Active[],
  target: AttributedLogit,
  { progress, stop }: Pick<Terminal, 'progress' | 'stop'>,
): Promise<number[]> {
  progress.begin('ablating', chosen.length, 'activation');
  const effects = await ablationEffects(text, chosen, target, async (done) => {
    progress.update(done);
    if (await stopRequested(stop)) throwIfStopped(stop, NOT_ATTRIBUTED);
  });
  progress.end();
  return effects;
}
