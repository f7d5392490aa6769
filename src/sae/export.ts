import { join, resolve } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { exists } from '../disk/input-file.js';
import { asOwner, type ClaimOptions, claimOutputDirectory } from '../disk/output-directory.js';
import { Refusal, UsageRefusal } from '../errors/refusal.js';
import { exportToCircuitTracer } from './circuit-tracer.js';
import { canConvert, convert, expressible } from './convert.js';
import type { ArchitectureName, Sae } from './sae.js';
import { CFG_FILE, cfgOf, openSae, openSameSae, readSae, type SaeMetadata, saveSae, WEIGHTS_FILE } from './saelens.js';

/** What to write, and where. */
export interface ExportSettings {
  /** Directory of the SAE; for circuit-tracer, one with a transcoder per layer below it. */
  readonly sae: string;
  readonly as: ArchitectureName | 'circuit-tracer';
  readonly out: string;
  readonly overwrite: boolean;
  readonly takeOver: boolean;
}

const ours = (name: string) => name === CFG_FILE || name === WEIGHTS_FILE;

/**
 * Writes an SAE with the parameters of another architecture that computes the same function (convert.ts). Model, hook
 * and training record are copied from cfg.json, and `exported_from` names the SAE. Or writes a set of transcoders for
 * circuit-tracer.
 *
 * @param say told about a directory that is taken over
 * @param directory where the SAE is, if elsewhere than its name says (saeDirectory)
 * @returns the directory
 * @throws Refusal if the SAE cannot be written that way
 */
export async function exportSae(
  config: ExportSettings,
  say: (line: string) => void = () => {},
  directory = config.sae,
): Promise<string> {
  const { sae: from, out, overwrite, as } = config;
  if (as === 'circuit-tracer') return exportToCircuitTracer(config, say);
  if (resolve(from) === resolve(out))
    throw new UsageRefusal('--out is the SAE itself.', 'Choose another --out.', 'disk/out-is-input');
  const takeOver = { unchecked: config.takeOver, say };
  const claim = { overwrite, ours, result: CFG_FILE, beginsAnew: true, inputs: [from], takeOver };
  // asOwner checks what is already there: it may be this very export.
  await asOwner([out], { ...claim, resume: !overwrite }, () => exportInto({ ...config, as }, directory, claim));
  return out;
}

async function exportInto(
  { sae: from, as, out }: ExportSettings & { readonly as: ArchitectureName },
  directory: string,
  claim: ClaimOptions,
): Promise<void> {
  const { files, unchanged } = await openSameSae(directory, 'transcoder');
  const { architecture, metadata } = files;
  if (!canConvert(architecture, as)) {
    throw new Refusal(
      `${from} is a ${architecture} SAE, which cannot be expressed as a ${as} SAE.`,
      `Export ${expressible(as)}.`,
      'sae/not-convertible',
    );
  }
  const converted = convert(await readSae(files), as);
  await unchanged.check();
  // It belongs to the source SAE, and would make this one be recognised as that.
  const { training_architecture: _, ...kept } = metadata;
  const described = { ...kept, exported_from: { sae: from, architecture } };
  // Repeating the command, as a scheduler does after a kill, succeeds.
  if (!claim.overwrite && (await holds(out, converted, described))) return;
  await claimOutputDirectory(out, claim);
  await saveSae(out, converted, described);
}

/** Is the SAE in `directory` exactly this one? */
async function holds(directory: string, sae: Sae, metadata: SaeMetadata): Promise<boolean> {
  if (!(await exists(join(directory, CFG_FILE)))) return false;
  try {
    const files = await openSae(directory, 'transcoder');
    const cfg = JSON.parse(JSON.stringify(cfgOf(sae, metadata))) as unknown;
    return isDeepStrictEqual(files.cfg, cfg) && isDeepStrictEqual((await readSae(files)).parameters, sae.parameters);
  } catch (error) {
    if (error instanceof Refusal) return false;
    throw error;
  }
}
