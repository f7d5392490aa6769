import { copyFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { EvalConfig } from '../config/stages.js';
import { batches, type Context, packContexts } from '../corpus/contexts.js';
import { corpusFiles, readDocuments } from '../corpus/documents.js';
import { checkEnoughText, tooFewTokens } from '../corpus/enough-text.js';
import { openTokenizer } from '../corpus/tokenizer.js';
import { checkOutputDirectory, claimOutputDirectory } from '../disk/output-directory.js';
import { writeAside } from '../disk/write-aside.js';
import { modelDirectory } from '../hub/model-directory.js';
import { type Checkpoint, openCheckpoint } from '../lm/checkpoint.js';
import { chooseContext } from '../lm/context-length.js';
import { choosePrecision } from '../lm/precision.js';
import type { Progress, StopRequest } from '../progress/progress.js';
import { openSae } from '../sae/saelens.js';
import { METRICS_FILE } from '../train/metrics-record.js';
import { type Candidate, openCandidate, sharedContext } from './candidate.js';
import { decoderMaxCosine } from './decoder-cosine.js';
import { interrupted } from './interrupted.js';
import type { Metrics } from './metrics.js';
import { countPositions } from './positions.js';
import type { DecoderMaxCosine, MeasuredRecord } from './record.js';
import { openSpliceIn } from './splice-in.js';

export const EVAL_FILE = 'eval.json';
const curveFile = (i: number) => `training-${i}.jsonl`;
const ours = (name: string) => name === EVAL_FILE || /^training-\d+\.jsonl$/.test(name);

/** Counted positions, the first of the text, whose mean is taken beforehand for that of all. */
const MEAN_POSITIONS = 16_384;

/** Splices SAEs into the model on held-out text and writes eval.json; SAEs of one hook share a forward pass. */
export async function evaluate(config: EvalConfig, progress: Progress, stop: StopRequest): Promise<MeasuredRecord[]> {
  // Before the model, which may have to be downloaded.
  await corpusFiles(config.corpus);
  await checkOutputDirectory(config.out, { overwrite: config.overwrite, ours });
  for (const path of config.sae) await openSae(path);
  const model = await modelDirectory(config, progress, stop);
  const checkpoint = await openCheckpoint(model);
  const candidates: Candidate[] = [];
  for (const path of config.sae) candidates.push(await openCandidate(path, config, checkpoint));
  const context = chooseContext(config.context ?? sharedContext(candidates), checkpoint.config);
  choosePrecision(config.precision, config.device, checkpoint);
  const tokenizer = await openTokenizer(model, checkpoint.config.bosTokenId);
  const bos = tokenizer.bosTokenId;
  const contexts = () => packContexts(readDocuments(config.corpus, config.textField), tokenizer, context);
  const count = (c: Context) => countPositions(c, bos);
  await checkEnoughText(contexts(), count, config.tokens, config.corpus, progress, stop);

  const measured = new Map<Candidate, Metrics>();
  for (const name of new Set(candidates.map(({ hook }) => hook.name))) {
    const group = candidates.filter(({ hook }) => hook.name === name);
    const metrics = await evaluateHook(group, checkpoint, contexts, context, bos, config, progress, stop);
    for (const [k, candidate] of group.entries()) measured.set(candidate, metrics[k]!);
  }
  const cosines = new Map<Candidate, DecoderMaxCosine>();
  for (const candidate of candidates) {
    cosines.set(candidate, await decoderMaxCosine(candidate.files, config, progress, stop));
  }

  await claimOutputDirectory(config.out, { overwrite: config.overwrite, ours });
  const records: MeasuredRecord[] = [];
  for (const [i, candidate] of candidates.entries()) {
    const { architecture, dIn, dSae, cfg } = candidate.files;
    records.push({
      sae: candidate.path,
      architecture,
      hook: candidate.hook.name,
      model: checkpoint.name,
      d_in: dIn,
      d_sae: dSae,
      ...measured.get(candidate)!,
      decoder_max_cosine: cosines.get(candidate)!,
      training_curve: await copyCurve(candidate.path, config.out, curveFile(i)),
      cfg,
    });
  }
  await writeAside(join(config.out, EVAL_FILE), `${JSON.stringify(records, null, 1)}\n`);
  return records;
}

/** Metrics of SAEs that share a hook, over exactly config.tokens positions. */
async function evaluateHook(
  group: readonly Candidate[],
  checkpoint: Checkpoint,
  contexts: () => AsyncIterable<Context>,
  context: number,
  bos: number,
  config: EvalConfig,
  progress: Progress,
  stop: StopRequest,
): Promise<Metrics[]> {
  const { hook } = group[0]!;
  const files = group.map((candidate) => candidate.files);
  const spliceIn = await openSpliceIn(checkpoint, hook, files, context, config);
  /** Feeds the first `wanted` positions of the text to `take`, which says how many it counted. */
  const feed = async (label: string, wanted: number, take: typeof spliceIn.add) => {
    progress.begin(`${label} ${hook.name}`, wanted, 'token');
    let tokens = 0;
    for await (const batch of batches(contexts(), config.batch)) {
      tokens += await take(batch, bos, wanted - tokens);
      progress.update(tokens);
      if (stop.signal) throw interrupted(stop.signal);
      if (tokens === wanted) break;
    }
    progress.end();
    if (tokens < wanted) throw tooFewTokens(config.corpus, tokens, wanted);
  };
  try {
    await feed('taking the mean of', Math.min(config.tokens, MEAN_POSITIONS), spliceIn.addToMean);
    await feed('evaluating', config.tokens, spliceIn.add);
    return spliceIn.metrics();
  } finally {
    await spliceIn.release();
  }
}

/** Copies the SAE's training curve beside eval.json, where it has one. */
async function copyCurve(sae: string, out: string, name: string): Promise<string | null> {
  return copyFile(join(sae, METRICS_FILE), join(out, name)).then(
    () => name,
    () => null,
  );
}
