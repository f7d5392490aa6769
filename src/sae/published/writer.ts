import { Refusal } from '../../errors/refusal.js';
import { PLAIN, type Sae } from '../sae.js';
import type { SaeMetadata } from '../saelens.js';

/** A layout that SAEs are written in. */
export interface SaeWriter {
  /** Names of all files that it writes; the last one written is `result`. */
  readonly files: readonly string[];
  readonly result: string;
  /**
   * The same function in a form that the layout holds.
   *
   * @param name of the SAE, for messages
   * @throws Refusal saying what would be lost
   */
  fitted(sae: Sae, metadata: SaeMetadata, name: string): Sae;
  /** Writes the files of an SAE that is fitted into a directory. */
  write(directory: string, sae: Sae, metadata: SaeMetadata): Promise<void>;
}

/** @throws Refusal naming what the layout cannot hold */
export function cannotHold(name: string, layout: string, what: string): never {
  throw new Refusal(
    `${layout} cannot hold ${name}: ${what} would be lost.`,
    'Choose another --as; docs/how-to/published-saes.md says what each holds.',
    'sae/not-convertible',
  );
}

/** @throws Refusal where activations are normalised one by one, which these layouts do not say */
export function checkPlain(sae: Sae, name: string, layout: string): void {
  const { normalize_activations } = sae.forward ?? PLAIN;
  if (normalize_activations !== 'none') cannotHold(name, layout, `normalize_activations "${normalize_activations}"`);
}

/** @throws Refusal for transcoders */
export function checkOfOneHook(sae: Sae, name: string, layout: string): void {
  if (sae.transcoder) cannotHold(name, layout, 'that it is a transcoder');
}
