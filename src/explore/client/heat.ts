/** Levels of the colour scale, after 0 for nothing; page.css has their colours. */
export const HEAT_LEVELS = 9;

/**
 * The level of the colour scale for an activation: 0 if f is 0, 1 for the faintest positive value, HEAT_LEVELS at the
 * feature's maximum. Levels differ only in lightness, which every reader can see.
 */
export function heatLevel(value: number, max: number): number {
  if (!(value > 0) || !(max > 0)) return 0;
  return Math.min(HEAT_LEVELS, Math.max(1, Math.ceil((value / max) * HEAT_LEVELS)));
}
