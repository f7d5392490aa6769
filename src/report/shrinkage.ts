import { againstL0 } from './against-l0.js';
import { padded } from './domains.js';
import { fixed } from './format.js';
import type { Markup } from './markup.js';
import type { Point } from './points.js';

/** Figure 2: relative reconstruction bias γ against L0, a panel a site, with the line at 1 where nothing shrinks. */
export function shrinkageFigure(points: readonly Point[], options: { reference?: string } = {}): Markup {
  return againstL0(points, {
    id: 'figure-2',
    title: 'Relative reconstruction bias against L0',
    ...options,
    y: 'γ, relative reconstruction bias',
    domain: (values) => padded([Math.min(1, ...values), Math.max(1, ...values)], 0.1),
    factor: 1,
    level: 1,
    tip: ({ name, l0, value, valueInterval: interval }) =>
      `${name}: L0 ${fixed(l0, 1)}, γ ${fixed(value, 3)}${interval ? ` (${fixed(interval[0], 3)} to ${fixed(interval[1], 3)})` : ''}`,
  });
}
