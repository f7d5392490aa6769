import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { asyncBufferFromFile, parquetReadObjects } from 'hyparquet';
import { type FeaturesConfig, featuresSchema } from '../../src/config/stages/features.js';
import { PLAIN } from '../../src/sae/sae.js';
import { readSae, type SaeFiles, saveSae } from '../../src/sae/saelens.js';
import { goldenSae } from '../eval/golden-sae.js';
import { fixture } from '../fixtures.js';
import { openGolden } from '../golden.js';

/** The SAEs of test/golden/features.safetensors. */
export const GOLDEN_SAES = ['gated', 'jumprelu', 'topk'] as const;

/** Directories of the SAEs of the golden, which belong to blocks.2.hook_resid_post of the bundled model. */
export async function goldenSaes(): Promise<string[]> {
  const directory = await fixture('features-saes', async (out) => {
    const threshold = (await openGolden('features')).location('jumprelu/threshold');
    const { tensors, ...standard } = goldenSae('standard');
    const saes: Record<(typeof GOLDEN_SAES)[number], SaeFiles> = {
      gated: goldenSae('gated'),
      jumprelu: { ...standard, architecture: 'jumprelu', tensors: { ...tensors, threshold } },
      topk: {
        ...{ ...standard, tensors, architecture: 'topk' },
        forward: { ...PLAIN, k: 5, rescale_acts_by_decoder_norm: false },
      },
    };
    for (const [name, files] of Object.entries(saes)) {
      mkdirSync(join(out, name));
      const metadata = { hook_name: 'blocks.2.hook_resid_post', context_size: 256 };
      await saveSae(join(out, name), await readSae(files), metadata);
    }
  });
  return GOLDEN_SAES.map((name) => join(directory, name));
}

/** The command whose numbers the golden has, with other flags. */
export async function goldenConfig(out: string, flags: Partial<FeaturesConfig> = {}): Promise<FeaturesConfig> {
  return featuresSchema.parse({
    sae: await goldenSaes(),
    model: 'assets/tiny-gemma',
    corpus: 'assets/corpus/validation.jsonl.gz',
    tokens: 5000,
    topK: 6,
    threads: 1,
    out,
    ...flags,
  });
}

/** Rows of a Parquet file. */
export async function parquetRows(path: string): Promise<Record<string, unknown>[]> {
  return parquetReadObjects({ file: await asyncBufferFromFile(path) });
}
