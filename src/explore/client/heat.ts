/** Steps of the colour scale, after 0 for nothing; page.css has their colours. */
export const HEAT_LEVELS = 9;

/**
 * The step of the colour scale for an activation: 0 where f is 0, 1 for the faintest that is more, HEAT_LEVELS at the
 * feature's maximum. Steps differ in lightness alone, which every reader sees.
 */
export function heatLevel(value: number, max: number): number {
  if (!(value > 0) || !(max > 0)) return 0;
  return Math.min(HEAT_LEVELS, Math.max(1, Math.ceil((value / max) * HEAT_LEVELS)));
}
