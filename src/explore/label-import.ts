import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { z } from 'zod';
import type { LabelsConfig } from '../config/stages/features.js';
import { readRegular } from '../disk/input-file.js';
import { parseJson } from '../disk/json.js';
import { lockDirectory } from '../disk/lock.js';
import { Refusal, UsageRefusal } from '../errors/refusal.js';
import type { FeaturesOfSae } from '../features/folder.js';
import type { Terminal } from '../progress/progress.js';
import { MOST_LABEL, MOST_NOTE } from './api.js';
import { chosenSaes } from './explorer.js';
import { openFeatureFolder } from './feature-folder.js';
import { type GivenLabel, LabelFile } from './labels.js';

/** Max bytes of a file of explanations, compressed and decompressed; a string cannot be longer. */
const MOST_PACKED = 2 ** 28;
const MOST_UNPACKED = 2 ** 29 - 24;

/** The fields read from Neuronpedia's explanations; feature numbers are strings there. */
const explanation = z.object({
  index: z.union([z.number().int().nonnegative(), z.string().regex(/^\d{1,9}$/)]).transform(Number),
  description: z.string(),
  /** The source: "12-gemmascope-res-16k". */
  layer: z.string().optional(),
  typeName: z.string().nullish(),
  explanationModelName: z.string().nullish(),
});
type Explanation = z.infer<typeof explanation>;

/**
 * Prints the labels of a folder of features, or imports labels from Neuronpedia explanations.
 *
 * @throws Refusal if the folder or the explanations cannot be read; nothing is written then
 */
export async function labels(config: LabelsConfig, terminal: Terminal): Promise<void> {
  const folder = await openFeatureFolder(config.folder);
  const saes = chosenSaes(folder, config.folder, config.sae === undefined ? undefined : [config.sae]);
  if (config.import === undefined) {
    for (const sae of saes) {
      const file = await LabelFile.read(join(folder.directory, sae.folder), sae.d_sae);
      for (const label of file.all()) terminal.print(JSON.stringify({ sae: sae.folder, ...label }));
    }
    return;
  }
  const [sae, ...others] = saes;
  if (others.length > 0) {
    throw new UsageRefusal(
      `${config.folder} has ${saes.length} SAEs, and it is ambiguous which of them the labels of --import belong to.`,
      `Choose one: --sae ${sae!.folder}.`,
      'config/wrong-together',
    );
  }
  const found = await readExplanations(config.import, config.source, sae!);
  const takeOver = { unchecked: config.takeOver, say: (line: string) => terminal.progress.say(line) };
  const lock = await lockDirectory(folder.directory, takeOver);
  try {
    const file = await LabelFile.read(join(folder.directory, sae!.folder), sae!.d_sae);
    const kept = found.filter(({ feature }) => !config.overwrite && file.byFeature.has(feature)).length;
    await file.save(found.filter(({ feature }) => config.overwrite || !file.byFeature.has(feature)));
    await file.close();
    const own = kept === 0 ? '' : `; ${kept} features already have labels, which are kept (--overwrite replaces them)`;
    terminal.print(`${found.length - kept} labels were imported for ${sae!.folder}${own}.`);
  } finally {
    await lock.release();
  }
}

/** One label per feature with an explanation: the first if there are several. */
async function readExplanations(path: string, source: string | undefined, sae: FeaturesOfSae): Promise<GivenLabel[]> {
  const all: Explanation[] = [];
  for (const file of await filesAt(path)) all.push(...(await explanationsIn(file)));
  const found = source === undefined ? all : all.filter(({ layer }) => layer === source);
  const sources = [...new Set(found.map(({ layer }) => layer ?? ''))];
  if (found.length === 0) {
    throw new Refusal(
      source === undefined ? `${path} has no explanations.` : `${path} has no explanations of ${source}.`,
      'Give a file of explanations that Neuronpedia exported.',
      'explore/no-explanations',
    );
  }
  if (sources.length > 1) {
    throw new Refusal(
      `${path} has explanations of ${sources.length} sources: ${sources.slice(0, 5).join(', ')}.`,
      'Choose the source of the SAE with --source.',
      'explore/several-sources',
    );
  }
  const labels = new Map<number, GivenLabel>();
  for (const one of found) {
    if (one.index >= sae.d_sae) {
      throw new Refusal(
        `${path} explains feature ${one.index}, but ${sae.folder} has only ${sae.d_sae} features.`,
        'Choose the explained SAE with --sae.',
        'explore/other-sae-explained',
      );
    }
    const label = one.description.trim();
    if (label !== '' && !labels.has(one.index)) labels.set(one.index, labelOf(one, label));
  }
  return [...labels.values()];
}

/** A long description becomes the note, and its beginning the label. */
function labelOf({ index, typeName, explanationModelName }: Explanation, description: string): GivenLabel {
  const long = description.length > MOST_LABEL;
  const source = ['neuronpedia', typeName, explanationModelName].filter((part) => part).join(', ');
  return {
    feature: index,
    label: long ? `${description.slice(0, MOST_LABEL - 1).trimEnd()}…` : description,
    note: long ? description.slice(0, MOST_NOTE) : null,
    source: source.slice(0, MOST_LABEL),
  };
}

async function filesAt(path: string): Promise<string[]> {
  const found = await stat(path).catch(() => undefined);
  if (!found?.isDirectory()) return [path];
  const names = (await readdir(path)).filter((name) => /\.jsonl?(\.gz)?$/.test(name));
  // batch-2 before batch-10.
  return names.sort((a, b) => a.localeCompare(b, 'en', { numeric: true })).map((name) => join(path, name));
}

/** The explanations of a file: JSON lines, or one JSON list, gzipped or not. */
async function explanationsIn(path: string): Promise<Explanation[]> {
  const bytes = await readRegular(path, MOST_PACKED);
  if (bytes === null) throw new Refusal(`${path} does not exist.`, 'Check the path.', 'disk/no-file');
  const wrong = (what: string, cause?: unknown) =>
    new Refusal(
      `${path} ${what}.`,
      'Give a file of explanations that Neuronpedia exported.',
      'explore/no-explanations',
      {
        cause,
      },
    );
  let text: string;
  try {
    const packed = bytes[0] === 0x1f && bytes[1] === 0x8b;
    text = new TextDecoder('utf-8', { fatal: true }).decode(
      packed ? gunzipSync(bytes, { maxOutputLength: MOST_UNPACKED }) : bytes,
    );
  } catch (cause) {
    throw wrong('could not be decompressed, or is not UTF-8', cause);
  }
  return valuesIn(text, wrong).map((value, i) => {
    const parsed = explanation.safeParse(value);
    if (parsed.success) return parsed.data;
    const issue = parsed.error.issues[0]!;
    throw wrong(
      `is not a list of explanations (entry ${i + 1}, ${issue.path.join('.') || 'itself'}: ${issue.message})`,
    );
  });
}

function valuesIn(text: string, wrong: (what: string, cause?: unknown) => Refusal): unknown[] {
  try {
    if (text.trimStart().startsWith('[')) return parseJson(text) as unknown[];
    const lines = text.split('\n').filter((line) => line.trim() !== '');
    return lines.map(parseJson);
  } catch (cause) {
    throw wrong('is not JSON', cause);
  }
}
