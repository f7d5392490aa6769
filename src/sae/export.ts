import { resolve } from 'node:path';
import { Refusal, UsageRefusal } from '../config/refusal.js';
import type { ExportConfig } from '../config/stages.js';
import { asOwner, type ClaimOptions, claimOutputDirectory } from '../disk/output-directory.js';
import { canConvert, convert } from './convert.js';
import { CFG_FILE, openSae, readSae, saveSae, WEIGHTS_FILE } from './saelens.js';

const ours = (name: string) => name === CFG_FILE || name === WEIGHTS_FILE;

/**
 * Writes an SAE in the parameters of another architecture that computes the same (convert.ts). What cfg.json says of
 * model, hook and training goes with it, and `exported_from` names the SAE.
 *
 * @returns the directory
 * @throws Refusal when the SAE cannot be written so
 */
export async function exportSae(config: ExportConfig): Promise<string> {
  const { sae: from, out, overwrite } = config;
  if (resolve(from) === resolve(out)) throw new UsageRefusal('--out is the SAE itself.', 'Choose another --out.');
  const claim = { overwrite, ours, result: CFG_FILE, beginsAnew: true };
  await asOwner([out], claim, () => exportInto(config, claim));
  return out;
}

async function exportInto({ sae: from, as, out }: ExportConfig, claim: ClaimOptions): Promise<void> {
  const files = await openSae(from);
  const { architecture, metadata } = files;
  if (!canConvert(architecture, as)) {
    throw new Refusal(
      `${from} is a ${architecture} SAE, which no ${as} SAE equals.`,
      'Export a gated or a standard SAE.',
    );
  }
  const converted = convert(await readSae(files), as);
  await claimOutputDirectory(out, claim);
  await saveSae(out, converted, { ...metadata, exported_from: { sae: from, architecture } });
}
