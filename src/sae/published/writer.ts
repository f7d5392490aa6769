import { Refusal } from '../../errors/refusal.js';
import { PLAIN, type Sae } from '../sae.js';
import type { SaeMetadata } from '../saelens.js';

/** A layout that SAEs can be written in. */
export interface SaeWriter {
  /** File names that it writes; the last one written is `result`. */
  readonly files: readonly string[];
  readonly result: string;
  /**
   * The same function in a form that the layout can represent.
   *
   * @param name of the SAE, for messages
   * @throws Refusal describing what would be lost
   */
  fitted(sae: Sae, metadata: SaeMetadata, name: string): Sae;
  /** Writes the files of a fitted SAE into a directory. */
  write(directory: string, sae: Sae, metadata: SaeMetadata): Promise<void>;
}

/** @throws Refusal naming what the layout cannot represent */
export function cannotHold(name: string, layout: string, what: string): never {
  throw new Refusal(
    `${layout} cannot represent ${name}: ${what} would be lost.`,
    'Choose another --as; docs/how-to/published-saes.md lists what each can represent.',
    'sae/not-convertible',
  );
}

/** @throws Refusal if activations are normalised per token, which these layouts cannot express */
export function checkPlain(sae: Sae, name: string, layout: string): void {
  const { normalize_activations } = sae.forward ?? PLAIN;
  if (normalize_activations !== 'none') cannotHold(name, layout, `normalize_activations "${normalize_activations}"`);
}

/** @throws Refusal for transcoders */
export function checkOfOneHook(sae: Sae, name: string, layout: string): void {
  if (sae.transcoder) cannotHold(name, layout, 'that it is a transcoder');
}
