import { mkdir, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { Refusal } from '../config/refusal.js';
import type { ReportConfig } from '../config/stages.js';
import { version } from '../config/version.js';
import { refusedWrite, writeAside } from '../disk/write-aside.js';
import { readEvaluation } from './read.js';
import { renderReport } from './report.js';

/**
 * Draws the evaluation in config.evaluation as one HTML file.
 *
 * @returns the file's path
 */
export async function writeReport(config: ReportConfig): Promise<string> {
  const evaluation = await readEvaluation(config.evaluation);
  const existing = await stat(config.out).catch(() => undefined);
  if (existing?.isDirectory())
    throw new Refusal(`${config.out} is a directory.`, 'Name the .html file to write with --out.');
  if (existing && !config.overwrite)
    throw new Refusal(`${config.out} exists.`, 'Choose another --out, or add --overwrite to replace it.');
  await mkdir(dirname(config.out), { recursive: true }).catch((cause) => {
    throw refusedWrite(config.out, cause);
  });
  await writeAside(config.out, renderReport(evaluation, { title: config.title, generator: `sae-pipe ${version()}` }));
  return config.out;
}
