import { basename, join, resolve } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { asOwner, type ClaimOptions, claimOutputDirectory } from '../../disk/output-directory.js';
import { Refusal, UsageRefusal } from '../../errors/refusal.js';
import type { Progress, StopRequest } from '../../progress/progress.js';
import { type ExportSettings, exportSae } from '../export.js';
import { type ParameterName, PLAIN, type Sae } from '../sae.js';
import { openSameSae, readSae } from '../saelens.js';
import { belowDirectory } from './hub.js';
import { findLayout } from './layouts.js';
import { type SaeSource, saeDirectory } from './open.js';
import type { SaeWriter } from './writer.js';
import { dictionaryLearningWriter } from './writers/dictionary_learning.js';
import { gemmaScopeWriter } from './writers/gemma_scope.js';
import { saelensWriter } from './writers/saelens.js';
import { sparsifyWriter } from './writers/sparsify.js';
import type { WrittenLayout } from './written-layouts.js';

const WRITERS: Readonly<Record<WrittenLayout, SaeWriter>> = {
  saelens: saelensWriter,
  'gemma-scope': gemmaScopeWriter,
  'dictionary-learning': dictionaryLearningWriter,
  sparsify: sparsifyWriter,
};

/** File names of a layout, as written. */
export const filesOfLayout = (as: WrittenLayout): readonly string[] => WRITERS[as].files;

/** What to convert, to what, and where. */
export interface ConvertSettings extends Omit<ExportSettings, 'as'>, SaeSource {
  readonly as: ExportSettings['as'] | WrittenLayout;
}

/**
 * Writes any SAE accepted by `--sae` in another layout, or as another architecture (export.ts), computing the same
 * function.
 *
 * @returns the directory
 * @throws Refusal describing what would be lost, if the layout cannot represent it
 */
export async function convertSae(config: ConvertSettings, progress: Progress, stop: StopRequest): Promise<string> {
  const { as, sae: reference } = config;
  const say = (line: string) => progress.say(line);
  // A set of transcoders is a directory of directories.
  const directory = as === 'circuit-tracer' ? reference : await saeDirectory(reference, config, progress, stop);
  if (!isLayout(as)) return exportSae({ ...config, as }, say, directory);
  const { out, overwrite } = config;
  if (resolve(reference) === resolve(out))
    throw new UsageRefusal('--out is the SAE itself.', 'Choose another --out.', 'disk/out-is-input');
  const writer = WRITERS[as];
  const claim: ClaimOptions = {
    ...{ overwrite, result: writer.result, beginsAnew: true, inputs: [reference, directory] },
    ours: (name) => writer.files.includes(name),
    takeOver: { unchecked: config.takeOver, say },
  };
  await asOwner([out], { ...claim, resume: !overwrite }, async () => {
    const { files, unchanged } = await openSameSae(directory, 'transcoder');
    const sae = writer.fitted(await readSae(files), files.metadata, reference);
    await unchanged.check();
    // Repeating the command, as a scheduler does after a kill, succeeds.
    if (!overwrite && (await holds(out, sae, writer))) return;
    await claimOutputDirectory(out, claim);
    await writer.write(out, sae, files.metadata);
  });
  return out;
}

const isLayout = (as: string): as is WrittenLayout => Object.hasOwn(WRITERS, as);

/** Is the SAE in `out` exactly this one? */
async function holds(out: string, sae: Sae, { result }: SaeWriter): Promise<boolean> {
  try {
    const found = await findLayout(belowDirectory('/', resolve(out).slice(1)), out);
    if (!found || !Object.values(found.files).some((path) => basename(path) === result)) return false;
    const paths = Object.fromEntries(Object.entries(found.files).map(([role, path]) => [role, join('/', path)]));
    const there = await found.layout.read({ files: paths, name: resolve(out) });
    if (there === null) {
      const { parameters, ...form } = await readSae((await openSameSae(out, 'transcoder')).files);
      return isDeepStrictEqual([form.forward, parameters], [sae.forward ?? PLAIN, sae.parameters]);
    }
    if (!isDeepStrictEqual(there.forward, sae.forward ?? PLAIN)) return false;
    for (const [name, read] of Object.entries(there.values)) {
      if (!isDeepStrictEqual(await read(), sae.parameters[name as ParameterName])) return false;
    }
    return true;
  } catch (error) {
    if (error instanceof Refusal) return false;
    throw error;
  }
}
