import { join, relative } from 'node:path';
import { loadConfig } from '../config/load.js';
import type { DemoConfig } from '../config/stages/machine.js';
import { packagedFile } from '../disk/input-file.js';
import { asOwner } from '../disk/output-directory.js';
import { Interrupted } from '../errors/refusal.js';
import { evaluate } from '../eval/evaluate.js';
import { recordTable } from '../eval/record-table.js';
import { checkNoLabels, collectFeatures } from '../features/features.js';
import { harvest } from '../harvest/harvest.js';
import type { Terminal } from '../progress/progress.js';
import { train } from '../train/train.js';

/** A file of the package, relative to the working directory. */
const packaged = (path: string) => relative('', packagedFile(path));

/** Tokens to collect features on: a few seconds. */
const FEATURE_TOKENS = 20_000;

/** Factor by which --quick reduces the number of tokens. */
const QUICKER = 10;

/** Runs every stage with the bundled configurations, writing to config.out. */
export async function demo(config: DemoConfig, terminal: Terminal): Promise<void> {
  // Each stage checks its own directory; this check comes first so that no minute is wasted. The stages overwrite its
  // contents.
  const takeOver = { unchecked: config.takeOver, say: (line: string) => terminal.progress.say(line) };
  const claim = { overwrite: false, resume: config.overwrite, ours: () => false, takeOver };
  try {
    await asOwner([config.out], claim, () => demoStages(config, terminal));
  } catch (error) {
    if (!(error instanceof Interrupted)) throw error;
    throw new Interrupted(error.signal, 'the demo is not finished; the same command with --overwrite starts it again.');
  }
}

async function demoStages(
  { out, overwrite, quick, takeOver }: DemoConfig,
  { progress, stop, print }: Terminal,
): Promise<void> {
  const owning = { overwrite, 'take-over': takeOver };
  const folder = join(out, 'features');
  // Before minutes of training, not after.
  if (overwrite) await checkNoLabels(folder);
  const gated = packaged('configs/tiny-gemma.yaml');
  const standard = packaged('configs/tiny-gemma-standard.yaml');
  const model = packaged('assets/tiny-gemma');
  const sized = <C extends { tokens?: number }>(config: C): C =>
    quick ? { ...config, tokens: config.tokens! / QUICKER } : config;

  const text = packaged('assets/corpus/train.jsonl.gz');
  const harvestConfig = loadConfig('harvest', { model, corpus: text, out: join(out, 'acts'), ...owning }, gated);
  const [activations] = await harvest(sized(harvestConfig), progress, stop);

  const sae: string[] = [];
  for (const [name, file] of Object.entries({ gated, standard })) {
    const trainConfig = loadConfig('train', { activations, out: join(out, name), ...owning }, file);
    sae.push(await train(sized(trainConfig), progress, stop));
  }

  const evaluation = join(out, 'eval');
  const heldOut = packaged('assets/corpus/validation.jsonl.gz');
  const evalConfig = loadConfig('eval', { sae, model, corpus: heldOut, out: evaluation, ...owning }, gated);
  const records = await evaluate(sized(evalConfig), progress, stop);

  const page = join(out, 'report.html');
  const { writeReport } = await import('../report/report.js');
  await writeReport(loadConfig('report', { evaluation, out: page, overwrite }, gated));

  const asked = { sae, model, corpus: heldOut, tokens: FEATURE_TOKENS, out: folder, ...owning };
  await collectFeatures(sized(loadConfig('features', asked, gated)), progress, stop);

  print(recordTable(records));
  print(`Report: ${page}`);
  print(`Features: sae-pipe explore ${folder} --model ${model}`);
}
