import { againstL0 } from './against-l0.js';
import { padded } from './domains.js';
import { distinct } from './entries.js';
import { fixed, listed } from './format.js';
import type { Markup } from './markup.js';
import { drawable, type Point } from './points.js';

/** Ends of the axis of loss recovered (%): up to 100 where that is no further than the points are wide, or all are above 50. */
export function recoveredDomain(values: readonly number[]): [number, number] {
  const [least, most] = values.length === 0 ? [0, 100] : [Math.min(...values), Math.max(...values)];
  const [low, high] = padded([least, most], 0.1);
  const toFull = least >= 50 || 100 - high < high - low;
  return [low, toFull ? Math.max(100, most) : high];
}

/** A point in words, with its intervals. */
function tip({ name, l0, value, l0Interval, valueInterval }: Point): string {
  const across = l0Interval ? ` (${fixed(l0Interval[0], 1)} to ${fixed(l0Interval[1], 1)})` : '';
  const up = valueInterval ? ` (${fixed(valueInterval[0], 2)} to ${fixed(valueInterval[1], 2)})` : '';
  return `${name}: L0 ${fixed(l0, 1)}${across}, loss recovered ${fixed(value, 2)} %${up}`;
}

/** What the figure says beside the evaluation's points. */
export interface ParetoOptions {
  title?: string;
  note?: (site: string) => string | undefined;
  reference?: string;
}

/** Figure 1: loss recovered (%) against L0, a panel a site. */
export function paretoFigure(points: readonly Point[], options: ParetoOptions = {}): Markup {
  return againstL0(points, {
    id: 'figure-1',
    title: 'Loss recovered against L0',
    ...options,
    y: 'Loss recovered (%)',
    domain: recoveredDomain,
    factor: 100,
    corner: '↖ better',
    tip,
  });
}

/** Why a figure against L0 cannot show a point. */
function obstacle({ l0, reason }: Point, quantity: string): string {
  if (!(l0 > 0 && Number.isFinite(l0))) return l0 === 0 ? 'no feature is ever active' : 'there is no finite L0';
  return reason ?? `there is no finite ${quantity}`;
}

/** Names of the SAEs that a figure against L0 cannot show, and why. */
export function notDrawn(points: readonly Point[], quantity: string): string {
  const missing = points.filter((point) => !drawable(point));
  const why = distinct(missing.map((point) => obstacle(point, quantity)));
  const parts = why.map((reason) => {
    const names = missing.filter((point) => obstacle(point, quantity) === reason).map(({ name }) => name);
    return `${listed(names)}, because ${reason}`;
  });
  return parts.length === 0 ? '' : `Not drawn: ${parts.join('; ')}.`;
}
