import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { loadConfig } from '../config/load.js';
import type { DemoConfig } from '../config/stages.js';
import { evaluate } from '../eval/evaluate.js';
import { recordTable } from '../eval/table.js';
import { harvest } from '../harvest/harvest.js';
import { writeReport } from '../report/write.js';
import { train } from '../train/train.js';
import type { Terminal } from './main.js';

/** A file of the package, as a path from here. */
const packaged = (path: string) => relative('', fileURLToPath(new URL(`../../../${path}`, import.meta.url)));

/** Runs every stage with the bundled configurations: what they say, written to config.out. */
export async function demo({ out, overwrite }: DemoConfig, { progress, stop, print }: Terminal): Promise<void> {
  const gatedFile = packaged('configs/tiny-gemma.yaml');
  const standardFile = packaged('configs/tiny-gemma-standard.yaml');
  const model = packaged('assets/tiny-gemma');
  const acts = join(out, 'acts');

  const [activations] = await harvest(
    loadConfig('harvest', { model, corpus: packaged('assets/corpus/train.jsonl.gz'), out: acts, overwrite }, gatedFile),
    progress,
    stop,
  );
  const saes: string[] = [];
  for (const [name, file] of [
    ['gated', gatedFile],
    ['standard', standardFile],
  ] as const) {
    saes.push(await train(loadConfig('train', { activations, out: join(out, name), overwrite }, file), progress, stop));
  }
  const evaluation = join(out, 'eval');
  const corpus = packaged('assets/corpus/validation.jsonl.gz');
  const records = await evaluate(
    loadConfig('eval', { sae: saes, model, corpus, out: evaluation, overwrite }, gatedFile),
    progress,
    stop,
  );
  const report = await writeReport(
    loadConfig('report', { evaluation, out: join(out, 'report.html'), overwrite }, gatedFile),
  );
  print(recordTable(records));
  print(`Report: ${report}`);
}
