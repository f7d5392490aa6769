import { stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { Refusal, UsageRefusal } from '../config/refusal.js';
import type { ReportConfig } from '../config/stages.js';
import { version } from '../config/version.js';
import { checkNotInputs } from '../disk/inputs.js';
import { makeDirectory } from '../disk/make-directory.js';
import { checkWritable } from '../disk/output-directory.js';
import { readRegular } from '../disk/regular-file.js';
import { writeAside } from '../disk/write-aside.js';
import { csvOf } from './csv.js';
import { entriesOf } from './entries.js';
import { readEvaluation } from './read.js';
import { readReference } from './reference.js';
import { renderReport } from './report.js';

/**
 * Draws the evaluation in config.evaluation as one HTML file, or writes its tables as one CSV file.
 *
 * @returns the file's path
 */
export async function writeReport(config: ReportConfig): Promise<string> {
  const { evaluation, out, title, reference } = config;
  const found = await readEvaluation(evaluation);
  await checkOutputFile(out, [evaluation]);
  if (/\.csv$/i.test(out)) return writeOutputFile(out, csvOf(entriesOf(found)), config.overwrite);
  if (!/\.html?$/i.test(out)) {
    throw new UsageRefusal(
      `--out ${out} is neither an .html nor a .csv file.`,
      'For a PDF of the page, print the .html file from a browser; `sae-pipe figure` writes single figures as .svg, .png and .pdf.',
    );
  }
  const published = reference === undefined ? undefined : { name: reference, saes: await readReference(reference) };
  const html = renderReport(found, {
    title,
    generator: `sae-pipe ${version()}`,
    source: { evaluation, out, title, reference, directory: process.cwd() },
    reference: published,
  });
  return writeOutputFile(out, html, config.overwrite);
}

/**
 * @param inputs files and directories that the command reads
 * @throws Refusal where the file to write is a directory, is an input, or cannot be written
 */
export async function checkOutputFile(path: string, inputs: readonly (string | undefined)[]): Promise<void> {
  await checkNotInputs([path], inputs);
  const existing = await stat(path).catch(() => undefined);
  if (existing?.isDirectory()) throw new Refusal(`${path} is a directory.`, 'Name the file to write with --out.');
  await checkWritable(existing ? dirname(path) : path);
}

/**
 * Writes the file, in a directory made for it where there is none. One that holds just this is left: the same command
 * was given before, and given again by a scheduler it has to succeed.
 *
 * @throws Refusal where another file is there and may not be replaced
 */
export async function writeOutputFile(path: string, content: string | Uint8Array, overwrite: boolean): Promise<string> {
  const existing = overwrite ? undefined : await stat(path).catch(() => undefined);
  if (existing) {
    const bytes = Buffer.from(content);
    const comparable = existing.isFile() && existing.size === bytes.length;
    if (comparable && (await readRegular(path, bytes.length))?.equals(bytes)) return path;
    throw new Refusal(`${path} exists.`, 'Choose another --out, or add --overwrite to replace it.');
  }
  await makeDirectory(dirname(path));
  await writeAside(path, content);
  return path;
}
