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
  /** Something failed that nothing on the page shows any more. */
  warn(text: string): void;
  /** Shows how far something is, in the bar on top. */
  readonly told: Told;
  sae(name: string): ExploreSae;
  /** A label is another: lists that show it are asked for again. */
  relist(): void;
  /** To the next feature of the list (1), or the one before (−1). */
  step(step: number): void;
  /** Compares what is shown with another of its kind. */
  compare(): void;
  /** Tries a text with what is shown. */
  tryText(): void;
}
