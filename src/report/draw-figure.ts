import { openStore, type Store } from '../activations/store.js';
import { Refusal, UsageRefusal } from '../config/refusal.js';
import type { FigureConfig } from '../config/stages.js';
import { version } from '../config/version.js';
import type { Progress, StopRequest } from '../progress/progress.js';
import { PLAIN } from '../sae/sae.js';
import { openSae, readSae, type SaeFiles } from '../sae/saelens.js';
import { type FigureFile, figurePage, svgFile } from './figure-file.js';
import { featurePicture } from './jump-relu/feature-picture.js';
import { featureOnTokens } from './jump-relu/projection.js';
import { toyPicture } from './jump-relu/toy-picture.js';
import { paperFigure } from './paper-figure.js';
import { shellWord } from './provenance.js';
import { readReference } from './reference.js';
import { checkOutputFile, writeOutputFile } from './write.js';

/**
 * Draws a figure of its own as config.out, .svg or .html.
 *
 * @returns the file's path
 * @throws Refusal where flags do not belong together, or the feature's SAE and store do not
 */
export async function drawFigure(config: FigureConfig, progress: Progress, stop: StopRequest): Promise<string> {
  const { name, out } = config;
  const kind = /\.(svg|html)$/.exec(out)?.[1];
  if (kind === undefined)
    throw new UsageRefusal(`--out ${out} is neither .svg nor .html.`, 'Give it one of the two endings.');
  const own = ['sae', 'feature', 'activations'] as const;
  const given = own.filter((flag) => config[flag] !== undefined);
  if (name !== 'jump-relu' && given.length > 0)
    throw new UsageRefusal(`--${given[0]} says nothing to figure ${name}.`, 'It belongs to figure jump-relu.');
  if (given.length > 0 && given.length < own.length) {
    const missing = own.filter((flag) => !given.includes(flag)).map((flag) => `--${flag}`);
    throw new UsageRefusal(
      `${missing.join(' and ')} missing.`,
      'A trained feature is named by --sae, --feature and --activations.',
    );
  }
  await checkOutputFile(out, config.overwrite);
  const command = commandOf(config);
  const file =
    name === 'paper-gemma-7b'
      ? await paperFile(command)
      : given.length > 0
        ? await featureFile(config, command, progress, stop)
        : { title: 'ReLU and JumpReLU on a toy model', command, ...toyPicture() };
  return writeOutputFile(out, kind === 'svg' ? svgFile(file) : figurePage(file, `sae-pipe ${version()}`));
}

function commandOf({ name, sae, feature, activations, tokens, seed, out }: FigureConfig): string {
  const of =
    sae === undefined || activations === undefined
      ? []
      : [`--sae ${shellWord(sae)} --feature ${feature} --activations ${shellWord(activations)} --tokens ${tokens}`];
  const dealt = of.length > 0 && seed !== 0 ? [`--seed ${seed}`] : [];
  return ['sae-pipe figure', name, ...of, ...dealt, '--out', shellWord(out)].join(' ');
}

async function paperFile(command: string): Promise<FigureFile> {
  const { svg, table, sentences } = paperFigure(await readReference('paper-gemma-7b'));
  return {
    title: 'Gated and standard SAEs on Gemma 7B, as published',
    svg,
    caption:
      'Loss recovered against L0 of gated and standard SAEs on Gemma 7B, by site and layer: figure 1 of Rajamanoharan et al. 2024 (arXiv 2404.16014 v2), redrawn from the numbers of its tables 1 to 4. Standard SAEs are half as wide again.',
    sentences,
    table: table && {
      markup: table,
      caption:
        'Firing features at equal loss recovered: L0 of gated SAEs over that of standard ones. Curves are the SAEs that no other of their kind dominates, ln L0 linear in −ln(1 − loss recovered) between them; nothing is extrapolated.',
    },
    command,
  };
}

/** @throws Refusal where the picture cannot be drawn of this feature, or not on this store */
function checkFeature(files: SaeFiles, feature: number, { directory: activations, manifest }: Store): void {
  const { directory, architecture, forward, metadata } = files;
  if (architecture !== 'gated' && architecture !== 'standard') {
    throw new Refusal(`${directory} is a ${architecture} SAE.`, 'figure jump-relu knows gated and standard ones.');
  }
  const { apply_b_dec_to_input: centred, normalize_activations: normalised } = forward ?? PLAIN;
  if (!centred || normalised !== 'none') {
    throw new Refusal(
      `${directory} encodes something else than x − b_dec (apply_b_dec_to_input ${centred}, normalize_activations ${normalised}).`,
      'figure jump-relu knows SAEs as they are trained here.',
    );
  }
  if (feature >= files.dSae) {
    throw new UsageRefusal(
      `--feature ${feature} is not among the ${files.dSae} features of ${directory}.`,
      'They are counted from 0.',
    );
  }
  const { d_in, hook, model } = manifest;
  const { hook_name = hook, model_fingerprint = model.fingerprint, model_name = 'its model' } = metadata;
  if (d_in !== files.dIn || hook_name !== hook || model_fingerprint !== model.fingerprint) {
    throw new Refusal(
      `${activations} holds activations of ${model.name} at ${hook} (d_in ${d_in}), which ${directory} was not trained on.`,
      `Give a store of ${model_name} at ${hook_name} (d_in ${files.dIn}).`,
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
  const files = await openSae(directory);
  const store = await openStore(activations);
  checkFeature(files, feature, store);
  const found = await featureOnTokens(await readSae(files), feature, store, config, progress, stop);
  if (!found.f.some((f) => f > 0)) {
    throw new Refusal(
      `Feature ${feature} is on on none of the ${found.f.length} tokens looked at.`,
      'Choose another --feature, or more --tokens.',
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
