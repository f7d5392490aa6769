import { readdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { exists, type Unchanged } from '../disk/input-file.js';
import { asOwner, type ClaimOptions, claimOutputDirectory } from '../disk/output-directory.js';
import { writeAside } from '../disk/output-file.js';
import { Refusal, UsageRefusal } from '../errors/refusal.js';
import { floatTensor, type TensorToWrite, writeSafetensors } from '../safetensors/file.js';
import { canConvert, convert } from './convert.js';
import { PLAIN, type Sae } from './sae.js';
import { CFG_FILE, openSameSae, readSae, type SaeFiles } from './saelens.js';

/** File names of circuit-tracer 0.5: a configuration, written last, and one file per layer. */
const CONFIG_FILE = 'config.yaml';
const layerFile = (layer: number) => `layer_${layer}.safetensors`;
const ours = (name: string) => name === CONFIG_FILE || /^layer_\d+\.safetensors$/.test(name);

/** What to write, and where. */
interface SetSettings {
  /** A transcoder, or a directory with one per layer below it. */
  readonly sae: string;
  readonly out: string;
  readonly overwrite: boolean;
  readonly takeOver: boolean;
}

/** The transcoder of one layer. */
interface Layer {
  readonly path: string;
  readonly layer: number;
  /** Hooks without their layer: "ln2.hook_normalized". */
  readonly input: string;
  readonly output: string;
  readonly files: SaeFiles;
  readonly unchanged: Unchanged;
}

/**
 * Writes transcoders, one per layer from layer 0, as loaded by circuit-tracer 0.5 (its load_relu_transcoder and
 * load_transcoders): layer_N.safetensors with W_enc [d_sae, d_model], W_dec [d_sae, d_model], b_enc, b_dec, and if
 * present `activation_function.threshold` and W_skip [d_model, d_model].
 *
 * @param say told about a directory that is taken over
 * @returns the directory
 * @throws Refusal if layers are missing, or one cannot be represented in circuit-tracer
 */
export async function exportToCircuitTracer(
  config: SetSettings,
  say: (line: string) => void = () => {},
): Promise<string> {
  const { sae, out, overwrite } = config;
  if (resolve(sae) === resolve(out))
    throw new UsageRefusal('--out is the SAE itself.', 'Choose another --out.', 'disk/out-is-input');
  const takeOver = { unchecked: config.takeOver, say };
  const claim: ClaimOptions = { overwrite, ours, result: CONFIG_FILE, beginsAnew: true, inputs: [sae], takeOver };
  await asOwner([out], claim, async () => {
    const layers = await layersOf(sae);
    // All are read before anything is written: one of them may be damaged.
    for (const { path, files } of layers) checkForm(path, files);
    const tensors: TensorToWrite[][] = [];
    for (const { files, unchanged } of layers) {
      tensors.push(tensorsOf(await readSae(files)));
      await unchanged.check();
    }
    await claimOutputDirectory(out, claim);
    for (const [layer, own] of tensors.entries()) await writeSafetensors(join(out, layerFile(layer)), own);
    await writeAside(join(out, CONFIG_FILE), configOf(layers));
  });
  return out;
}

/** The transcoders in a directory, or the directory itself, by layer. */
async function layersOf(directory: string): Promise<Layer[]> {
  const single = await exists(join(directory, CFG_FILE));
  const names = single
    ? []
    : (await readdir(directory, { withFileTypes: true }).catch(() => [])).map(({ name }) => name);
  const paths: string[] = single ? [directory] : [];
  for (const name of names.sort()) {
    if (await exists(join(directory, name, CFG_FILE))) paths.push(join(directory, name));
  }
  const layers: Layer[] = [];
  for (const path of paths) layers.push(await layerAt(path));
  layers.sort((a, b) => a.layer - b.layer);
  checkSet(directory, layers);
  return layers;
}

const wrong = (cause: string, remedy: string) => new Refusal(`${cause}.`, remedy, 'sae/transcoder-set');

async function layerAt(path: string): Promise<Layer> {
  const { files, unchanged } = await openSameSae(path, 'transcoder');
  const { hook_name = '', hook_name_out = '' } = files.metadata;
  const [from, to] = [hook_name, hook_name_out].map((name) => /^blocks\.(\d+)\.(.+)$/.exec(name));
  if (!files.transcoder || !from || !to || from[1] !== to[1]) {
    throw wrong(
      `${path} is not a transcoder from one hook to another of one block`,
      'Give transcoders of an MLP, trained with --target or --hook-out.',
    );
  }
  return { path, layer: Number(from[1]), input: from[2]!, output: to[2]!, files, unchanged };
}

/** @throws Refusal if these are not one transcoder per layer with equal hooks and widths */
function checkSet(directory: string, layers: readonly Layer[]): void {
  const [first] = layers;
  if (!first)
    throw wrong(`${directory} contains no transcoder`, 'Give a directory with one transcoder per layer below it.');
  for (const [i, { path, layer, input, output, files }] of layers.entries()) {
    if (layer !== i) {
      const found = layers.map((one) => one.layer).join(', ');
      throw wrong(
        `${directory} has transcoders of the layers ${found}, but circuit-tracer needs one per layer, starting at layer 0`,
        'Train the missing ones, and keep one per layer.',
      );
    }
    const same = input === first.input && output === first.output && files.dSae === first.files.dSae;
    if (same && files.metadata.model_fingerprint === first.files.metadata.model_fingerprint) continue;
    throw wrong(
      `${path} differs from ${first.path} in its model, its hooks or its number of features`,
      'Give transcoders of one model with the same hooks and number of features.',
    );
  }
}

/** @throws Refusal if circuit-tracer cannot compute it */
function checkForm(path: string, { architecture, dIn, dOut, forward }: SaeFiles): void {
  if (dIn !== dOut) {
    throw wrong(
      `${path} has d_in ${dIn} and d_out ${dOut}, but circuit-tracer requires equal widths`,
      'Train it between two hooks of the width of the model.',
    );
  }
  if ((forward ?? PLAIN).normalize_activations !== 'none') {
    throw wrong(
      `${path} normalises its activations, which circuit-tracer does not`,
      'Use a transcoder trained without it.',
    );
  }
  if (architecture === 'standard' || canConvert(architecture, 'jumprelu')) return;
  throw new Refusal(
    `${path} is a ${architecture} transcoder, but circuit-tracer only supports ReLU and JumpReLU.`,
    'Train a transcoder of another architecture.',
    'sae/not-convertible',
  );
}

function tensorsOf(sae: Sae): TensorToWrite[] {
  const { dIn, dSae } = sae;
  const { parameters } = sae.architecture === 'standard' ? sae : convert(sae, 'jumprelu');
  const { W_enc, W_dec, b_enc, b_dec, threshold, W_skip } = parameters;
  const transposed = new Float32Array(dSae * dIn);
  for (let i = 0; i < dIn; i++) for (let j = 0; j < dSae; j++) transposed[j * dIn + i] = W_enc![i * dSae + j]!;
  return [
    floatTensor('W_enc', [dSae, dIn], transposed),
    floatTensor('W_dec', [dSae, dIn], W_dec!),
    floatTensor('b_enc', [dSae], b_enc!),
    floatTensor('b_dec', [dIn], b_dec!),
    // In circuit-tracer, f = p where p > θ, without a ReLU: a negative threshold becomes 0.
    ...(threshold
      ? [
          floatTensor(
            'activation_function.threshold',
            [dSae],
            threshold.map((t) => Math.max(0, t)),
          ),
        ]
      : []),
    ...(W_skip ? [floatTensor('W_skip', [dIn, dIn], W_skip)] : []),
  ];
}

/** JSON strings are valid YAML. */
function configOf([first]: readonly Layer[]): string {
  const { model_name } = first!.files.metadata;
  return [
    `model_name: ${JSON.stringify(model_name ?? null)}`,
    'model_kind: transcoder_set',
    `feature_input_hook: ${JSON.stringify(first!.input)}`,
    `feature_output_hook: ${JSON.stringify(first!.output)}`,
    'scan: null',
    '',
  ].join('\n');
}
