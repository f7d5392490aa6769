import { z } from 'zod';
import { readConfig } from '../config.js';
import { hookOfModule } from '../hf-hooks.js';
import { type DescribedSae, filesNamed, type Layout, type LayoutInput, unsupported } from '../layout.js';
import { Tensors } from '../tensors.js';

const config = z.looseObject({
  architecture: z.string(),
  model_name: z.string().nullish(),
  hf_hook_point_in: z.string().nullish(),
  hf_hook_point_out: z.string().nullish(),
  affine_connection: z.boolean().nullish(),
});

/** Information in the folder name if there is no config.json: resid_post_all/layer_3_width_16k_l0_small. */
const FOLDER = /(?:^|\/)(resid_post|attn_out|mlp_out|transcoder)(?:_all)?\/layer_(\d+)_/;
const HOOKS: Readonly<Record<string, readonly [input: string, output?: string]>> = {
  resid_post: ['hook_resid_post'],
  attn_out: ['attn.hook_z'],
  mlp_out: ['hook_mlp_out'],
  transcoder: ['mlp.hook_in', 'hook_mlp_out'],
};
const REPOSITORY = /gemma-scope-2-([^/]+)/;
const NAMES = ['w_enc', 'w_dec', 'b_enc', 'b_dec', 'threshold', 'affine_skip_connection'];
const LATER = 'Choose an SAE or a transcoder of one layer.';

/** Hooks and model, from configuration or folder name. */
function hooksOf(said: z.output<typeof config> | undefined, name: string, path: string) {
  const [, kind, layer] = FOLDER.exec(name) ?? [];
  const [input, output] = kind === undefined ? [] : HOOKS[kind]!.map((site) => `blocks.${layer}.${site}`);
  const named = (module: string | null | undefined, folder: string | undefined) => {
    if (module == null) return folder;
    const hook = hookOfModule(module);
    if (hook === undefined)
      unsupported(path, `it reads or writes ${module}, which is not a supported hook point`, LATER);
    if (folder !== undefined && folder !== hook) {
      unsupported(path, `config.json names ${module}, but its folder ${folder}`, 'Download the SAE again.');
    }
    return hook;
  };
  const model = said?.model_name ?? REPOSITORY.exec(name)?.[1]?.replace(/^/, 'gemma-3-');
  return {
    hook_name: named(said?.hf_hook_point_in, input),
    hook_name_out: named(said?.hf_hook_point_out, output),
    // On the hub, the smallest base model has no -pt suffix.
    model_name: model && `google/${model.replace(/^google\//, '').replace('-v3', '-3')}`.replace(/(270m)-pt$/, '$1'),
  };
}

async function read({ files, name }: LayoutInput): Promise<DescribedSae> {
  const path = files.weights!;
  const said = files.config === undefined ? undefined : await readConfig(config, files.config);
  if (said && said.architecture !== 'jump_relu') {
    unsupported(files.config!, `architecture is ${JSON.stringify(said.architecture)}, not "jump_relu"`, LATER);
  }
  const tensors = await Tensors.open(path);
  if (tensors.shape('w_enc').length === 3) unsupported(path, 'it is a crosscoder of several layers', LATER);
  if (tensors.shape('w_dec').length === 3) unsupported(path, 'it is a cross-layer transcoder', LATER);
  const other = tensors.names.find((found) => !NAMES.includes(found));
  if (other !== undefined) unsupported(path, `it has ${other}, which no Gemma Scope 2 SAE has`, LATER);
  const hooks = hooksOf(said, name, files.config ?? path);
  const [dIn, dSae] = tensors.matrix('w_enc');
  const [, dOut] = tensors.matrix('w_dec');
  const skip = tensors.has('affine_skip_connection');
  const transcoder = hooks.hook_name_out !== undefined;
  if ((said?.affine_connection ?? skip) !== skip) {
    unsupported(path, `affine_connection is ${said?.affine_connection}, but the weights disagree`, AGAIN);
  }
  if (skip && !transcoder) unsupported(path, 'it has a skip connection, but its output hook is not given', AGAIN);
  return {
    architecture: 'jumprelu',
    ...(transcoder && { transcoder: true as const }),
    ...(skip && { skip: true as const }),
    dIn,
    dOut,
    dSae,
    forward: { apply_b_dec_to_input: false, normalize_activations: 'none' },
    metadata: { ...hooks, context_size: 1024, prepend_bos: true },
    values: {
      W_enc: tensors.values('w_enc', dIn, dSae),
      W_dec: tensors.values('w_dec', dSae, dOut),
      b_enc: tensors.values('b_enc', dSae),
      b_dec: tensors.values('b_dec', dOut),
      threshold: tensors.values('threshold', dSae),
      ...(skip && { W_skip: tensors.transposed('affine_skip_connection', dIn, dOut) }),
    },
  };
}

const AGAIN = 'Download configuration and weights of one SAE.';

/** Gemma Scope 2: params.safetensors and config.json. */
export const gemmaScope2: Layout = {
  name: 'gemma-scope-2',
  publisher: 'Gemma Scope 2',
  find: (place) => filesNamed(place, ['weights', 'params.safetensors'], {}, { config: 'config.json' }),
  read,
};
