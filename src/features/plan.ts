import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { FeaturesConfig } from '../config/stages/features.js';
import { type LeftOut, LOOK_AHEAD, leftOutTokens } from '../corpus/contexts.js';
import { documentChoice } from '../corpus/document-choice.js';
import { corpusSettings } from '../corpus/documents.js';
import { corpusName } from '../corpus/mixture.js';
import { Text, type TokenizerFacts } from '../corpus/text.js';
import { type MemoryParts, PROGRAM_MEMORY, THREAD_MEMORY } from '../disk/space.js';
import {
  type Candidate,
  excludedTokens,
  normRuleOf,
  openCandidate,
  rolesThatCount,
  sharedBos,
  sharedContext,
} from '../eval/candidates.js';
import { activationMemory, harvestGraph } from '../harvest/forward-pass.js';
import { type Checkpoint, openCheckpoint } from '../lm/checkpoint.js';
import type { ModelConfig } from '../lm/family.js';
import type { Hook } from '../lm/hooks.js';
import { blockParameters, chooseBos, chooseContext, choosePrecision, contextsAtOnce } from '../lm/pass.js';
import type { Placement } from '../lm/placement.js';
import { weightMemory } from '../onnx/graph.js';
import type { Device } from '../onnx/session.js';
import { MOST_SAMPLED, samplingStep } from './cofiring.js';
import { encoderGraph, encoderRows } from './encoder.js';
import type { FeaturesRecord } from './folder.js';
import { saeNames } from './sae-names.js';
import { tallyBytes } from './tally.js';

/** SAEs, model and text of a `features` command, checked against each other; nothing has been computed yet. */
export interface FeaturesPlan {
  readonly checkpoint: Checkpoint;
  readonly placement: Placement;
  readonly candidates: readonly Candidate[];
  /** The distinct hooks that they read. */
  readonly inputs: readonly Hook[];
  readonly text: Text;
  /** Tokens per context. */
  readonly context: number;
  readonly leftOut: LeftOut;
  /** Contexts per forward pass. */
  readonly batch: number;
  /** What a resumed run must share with the first: features.json except its results. */
  readonly identity: FeaturesIdentity;
}

/** The part of features.json known beforehand. */
export type FeaturesIdentity = Omit<
  FeaturesRecord,
  'format' | 'version' | 'made_by' | 'text_sha256' | 'contexts' | 'saes'
> & {
  readonly saes: Omit<FeaturesRecord['saes'][number], FoundOut>[];
};

/** The results in an SAE's entry of features.json. */
type FoundOut = 'left_out' | 'alive' | 'l0' | 'cofiring_tokens';

/**
 * Opens everything that a command names; the caller must close its text.
 *
 * @param model the model's directory
 * @param directories where each SAE is, by the name given in the command
 * @throws Refusal if something is missing or does not fit
 */
export async function planFeatures(
  config: FeaturesConfig,
  model: string,
  directories: ReadonlyMap<string, string>,
): Promise<FeaturesPlan> {
  const checkpoint = await openCheckpoint(model);
  const placement = choosePrecision(config.precision, config.device, checkpoint);
  const candidates: Candidate[] = [];
  for (const [path, directory] of directories) {
    candidates.push(await openCandidate(path, config, checkpoint, directory));
  }
  const context = chooseContext(config.context ?? sharedContext(candidates), checkpoint.config);
  const wanted = config.prependBos;
  const bos = wanted === undefined ? sharedBos(candidates, checkpoint.config) : chooseBos(wanted, checkpoint.config);
  const { bosTokenId, vocabulary, special } = checkpoint.config;
  const text = await Text.open({
    ...{ model, expected: { bosTokenId, vocabulary, special, bos }, context },
    ...corpusSettings({ ...config, roles: rolesThatCount(candidates, config) }),
    documents: documentChoice(config, true),
  });
  try {
    const excluded = excludedTokens(candidates, config, text.facts);
    const { prependBos } = text.facts;
    const inputs = [...new Map(candidates.map(({ input }) => [input.name, input])).values()];
    const batch = Math.min(config.batch, contextsOfPass(checkpoint.config, candidates, context, config.device));
    const about = { context, facts: text.facts, excluded, batch, precision: placement.precision };
    return {
      ...{ checkpoint, placement, candidates, inputs, text, context, batch },
      leftOut: leftOutTokens(prependBos ? text.facts.bosTokenId : null, excluded),
      identity: identityOf(config, checkpoint, candidates, about),
    };
  } catch (error) {
    await text.close({ say() {} });
    throw error;
  }
}

/** Contexts that go through the model and the encoders at a time, with nothing else in parallel. */
function contextsOfPass(
  config: ModelConfig,
  candidates: readonly Candidate[],
  context: number,
  device: Device,
): number {
  const blocks = Math.max(...candidates.map(({ input }) => input.layer + 1));
  const encoders = candidates.reduce((sum, { files }) => sum + files.dIn * files.dSae, 0);
  return contextsAtOnce(blockParameters(config, 0, blocks) + encoders, context, device);
}

function identityOf(
  config: FeaturesConfig,
  checkpoint: Checkpoint,
  candidates: readonly Candidate[],
  about: { context: number; facts: TokenizerFacts; excluded: number[]; batch: number; precision: string },
): FeaturesIdentity {
  const names = saeNames(candidates.map(({ path }) => path));
  const { topK, window, device, tokens, textField, encoding } = config;
  const documents = documentChoice(config, true);
  const { name, fingerprint } = checkpoint;
  const { prependBos, chat } = about.facts;
  return {
    model: { name, fingerprint, vocabulary: checkpoint.config.vocabulary },
    ...{ corpus: corpusName(config), text_field: textField, encoding, tokens },
    ...(documents && { documents }),
    ...(chat && { chat: { ...chat, roles: chat.roles?.slice() } }),
    context: about.context,
    prepend_bos: prependBos,
    exclude_special_tokens: about.excluded,
    settings: {
      top_k: topK,
      window: [window[0]!, window[1]!],
      ...{ device, precision: about.precision, batch: about.batch },
    },
    saes: candidates.map((candidate, i) => {
      const { path, files, unchanged, hook, input } = candidate;
      const rule = normRuleOf([candidate], config);
      return {
        ...names[i]!,
        ...{ path, architecture: files.architecture, hook: input.name },
        ...(files.transcoder && { transcoder: true, hook_out: hook.name }),
        ...{ d_in: files.dIn, d_sae: files.dSae },
        ...(files.forward?.k !== undefined && { k: files.forward.k }),
        ...(rule && { norm_limit: { multiple: rule.multiple, median: rule.median } }),
        sha256: unchanged.digest,
      };
    }),
  };
}

/** Weights while a session opens: some exist both as stored and converted. */
const OPENING = 1.5;
/** Margin on the estimate of a pass's values. */
const PASSES = 2;
/** Memory of a tokenizer while it is opened, relative to the size of tokenizer.json. */
const TOKENIZER = 20;
/** Bins of a histogram: 40 octaves, more than activations span. */
const BINS = 160;
/** Matrices of 64 MiB alive when directions are compared: cosines, masked cosines, the largest of them. */
const COMPARED = 4 * 2 ** 26;

/** Approximate bytes per feature in the files: its row and its examples, compressed. */
const FILE_BYTES = 6000;
/** Assumed share of entries above 0: far more than in a sparse SAE. */
const SPARSE = 0.1;

/** Max bytes that a run writes: two states, the older of which is removed once the newer is in place, and the files. */
export function featuresBytes({ candidates }: FeaturesPlan, config: FeaturesConfig): number {
  const [features, sampled] = sizes(candidates, config);
  return (
    features * (2 * tallyBytes(settingsOf(config), BINS) + FILE_BYTES) +
    16 * SPARSE * sampled.reduce((a, b) => a + b, 0)
  );
}

const settingsOf = ({ topK, window }: FeaturesConfig) => ({ topK, window: [window[0]!, window[1]!] as const });

/** Features of all SAEs, and max entries of each one's co-firing sample. */
function sizes(candidates: readonly Candidate[], { tokens }: FeaturesConfig): [features: number, sampled: number[]] {
  const each = candidates.map(({ files }) => files.dSae);
  const sampled = Math.ceil(tokens / samplingStep(tokens));
  return [each.reduce((a, b) => a + b, 0), each.map((dSae) => Math.min(MOST_SAMPLED, sampled * dSae))];
}

/** Max memory of a run in bytes: per feature, plus 4 bytes per token of the text. */
export async function featuresMemory(plan: FeaturesPlan, config: FeaturesConfig): Promise<MemoryParts> {
  const { tokens } = config;
  const { checkpoint, placement, candidates, inputs, context, batch } = plan;
  const { bytes: weights } = weightMemory(harvestGraph(checkpoint, inputs, context, 'float32', placement));
  const files = candidates.map((candidate) => candidate.files);
  const encoders = files.map((sae) => weightMemory(encoderGraph(sae)).bytes);
  const [features, samples] = sizes(candidates, config);
  const f = files.map(({ dSae }) => 4 * Math.min(encoderRows(dSae), context) * dSae);
  const entries = files.map(({ dSae }) => 28 * context * dSae);
  const directions = files.map(({ dIn, dOut, dSae }) => 4 * (dIn + dOut) * dSae);
  const { size } = await stat(join(checkpoint.directory, 'tokenizer.json'));
  // When directions are compared, the model and the encoders are closed.
  const pass = PASSES * activationMemory(checkpoint.config, inputs, batch, context) + Math.max(...f);
  const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);
  const { vocabulary, hidden } = checkpoint.config;
  const compared = OPENING * (Math.max(...directions) + 4 * vocabulary * hidden) + COMPARED;
  return {
    'model and SAEs': Math.max(OPENING * (weights + sum(encoders)) + pass, compared),
    features: features * tallyBytes(settingsOf(config), BINS),
    // As read, sorted by feature, and sums.
    'co-firing': sum(samples) * 8 + Math.max(...samples) * 8,
    entries: SPARSE * sum(entries),
    text: THREAD_MEMORY + TOKENIZER * size + 4 * Math.min(tokens, LOOK_AHEAD) + 8 * tokens,
    program: PROGRAM_MEMORY,
  };
}
