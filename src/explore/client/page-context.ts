import type { ExploreSae } from '../api.js';
import type { Place } from './route.js';
import type { Source, Told } from './source.js';

/** The services that a page offers its views. */
export interface PageContext {
  readonly source: Source;
  /** Goes to another place; with `replace`, going back skips the current one. */
  go(place: Place, how?: { replace?: boolean }): void;
  /** Announces something to screen readers. */
  announce(text: string): void;
  /** Reports a failure that is not visible on the page. */
  warn(text: string): void;
  /** Shows progress in the top bar. */
  readonly told: Told;
  sae(name: string): ExploreSae;
  /** A label has changed: lists that show it are reloaded. */
  relist(): void;
  /** Goes to the next feature of the list (1), or the previous one (−1). */
  step(step: number): void;
  /** Compares the current feature or SAE with another. */
  compare(): void;
  /** Opens the text view for the current feature or SAE. */
  tryText(): void;
}
