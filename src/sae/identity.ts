import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { Refusal } from '../config/refusal.js';
import { piecesOfFile } from '../disk/regular-file.js';
import { Unchanged } from '../disk/unchanged.js';
import { compareFingerprints, shortFingerprint } from '../lm/fingerprint.js';
import { CFG_FILE, openSae, type SaeFiles, type SaeMetadata, WEIGHTS_FILE } from './saelens.js';

/** SHA-256 of an SAE's cfg.json and sae_weights.safetensors, one after the other. */
export async function hashSae(directory: string): Promise<string> {
  const hash = createHash('sha256');
  for (const file of [CFG_FILE, WEIGHTS_FILE]) {
    for await (const piece of piecesOfFile(join(directory, file))) hash.update(piece);
  }
  return hash.digest('hex');
}

/** An SAE that is read more than once, and must be the same each time: `unchanged.digest` is its hash. */
export async function openSameSae(directory: string): Promise<{ files: SaeFiles; unchanged: Unchanged }> {
  // First the headers: what is not an SAE may be a file without end.
  let files = await openSae(directory);
  const paths = [CFG_FILE, WEIGHTS_FILE].map((name) => join(directory, name));
  const unchanged = await Unchanged.of(directory, paths, async () => {
    files = await openSae(directory);
    return hashSae(directory);
  });
  return { files, unchanged };
}

/**
 * @param now the model in use, and what to call it
 * @param remedy what to do where it is another one
 * @throws Refusal where the SAE records another model, or records it by a fingerprint that cannot be compared
 */
export function checkModelOf(
  path: string,
  { model_fingerprint: recorded, model_name: name }: SaeMetadata,
  now: { readonly label: string; readonly fingerprint: string },
  remedy: string,
): void {
  if (recorded === undefined) return;
  const found = compareFingerprints(recorded, now.fingerprint);
  if (found === 'different') {
    throw new Refusal(
      `${path} was trained on another model (${name}, ${shortFingerprint(recorded)}) than ${now.label} (${shortFingerprint(now.fingerprint)}).`,
      remedy,
    );
  }
  if (found === 'incomparable') {
    throw new Refusal(
      `${path} was trained on ${name}, whose fingerprint is of another version of sae-pipe and cannot be compared with that of ${now.label}.`,
      'Give --any-model if you know that it is the same model, or train the SAE again.',
    );
  }
}
