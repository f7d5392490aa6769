import type { ExploreSae } from '../api.js';
import type { Place } from './route.js';
import type { Source, Told } from './source.js';

/** What a view may ask of the page around it. */
export interface PageContext {
  readonly source: Source;
  /** Goes to another place; `replace` where going back should skip the present one. */
  go(place: Place, how?: { replace?: boolean }): void;
  /** Says something to those who do not see the page. */
  announce(text: string): void;
  /** Shows how far something is, in the bar on top. */
  readonly told: Told;
  sae(name: string): ExploreSae;
}
