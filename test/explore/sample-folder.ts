import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  examplesFile,
  FEATURES_FILE,
  type FeaturesOfSae,
  type FeaturesRecord,
  FILE_FEATURES,
  featuresFile,
  fileCount,
  type StoredExample,
  type StoredFeature,
  VOCABULARY_FILE,
} from '../../src/features/folder.js';
import { writeExampleRows, writeFeatureRows, writeVocabularyRows } from '../../src/features/parquet-rows.js';
import { Generator } from '../../src/random/generator.js';

export interface SampleSettings {
  readonly features: number;
  readonly vocabulary?: readonly string[];
  /** Of the SAEs, as their directories are called. */
  readonly saes?: readonly string[];
  readonly dIn?: number;
  /** Examples of band 0, and of each band below. */
  readonly top?: number;
  readonly perBand?: number;
}

const WORDS = [
  '<bos>',
  ' the',
  ' cat',
  ' Cat',
  'cats',
  ' sat',
  ' on',
  ' mat',
  '<b>bold</b>',
  '\n',
  ' "quoted"',
  '<0xE2>',
];
const WINDOW = [12, 8] as const;

/** Numbers of a feature that follow from its number alone, so that tests can tell what they should read. */
export function sampleFeature(feature: number, features: number, vocabulary: number): StoredFeature {
  const random = new Generator(feature + 1);
  const dead = feature % 7 === 3;
  const max = dead ? 0 : Math.fround(2 ** (8 * random.uniform() - 4));
  const active = dead ? 0 : 1 + random.below(10_000);
  const tokens = (count: number) => Array.from({ length: count }, () => random.below(vocabulary));
  const others = (count: number) => Array.from({ length: Math.min(count, features - 1) }, () => random.below(features));
  const falling = (count: number) =>
    Array.from({ length: count }, () => Math.fround(random.uniform())).sort((a, b) => b - a);
  const neighbours = others(10);
  const cofiring = dead ? [] : others(10);
  return {
    feature,
    active_tokens: active,
    frequency: active / 1_000_000,
    mean_active: dead ? Number.NaN : Math.fround(max / 3),
    max,
    norm_share: active / 1e9,
    decoder_norm: 1,
    encoder_norm: Math.fround(0.5 + random.uniform()),
    encoder_decoder_cosine: Math.fround(2 * random.uniform() - 1),
    histogram_first: dead ? 0 : Math.floor(4 * Math.log2(max)) - 2,
    histogram: dead ? [] : [active - 1, 0, 1],
    peak_tokens: dead ? [] : [...new Set(tokens(5))],
    top_logit_tokens: tokens(10),
    top_logits: falling(10),
    bottom_logit_tokens: tokens(10),
    bottom_logits: falling(10).map((value) => -value),
    decoder_neighbours: neighbours,
    decoder_cosines: falling(neighbours.length),
    encoder_neighbours: neighbours,
    encoder_cosines: falling(neighbours.length),
    cofiring,
    cofiring_correlations: falling(cofiring.length),
    cofiring_tokens: cofiring.map((_, i) => 100 - i),
  };
}

/** Examples of a feature: `top` in band 0, and `perBand` in each octave below its maximum. */
export function* sampleExamples(
  { feature, max }: StoredFeature,
  vocabulary: number,
  top: number,
  perBand: number,
): globalThis.Generator<StoredExample> {
  if (max === 0) return;
  const random = new Generator(feature + 1, 1);
  const octave = Math.floor(Math.log2(max));
  for (let band = 0; band <= 5; band++) {
    for (let rank = 0; rank < (band === 0 ? top : perBand); rank++) {
      const value = band === 0 ? Math.fround(max * 0.99 ** rank) : 2 ** (octave - band + 1);
      const position = 1 + random.below(100);
      const first = Math.max(0, position - WINDOW[0]);
      const length = position - first + 1 + WINDOW[1];
      const tokens = Array.from({ length }, () => random.below(vocabulary));
      const activations = Array.from({ length }, (_, i) =>
        i + first === position ? value : i % 5 === 0 ? value / 4 : 0,
      );
      yield { feature, band, rank, value, context: random.below(100_000), position, first, tokens, activations };
    }
  }
}

/** Writes a folder of features as `features` does, of numbers that are made up. */
export async function writeSampleFolder(directory: string, settings: SampleSettings): Promise<FeaturesRecord> {
  const { features, vocabulary = WORDS, saes = ['gated'], dIn = 48, top = 20, perBand = 5 } = settings;
  mkdirSync(directory, { recursive: true });
  await writeVocabularyRows(
    join(directory, VOCABULARY_FILE),
    vocabulary.map((text, id) => ({ id, text })),
  );
  const written: FeaturesOfSae[] = [];
  for (const folder of saes) {
    mkdirSync(join(directory, folder));
    let alive = 0;
    for (let file = 0; file < fileCount(features); file++) {
      const first = file * FILE_FEATURES;
      const rows = Array.from({ length: Math.min(FILE_FEATURES, features - first) }, (_, i) =>
        sampleFeature(first + i, features, vocabulary.length),
      );
      alive += rows.filter(({ active_tokens: active }) => active > 0).length;
      await writeFeatureRows(join(directory, folder, featuresFile(file)), rows);
      await writeExampleRows(
        join(directory, folder, examplesFile(file)),
        (function* () {
          for (const row of rows) yield* sampleExamples(row, vocabulary.length, top, perBand);
        })(),
      );
    }
    written.push({
      ...{ name: folder, folder, path: `runs/${folder}`, architecture: 'gated', hook: 'blocks.2.hook_resid_post' },
      ...{ d_in: dIn, d_sae: features, sha256: '00', alive, l0: 12, cofiring_tokens: 200_000 },
    });
  }
  const record: FeaturesRecord = {
    ...{ format: 'sae-pipe features', version: 1, made_by: 'sae-pipe 0.1.0' },
    model: { name: 'tiny', fingerprint: '00', vocabulary: vocabulary.length },
    ...{ corpus: 'text.jsonl', text_field: 'text', encoding: 'utf-8', text_sha256: '00' },
    ...{ tokens: 1_000_000, contexts: 100_000, context: 128, prepend_bos: true, exclude_special_tokens: [] },
    settings: { top_k: top, window: [...WINDOW], device: 'cpu', precision: 'float32', batch: 8 },
    saes: written,
  };
  writeFileSync(join(directory, FEATURES_FILE), JSON.stringify(record));
  return record;
}
