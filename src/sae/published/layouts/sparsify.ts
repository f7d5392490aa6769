import { z } from 'zod';
import { checkAgrees, readConfig } from '../config.js';
import {
  baseName,
  type DescribedSae,
  filesNamed,
  folderOf,
  type Layout,
  type LayoutInput,
  unsupported,
} from '../layout.js';
import { Tensors } from '../tensors.js';

const config = z.looseObject({
  activation: z.string().default('topk'),
  expansion_factor: z.number().positive().optional(),
  num_latents: z.number().int().nonnegative().default(0),
  k: z.number().int().positive(),
  signed: z.boolean().default(false),
  skip_connection: z.boolean().default(false),
  transcode: z.boolean().default(false),
  d_in: z.number().int().positive(),
});

/** config.json next to the folders of the hook points describes the run. */
const run = z.looseObject({ model: z.string().optional(), ctx_len: z.number().int().min(2).optional() });

const NO_FORM = 'Choose an SAE with activation "topk".';

async function read({ files, name }: LayoutInput): Promise<DescribedSae> {
  const path = files.config!;
  const cfg = await readConfig(config, path);
  if (cfg.activation !== 'topk') unsupported(path, `activation is ${JSON.stringify(cfg.activation)}`, NO_FORM);
  if (cfg.signed) unsupported(path, 'signed is true: it keeps negative activations', NO_FORM);
  if (cfg.skip_connection && !cfg.transcode) {
    unsupported(path, 'skip_connection is true, but it is not a transcoder', 'Choose an SAE without it.');
  }
  const tensors = await Tensors.open(files.weights!);
  const [dSae, dIn] = tensors.matrix('encoder.weight');
  checkAgrees(path, 'd_in', cfg.d_in, dIn);
  const latents = cfg.num_latents || (cfg.expansion_factor && cfg.d_in * cfg.expansion_factor);
  checkAgrees(path, 'num_latents (or d_in × expansion_factor)', latents, dSae);
  if (cfg.k > dSae) unsupported(path, `k is ${cfg.k}, with ${dSae} features`, 'Download the SAE again.');
  if (tensors.has('W_skip') !== cfg.skip_connection) {
    unsupported(path, `skip_connection is ${cfg.skip_connection}, but the weights disagree`, AGAIN);
  }
  const about = files.run === undefined ? {} : await readConfig(run, files.run);
  return {
    architecture: 'topk',
    ...(cfg.transcode && { transcoder: true as const }),
    ...(cfg.skip_connection && { skip: true as const }),
    dIn,
    dOut: dIn,
    dSae,
    forward: {
      apply_b_dec_to_input: !cfg.transcode,
      normalize_activations: 'none',
      k: cfg.k,
      rescale_acts_by_decoder_norm: false,
    },
    metadata: { model_name: about.model, context_size: about.ctx_len, ...hooksOf(name, cfg.transcode, about.model) },
    values: {
      W_enc: tensors.transposed('encoder.weight', dSae, dIn),
      W_dec: tensors.values('W_dec', dSae, dIn),
      b_enc: tensors.values('encoder.bias', dSae),
      b_dec: tensors.values('b_dec', dIn),
      ...(cfg.skip_connection && { W_skip: tensors.values('W_skip', dIn, dIn) }),
    },
  };
}

const AGAIN = 'Download configuration and weights of one SAE.';

/**
 * Models whose blocks apply another norm to a module's output before adding it: there, the output is not a hook point.
 */
const NORMED_AFTER = /gemma-?[234]/i;

/** The hook points of a folder: layers.10, h.5.mlp. Ambiguous ones are left to --hook. */
function hooksOf(name: string, transcode: boolean, model: string | undefined) {
  const folder = baseName(/\.(safetensors|json)$/.test(name) ? folderOf(name) : name);
  const [, layer, module] =
    /^(?:[a-z_]+\.)*(?:layers|h)\.(\d+)(?:\.(mlp|self_attn|attn|attention))?$/.exec(folder) ?? [];
  if (layer === undefined) return {};
  const at = (site: string) => `blocks.${layer}.${site}`;
  if (module === undefined) return transcode ? {} : { hook_name: at('hook_resid_post') };
  if (model === undefined || NORMED_AFTER.test(model)) return {};
  const output = at(module === 'mlp' ? 'hook_mlp_out' : 'hook_attn_out');
  if (!transcode) return { hook_name: output };
  return module === 'mlp' ? { hook_name: at('mlp.hook_in'), hook_name_out: output } : {};
}

/** EleutherAI's sparsify: cfg.json and sae.safetensors in a folder per hook point. */
export const sparsify: Layout = {
  name: 'sparsify',
  publisher: 'EleutherAI sparsify',
  find: (place) => filesNamed(place, ['weights', 'sae.safetensors'], { config: 'cfg.json' }, { run: '../config.json' }),
  read,
};
