import { openStore, type Store } from '../activations/store.js';
import { version } from '../config/flags.js';
import { shellWord } from '../config/shell-word.js';
import type { FigureConfig } from '../config/stages/pages.js';
import { Refusal, UsageRefusal } from '../errors/refusal.js';
import { readEvaluation } from '../eval/record.js';
import type { Progress, StopRequest } from '../progress/progress.js';
import { saeDirectory } from '../sae/published/open.js';
import { ARCHITECTURES } from '../sae/registry.js';
import { PLAIN } from '../sae/sae.js';
import { openSameSae, readSae, type SaeFiles } from '../sae/saelens.js';
import { compareFingerprints } from '../safetensors/fingerprint.js';
import { notDrawn, paretoFigure, pointsOf, shrinkageFigure } from './against-l0.js';
import { entriesOf } from './entries.js';
import { comparisonsOf, firingSentence, firingTable, overallSentence } from './firing-ratio.js';
import { DRAWN, featureOnTokens, featurePicture, toyPicture } from './jump-relu.js';
import { captionedFigure, captionedTable, LIGHT, type Markup, markup, page } from './page.js';
import { checkOutputFile, writeOutputFile } from './page-file.js';
import { paperFigure, readReference } from './reference.js';

/**
 * Draws a single figure to config.out: .svg, .html, .png or .pdf.
 *
 * @returns the file's path
 * @throws Refusal if flags do not fit together, or the feature's SAE and store do not
 */
export async function drawFigure(config: FigureConfig, progress: Progress, stop: StopRequest): Promise<string> {
  const { out, evaluation, sae, activations } = config;
  const kind = /\.(svg|html|png|pdf)$/.exec(out)?.[1] as FigureFormat | undefined;
  if (kind === undefined)
    throw new UsageRefusal(
      `--out ${out} is not .svg, .html, .png or .pdf.`,
      'Give it one of these extensions.',
      'report/unknown-ending',
    );
  checkFigureFlags(config);
  await checkOutputFile(out, [evaluation, sae, activations]);
  const file = await figureFile(config, figureCommand(config), progress, stop);
  return writeOutputFile(out, await contentOf(kind, file, progress), config.overwrite);
}

/** File formats of figures. */
type FigureFormat = 'svg' | 'html' | 'png' | 'pdf';

async function contentOf(kind: FigureFormat, file: FigureFile, progress: Progress): Promise<string | Uint8Array> {
  if (kind === 'html') return figurePage(file, `sae-pipe ${version()}`);
  const svg = svgFile(file);
  if (kind === 'svg') return svg;
  const { outlined, pdfOf, pngOf, uncovered } = await import('./png-and-pdf.js');
  const lacking = uncovered(svg);
  if (lacking.length > 0) {
    progress.say(`The font of .png and .pdf files lacks ${lacking.join(' ')}; an .svg or .html file shows them.`);
  }
  if (kind === 'png') return pngOf(svg);
  return pdfOf(await outlined(svg), file.title);
}

/** Flags for a figure's contents; all of a figure's flags are required, except for the toy model, which needs none. */
const FLAGS: Record<FigureConfig['name'], readonly ('evaluation' | 'sae' | 'feature' | 'activations')[]> = {
  'jump-relu': ['sae', 'feature', 'activations'],
  'paper-gemma-7b': [],
  pareto: ['evaluation'],
  shrinkage: ['evaluation'],
};

/** @throws UsageRefusal if flags belong to another figure, or some are missing */
function checkFigureFlags(config: FigureConfig): void {
  const { name } = config;
  const own = FLAGS[name];
  for (const [other, flags] of Object.entries(FLAGS)) {
    const foreign = flags.find((flag) => !own.includes(flag) && config[flag] !== undefined);
    if (foreign) {
      throw new UsageRefusal(
        `--${foreign} does not apply to figure ${name}.`,
        `It belongs to figure ${other}.`,
        'report/flag-of-another-figure',
      );
    }
  }
  const missing = own.filter((flag) => config[flag] === undefined).map((flag) => `--${flag}`);
  if (missing.length === 0 || (name === 'jump-relu' && missing.length === own.length)) return;
  throw new UsageRefusal(
    `${missing.join(' and ')} missing.`,
    name === 'jump-relu'
      ? 'Drawing a trained feature needs --sae, --feature and --activations.'
      : 'Give the directory that eval wrote.',
    'report/missing-flag',
  );
}

async function figureFile(
  config: FigureConfig,
  command: string,
  progress: Progress,
  stop: StopRequest,
): Promise<FigureFile> {
  switch (config.name) {
    case 'paper-gemma-7b':
      return paperFile(command);
    case 'pareto':
    case 'shrinkage':
      return evaluationFigure(config.name, config.evaluation!, command);
    case 'jump-relu':
      if (config.sae === undefined) return { title: 'ReLU and JumpReLU on a toy model', command, ...toyPicture() };
      return featureFile(config, command, progress, stop);
  }
}

function figureCommand({ name, evaluation, sae, feature, activations, tokens, seed, out }: FigureConfig): string {
  const of =
    sae === undefined || activations === undefined
      ? []
      : [`--sae ${shellWord(sae)} --feature ${feature} --activations ${shellWord(activations)} --tokens ${tokens}`];
  const dealt = of.length > 0 && seed !== 0 ? [`--seed ${seed}`] : [];
  const from = evaluation === undefined ? [] : [`--evaluation ${shellWord(evaluation)}`];
  return ['sae-pipe figure', name, ...from, ...of, ...dealt, '--out', shellWord(out)].join(' ');
}

async function paperFile(command: string): Promise<FigureFile> {
  const { svg, table, sentences } = paperFigure(await readReference('paper-gemma-7b'));
  return {
    title: 'Gated and standard SAEs on Gemma 7B, as published',
    svg,
    caption:
      'Loss recovered against L0 of gated and standard SAEs on Gemma 7B, by site and layer: figure 1 of Rajamanoharan et al. 2024 (arXiv 2404.16014 v2), redrawn from the numbers of its tables 1 to 4. Standard SAEs have 1.5 times as many features.',
    sentences,
    table: table && {
      markup: table,
      caption:
        'Firing features at equal loss recovered: L0 of gated SAEs over that of standard ones. Curves are the SAEs that no other of their kind dominates, ln L0 linear in −ln(1 − loss recovered) between them; nothing is extrapolated.',
    },
    command,
  };
}

/**
 * @param directory of the SAE as given, for messages
 * @throws Refusal if the figure cannot be drawn for this feature or store
 */
function checkFeature(
  directory: string,
  files: SaeFiles,
  feature: number,
  { directory: activations, manifest }: Store,
): void {
  const { architecture, forward, metadata } = files;
  if (!ARCHITECTURES[architecture].unit) {
    throw new Refusal(
      `${directory} is a ${architecture} SAE.`,
      `figure jump-relu draws features of ${DRAWN} SAEs.`,
      'report/unsupported-sae',
    );
  }
  const { apply_b_dec_to_input: centred, normalize_activations: normalised } = forward ?? PLAIN;
  if (!centred || normalised !== 'none') {
    throw new Refusal(
      `${directory} does not encode x − b_dec (apply_b_dec_to_input ${centred}, normalize_activations ${normalised}).`,
      'figure jump-relu only supports the form of SAEs trained here.',
      'report/unsupported-sae',
    );
  }
  if (feature >= files.dSae) {
    throw new UsageRefusal(
      `--feature ${feature} is not among the ${files.dSae} features of ${directory}.`,
      'They are counted from 0.',
      'report/no-feature',
    );
  }
  const { d_in, hook, model } = manifest;
  const { hook_name = hook, model_fingerprint = model.fingerprint, model_name = 'its model' } = metadata;
  if (compareFingerprints(model_fingerprint, model.fingerprint) === 'incomparable') {
    throw new Refusal(
      `${directory} and ${activations} record their model by fingerprints of different versions, which cannot be compared.`,
      'Harvest the store again with this version, and train the SAE on it.',
      'report/other-fingerprint',
    );
  }
  if (d_in !== files.dIn || hook_name !== hook || model_fingerprint !== model.fingerprint) {
    throw new Refusal(
      `${activations} contains activations of ${model.name} at ${hook} (d_in ${d_in}), which ${directory} was not trained on.`,
      `Give a store of ${model_name} at ${hook_name} (d_in ${files.dIn}).`,
      'report/other-store',
    );
  }
}

async function featureFile(
  config: FigureConfig,
  command: string,
  progress: Progress,
  stop: StopRequest,
): Promise<FigureFile> {
  const [directory, feature, activations] = [config.sae!, config.feature!, config.activations!];
  const here = await saeDirectory(directory, { offline: false }, progress, stop);
  const { files, unchanged } = await openSameSae(here);
  const store = await openStore(activations);
  checkFeature(directory, files, feature, store);
  const sae = await readSae(files);
  await unchanged.check();
  const found = await featureOnTokens(sae, feature, store, config, progress, stop);
  if (!found.f.some((f) => f > 0)) {
    throw new Refusal(
      `Feature ${feature} never fires on the ${found.f.length} tokens examined.`,
      'Choose another --feature, or more --tokens.',
      'report/silent-feature',
    );
  }
  const drawn = featurePicture(found, {
    feature,
    sae: directory,
    architecture: files.architecture,
    hook: store.manifest.hook,
  });
  return { title: `Feature ${feature} of ${directory}`, command, ...drawn };
}

/**
 * One of the report's first two figures as a separate file.
 *
 * @param directory written by eval
 * @param command that draws it
 */
export async function evaluationFigure(
  name: 'pareto' | 'shrinkage',
  directory: string,
  command: string,
): Promise<FigureFile> {
  const entries = entriesOf(await readEvaluation(directory));
  if (name === 'shrinkage') {
    const points = pointsOf(entries, 'relative_reconstruction_bias');
    return {
      title: 'Relative reconstruction bias',
      svg: shrinkageFigure(points, {}),
      caption: `Relative reconstruction bias γ against L0 of the SAEs in ${directory}, with 95 % intervals. Below 1 (dotted), reconstructions are too small: shrinkage (Rajamanoharan et al. 2024, section 4.2). ${notDrawn(points, 'γ')}`,
      command,
    };
  }
  const points = pointsOf(entries, 'loss_recovered');
  const comparisons = comparisonsOf(points, null);
  const table = comparisons.length === 0 ? null : firingTable(comparisons);
  const overall = overallSentence(comparisons);
  return {
    title: 'Loss recovered against L0',
    svg: paretoFigure(points, {}),
    caption: `Loss recovered against L0 of the SAEs in ${directory}, with 95 % intervals. One point per SAE, one panel per hook. ${notDrawn(points, 'loss recovered')}`,
    sentences: [...comparisons.map(firingSentence), ...(overall === null ? [] : [overall])],
    table: table && {
      markup: table,
      caption: 'Firing features at equal loss recovered: L0 of gated SAEs over that of standard ones.',
    },
    command,
  };
}

/** A figure in a separate file. */
interface FigureFile {
  title: string;
  svg: Markup;
  caption: string;
  /** Text below the caption. */
  sentences?: readonly string[];
  table?: { markup: Markup; caption: string } | null;
  /** The command that draws it. */
  command: string;
}

/** White margin around the figure (pixels). */
const WHITE_EDGE = 12;

/**
 * The figure as an SVG file: in the light palette on white, with literal colours, since editors and typesetters do not
 * support CSS variables.
 */
export function svgFile({ svg }: FigureFile): string {
  const [, width = 0, height = 0] = (/viewBox="0 0 (\S+) (\S+)"/.exec(svg.text) ?? []).map(Number);
  const [w, h] = [width + 2 * WHITE_EDGE, height + 2 * WHITE_EDGE];
  const ground = `<rect x="${-WHITE_EDGE}" y="${-WHITE_EDGE}" width="${w}" height="${h}" fill="${LIGHT.paper}"/>`;
  const type = `color="${LIGHT.ink}" fill="${LIGHT.ink}" font-family="Helvetica, Arial, sans-serif" font-size="11"`;
  return `${svg.text
    .replace(/<svg class="plot"/, `<svg xmlns="http://www.w3.org/2000/svg" width="${w}" height="${h}" ${type}`)
    .replace(/viewBox="[^"]*" style="[^"]*"/, `viewBox="${-WHITE_EDGE} ${-WHITE_EDGE} ${w} ${h}"`)
    .replace('</desc>', `</desc>\n${ground}`)
    .replaceAll(/var\(--([\w-]+)\)/g, (_, name: string) => LIGHT[name] ?? 'none')}\n`;
}

/** The figure as a page, with its caption and numbers. */
function figurePage(file: FigureFile, generator: string): string {
  const { title, svg, caption, sentences = [], table, command } = file;
  const made = markup` <span class="made">Drawn by <code>${command}</code></span>`;
  const list =
    sentences.length === 0
      ? null
      : markup`<ul class="firing-sentences">
${sentences.map((sentence) => markup`<li>${sentence}</li>\n`)}</ul>
`;
  return page({
    title,
    saes: 0,
    body: markup`<header><h1>${title}</h1></header>
${captionedFigure(1, svg, caption, made)}
${table ? captionedTable(1, table.markup, table.caption, made) : null}${list}
<footer>${generator}</footer>`,
  });
}
