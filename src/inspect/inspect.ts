import { openStore } from '../activations/store.js';
import { shellWord } from '../config/shell-word.js';
import type { InspectConfig } from '../config/stages/machine.js';
import { UsageRefusal } from '../errors/refusal.js';
import { modelDirectory } from '../hub/model-source.js';
import { parseModelConfig } from '../lm/families/registry.js';
import type { Progress, StopRequest } from '../progress/progress.js';
import { checkOutputFile, writeOutputFile } from '../report/page-file.js';
import { figuresOf, type Inspection } from './figures.js';
import { longestTokens, textsOf } from './longest-tokens.js';
import { surveyStore } from './survey.js';

/** Default number of features for estimating dead ones, as a multiple of d_in. */
const USUAL_WIDTH = 8;

/**
 * Reads a store once and reports statistics of its activations; with --out, also draws them.
 *
 * @throws Refusal if the store is incomplete, or --model is not the model it was harvested from
 */
export async function inspectStore(config: InspectConfig, progress: Progress, stop: StopRequest): Promise<Inspection> {
  const { store: named, out, k, threads } = config;
  const kind = out === undefined ? undefined : kindOf(out);
  const store = await openStore(named);
  const dSae = config.dSae ?? USUAL_WIDTH * store.manifest.d_in;
  if (k > dSae) {
    throw new UsageRefusal(
      `--k ${k} is more than the ${dSae} features of --d-sae.`,
      'Use a smaller --k, or a larger --d-sae.',
      'inspect/k',
    );
  }
  if (out !== undefined) await checkOutputFile(out, [named]);
  const { model, revision, offline } = config;
  const texts =
    model === undefined
      ? undefined
      : await textsOf(await modelDirectory({ model, revision, offline }, progress, stop, parseModelConfig), store);
  const survey = await surveyStore(store, threads, progress, stop);
  const { inspection: numbers, drawn } = figuresOf(survey, store.manifest, store.directory, { k, dSae });
  const longest_tokens = await longestTokens(store, survey.longest, numbers.norms.median, texts);
  const inspection: Inspection = { ...numbers, longest_tokens };
  if (out !== undefined) {
    // Loaded only to draw: what draws takes half a second to load.
    const { svgFile } = await import('../report/draw-figure.js');
    const { captionOf, inspectionPage, storeFigure } = await import('./inspect-page.js');
    const command = commandOf(config);
    const content =
      kind === 'svg'
        ? svgFile({
            ...{ title: inspection.hook, caption: captionOf(inspection), command },
            svg: storeFigure(inspection, drawn, 'figure-1'),
          })
        : inspectionPage(inspection, drawn, command);
    await writeOutputFile(out, content, config.overwrite);
  }
  return inspection;
}

function kindOf(out: string): 'svg' | 'html' {
  const kind = /\.(svg|html)$/.exec(out)?.[1];
  if (kind === 'svg' || kind === 'html') return kind;
  throw new UsageRefusal(
    `--out ${out} is neither an .svg nor an .html file.`,
    'Give it one of these extensions.',
    'report/unknown-ending',
  );
}

function commandOf({ store, model, k, dSae, out }: InspectConfig): string {
  const texts = model === undefined ? [] : ['--model', shellWord(model)];
  const dictionary = dSae === undefined ? [] : ['--d-sae', String(dSae)];
  return ['sae-pipe inspect', shellWord(store), ...texts, '--k', k, ...dictionary, '--out', shellWord(out!)].join(' ');
}
