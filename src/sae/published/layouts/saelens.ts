import { isJsonObject, type JsonObject, readJsonFile } from '../../../disk/json.js';
import { parametersOf } from '../../registry.js';
import { parameterShape } from '../../sae.js';
import { readCfg } from '../../saelens.js';
import { type DescribedSae, filesNamed, type Layout, type LayoutInput, unsupported } from '../layout.js';
import { exponential, foldScale, Tensors } from '../tensors.js';

/** Written by version 5 as true. */
const SCALED = ['expected_average_only_in', true];

const AGAIN = 'Download the SAE again; cfg.json and weights must be of one SAE.';

/** @throws Refusal if it was trained on a model with processed weights, whose activations differ */
function checkModel({ model_from_pretrained_kwargs, metadata }: JsonObject, path: string): void {
  const asked = isJsonObject(metadata) ? metadata.model_from_pretrained_kwargs : undefined;
  for (const changes of [model_from_pretrained_kwargs, asked]) {
    if (!isJsonObject(changes) || changes.center_writing_weights !== true) continue;
    unsupported(
      path,
      'it was trained on a model with center_writing_weights, whose activations are centred',
      'Choose an SAE trained on the unprocessed model.',
    );
  }
}

/** The same files as ours, except for thresholds stored as logarithms, and a scale given elsewhere. */
async function read({ files, scale }: LayoutInput): Promise<DescribedSae | null> {
  const path = files.config!;
  const json = await readJsonFile(path, [`${path} does not exist.`, AGAIN], AGAIN, 2 ** 20);
  if (isJsonObject(json)) checkModel(json, path);
  const tensors = await Tensors.open(files.weights!);
  const fold = scale !== undefined && isJsonObject(json) && SCALED.includes(json.normalize_activations as string);
  const logarithms = tensors.has('log_threshold') && !tensors.has('threshold');
  if (!fold && !logarithms) return null;
  const sae = readCfg(fold ? { ...(json as object), normalize_activations: 'none' } : json, path);
  const values: DescribedSae['values'] = {};
  for (const name of parametersOf(sae)) {
    const shape = parameterShape(name, sae);
    values[name] =
      name === 'threshold' && logarithms
        ? exponential(tensors.values('log_threshold', ...shape))
        : tensors.values(name, ...shape);
  }
  return { ...sae, values: fold ? foldScale(values, scale) : values };
}

/** SAELens, version 6 and earlier: cfg.json and sae_weights.safetensors. */
export const saelens: Layout = {
  name: 'saelens',
  publisher: 'SAELens',
  find: (place) => filesNamed(place, ['weights', 'sae_weights.safetensors'], { config: 'cfg.json' }),
  read,
};
