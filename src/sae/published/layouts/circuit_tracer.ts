import { z } from 'zod';
import { checkJson, readTextFile } from '../../../disk/json.js';
import { Refusal } from '../../../errors/refusal.js';
import {
  baseName,
  type DescribedSae,
  folderOf,
  joined,
  type Layout,
  type LayoutInput,
  unsupported,
} from '../layout.js';
import { Tensors } from '../tensors.js';

const FILE = /^layer_(\d+)\.safetensors$/;
const AGAIN = 'Download the transcoders again.';

const config = z.looseObject({
  model_name: z.string().nullish(),
  model_kind: z.string().default('transcoder_set'),
  feature_input_hook: z.string(),
  feature_output_hook: z.string(),
});

/** @throws Refusal if it is not YAML, or contains anything but hooks */
async function readYaml(path: string): Promise<z.output<typeof config>> {
  const text = (await readTextFile(path, AGAIN, 2 ** 20)) ?? '';
  // Loaded only if there is such a file.
  const { parse } = await import('yaml');
  let value: unknown;
  try {
    value = parse(text, { maxAliasCount: 0 });
  } catch (cause) {
    throw new Refusal(`${path} is not YAML.`, AGAIN, 'sae/unsupported-layout', { cause });
  }
  return checkJson(config, value, path, AGAIN);
}

/** TransformerLens's name for the same value, if circuit-tracer's is not available here. */
const SAME: Readonly<Record<string, string>> = { hook_mlp_in: 'hook_resid_mid' };

async function read({ files }: LayoutInput): Promise<DescribedSae> {
  const path = files.weights!;
  const said = files.config === undefined ? undefined : await readYaml(files.config);
  if (said && said.model_kind !== 'transcoder_set') {
    unsupported(
      files.config!,
      `model_kind is ${JSON.stringify(said.model_kind)}`,
      'Choose transcoders of single layers.',
    );
  }
  const tensors = await Tensors.open(path);
  const [dSae, dIn] = tensors.matrix('W_enc');
  const [, dOut] = tensors.matrix('W_dec');
  const jumps = tensors.has('activation_function.threshold');
  const skip = tensors.has('W_skip');
  const known = ['W_enc', 'W_dec', 'b_enc', 'b_dec', 'W_skip', 'activation_function.threshold'];
  const other = tensors.names.find((name) => !known.includes(name));
  if (other !== undefined) unsupported(path, `it has ${other}, which circuit-tracer does not read`, AGAIN);
  const threshold = jumps ? tensors.perFeature('activation_function.threshold', dSae) : undefined;
  if (threshold && (await threshold()).some((value) => value < 0)) {
    unsupported(path, 'a threshold is negative, so that circuit-tracer passes negative activations', 'Choose others.');
  }
  const layer = FILE.exec(baseName(path))![1];
  const at = (site: string | undefined) => (site === undefined ? undefined : `blocks.${layer}.${SAME[site] ?? site}`);
  return {
    architecture: jumps ? 'jumprelu' : 'standard',
    transcoder: true,
    ...(skip && { skip: true as const }),
    ...{ dIn, dOut, dSae },
    forward: { apply_b_dec_to_input: false, normalize_activations: 'none' },
    metadata: {
      model_name: said?.model_name ?? undefined,
      hook_name: at(said?.feature_input_hook),
      hook_name_out: at(said?.feature_output_hook),
      prepend_bos: true,
    },
    values: {
      W_enc: tensors.transposed('W_enc', dSae, dIn),
      W_dec: tensors.values('W_dec', dSae, dOut),
      b_enc: tensors.values('b_enc', dSae),
      b_dec: tensors.values('b_dec', dOut),
      ...(threshold && { threshold }),
      ...(skip && { W_skip: tensors.values('W_skip', dOut, dIn) }),
    },
  };
}

/** Transcoders as loaded by circuit-tracer: layer_N.safetensors, and one config.yaml for all layers. */
export const circuitTracer: Layout = {
  name: 'circuit-tracer',
  publisher: 'circuit-tracer transcoders',
  find: async (place) => {
    if (!FILE.test(baseName(place.path)) || !(await place.has(place.path))) return undefined;
    const config = joined(folderOf(place.path), 'config.yaml');
    return { weights: place.path, ...((await place.has(config)) && { config }) };
  },
  read,
};
