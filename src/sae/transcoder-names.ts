import { ARCHITECTURES } from './registry.js';
import type { ArchitectureName, Sae } from './sae.js';

/** Name of a transcoder in cfg.json, with or without a skip connection; SAELens's name if it has one. */
export function transcoderName({ architecture, skip }: Pick<Sae, 'architecture' | 'skip'>): string {
  const { savedAs } = ARCHITECTURES[architecture].saelens;
  const { names, transcoderPrefix = `${names[0]}_` } = ARCHITECTURES[savedAs?.architecture ?? architecture].saelens;
  return `${transcoderPrefix}${skip ? 'skip_' : ''}transcoder`;
}

/** The names of an architecture's transcoders. */
export function transcoderNames(architecture: ArchitectureName): readonly string[] {
  return [transcoderName({ architecture }), transcoderName({ architecture, skip: true })];
}
