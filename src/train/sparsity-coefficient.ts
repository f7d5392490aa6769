import type { TrainConfig } from '../config/stages.js';

/** What turns λ from one convention into the other. */
export interface Scales {
  readonly dIn: number;
  /** Factor on the activations while training, s. */
  readonly scale: number;
  /** E|x|² of raw activations; needed with --l2-normalise alone. */
  readonly meanSquare: number | null;
}

/** λ as the engines take it, and how it came about. */
export interface SparsityCoefficient {
  /** Beside |x − x̂|², a sum over d_in, of activations scaled by s. */
  readonly value: number;
  readonly sentence: string;
}

/**
 * λ in the engines' convention: loss = |s·x − x̂|² + λ Σ, a sum over d_in, on activations scaled by s.
 *
 * With --l1-convention paper, --l1 stands beside |x − x̂|² / d_in on raw activations. Features of scaled activations are
 * s times as large, squared errors s² times, so λ = l1 · d_in · s. With --l2-normalise, squared errors are divided by
 * E|x|² (the paper's baseline; d_in cancels, as both are means over it): λ = l1 · E|x|² · s for the paper's --l1, and
 * l1 · E|s·x|² for one on activations as they are trained on. The loss is not divided: Adam does not see its scale, so
 * multiplying λ instead gives the same steps.
 */
export function sparsityCoefficient(
  { l1, l1Convention, l2Normalise }: Pick<TrainConfig, 'l1' | 'l1Convention' | 'l2Normalise'>,
  { dIn, scale, meanSquare }: Scales,
): SparsityCoefficient {
  if (l2Normalise && meanSquare === null) throw new Error('E|x|² is needed and was not estimated');
  const factors: [name: string, value: number][] = [];
  if (l1Convention === 'paper') {
    factors.push(l2Normalise ? ['E|x|²', meanSquare!] : ['d_in', dIn]);
    if (scale !== 1) factors.push(['activation scale', scale]);
  } else if (l2Normalise) {
    factors.push(['E|x|² of scaled activations', meanSquare! * scale * scale]);
  }
  const value = factors.reduce((product, [, factor]) => product * factor, l1);
  const short = (n: number) => String(Number(n.toPrecision(4)));
  const product = [`--l1 ${short(l1)}`, ...factors.map(([name, factor]) => `${name} ${short(factor)}`)].join(' × ');
  const other = short(value / (dIn * scale));
  const paper =
    l1Convention === 'paper' ? '' : `; in the paper's convention (means over d_in, raw activations) ${other}`;
  return {
    value,
    sentence: `λ = ${factors.length > 0 ? `${product} = ` : ''}${short(value)} beside sums of squared errors${scale === 1 ? '' : ' of scaled activations'}${paper}.`,
  };
}
