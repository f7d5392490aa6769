import { Refusal } from '../../errors/refusal.js';
import type { ConfigFile, Family, Keys, ModelConfig, ModelType } from '../family.js';
import { gemma1, gemma2, gemma3, vaultGemma } from './gemma.js';
import { gemma4 } from './gemma4.js';
import { gptNeox } from './gpt-neox.js';
import { gpt2 } from './gpt2.js';
import { hookedTransformer, isHookedTransformer } from './hooked-transformer.js';
import { llama, mistral, qwen2, qwen3 } from './llama.js';

/** The families, by the `model_type` of config.json. */
const FAMILIES: Readonly<Record<ModelType, Family>> = {
  gemma: gemma1,
  gemma2,
  gemma3_text: gemma3,
  vaultgemma: vaultGemma,
  gemma4_text: gemma4,
  llama,
  mistral,
  qwen2,
  qwen3,
  gpt_neox: gptNeox,
  gpt2,
  HookedTransformer: hookedTransformer,
};

/** Model types that wrap a language model's configuration in `text_config`, with the type expected there. */
const WRAPPERS: Readonly<Record<string, ModelType>> = { gemma3: 'gemma3_text', gemma4: 'gemma4_text' };

/**
 * Reads a config.json.
 *
 * @param json the file, parsed
 * @param path its path, for messages
 * @throws Refusal for an unknown architecture, a missing key, or an unsupported setting
 */
export function parseModelConfig(json: unknown, path: string): ModelConfig {
  const outer = (json !== null && typeof json === 'object' ? json : {}) as Keys;
  const named = typeof outer.model_type === 'string' ? outer.model_type : '';
  const type = isHookedTransformer(outer) ? 'HookedTransformer' : named;
  if (Object.hasOwn(FAMILIES, type)) return FAMILIES[type as ModelType].parse({ path, keys: outer, outer });
  if (Object.hasOwn(WRAPPERS, type)) {
    const inner = WRAPPERS[type]!;
    const file = nested(outer, path);
    if ((file.keys.model_type ?? inner) === inner) return FAMILIES[inner].parse(file);
  }
  throw unknownType(outer, path);
}

function nested(outer: Keys, path: string): ConfigFile {
  const keys = outer.text_config as Keys | null | undefined;
  if (!keys || typeof keys !== 'object') {
    throw new Refusal(
      `${path} has no text_config.`,
      'Use the config.json that came with the checkpoint.',
      'lm/no-text-config',
    );
  }
  const { bos_token_id: bos } = outer;
  return { path, keys: bos == null ? keys : { bos_token_id: bos, ...keys }, outer };
}

function unknownType(outer: Keys, path: string): Refusal {
  const inner = (outer.text_config as Keys | undefined)?.model_type;
  const named = Array.isArray(outer.architectures) ? ` (${outer.architectures.slice(0, 3).join(', ')})` : '';
  const around = inner === undefined ? '' : ` around ${JSON.stringify(inner)}`;
  return new Refusal(
    `${path} describes a model of type ${JSON.stringify(outer.model_type)}${named}${around}, which is not supported.`,
    `Use a model of type ${[...Object.keys(FAMILIES), ...Object.keys(WRAPPERS)].join(', ')}.`,
    'lm/unsupported-model',
  );
}
