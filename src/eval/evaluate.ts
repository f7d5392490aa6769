import { copyFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Interrupted, Refusal } from '../config/refusal.js';
import type { EvalConfig } from '../config/stages.js';
import { batches, type Context, packContexts } from '../corpus/contexts.js';
import { corpusFiles, readDocuments } from '../corpus/documents.js';
import { checkEnoughText, tooFewTokens } from '../corpus/enough-text.js';
import { openTokenizer } from '../corpus/tokenizer.js';
import { claimOutputDirectory } from '../disk/output-directory.js';
import { writeAside } from '../disk/write-aside.js';
import { type Checkpoint, openCheckpoint } from '../lm/checkpoint.js';
import { chooseContext } from '../lm/context-length.js';
import { findHook, type Hook } from '../lm/hooks.js';
import type { Progress, StopRequest } from '../progress/progress.js';
import { openSae, type SaeFiles } from '../sae/saelens.js';
import { METRICS_FILE } from '../train/metrics-record.js';
import { countPositions } from './positions.js';
import type { EvalRecord } from './record.js';
import { openSpliceIn } from './splice-in.js';

export const EVAL_FILE = 'eval.json';
const curveFile = (i: number) => `training-${i}.jsonl`;
const ours = (name: string) => name === EVAL_FILE || /^training-\d+\.jsonl$/.test(name);

interface Candidate {
  readonly path: string;
  readonly files: SaeFiles;
  readonly hook: Hook;
}

/** Splices SAEs into the model on held-out text and writes eval.json; SAEs of one hook share a forward pass. */
export async function evaluate(config: EvalConfig, progress: Progress, stop: StopRequest): Promise<EvalRecord[]> {
  const checkpoint = await openCheckpoint(config.model);
  const candidates: Candidate[] = [];
  for (const path of config.sae) candidates.push(await openCandidate(path, config, checkpoint));
  const context = chooseContext(config.context ?? sharedContext(candidates), checkpoint.config);
  await corpusFiles(config.corpus);
  const tokenizer = await openTokenizer(config.model);
  const bos = tokenizer.bosTokenId;
  const contexts = () => packContexts(readDocuments(config.corpus, config.textField), tokenizer, context);
  await claimOutputDirectory(config.out, { overwrite: config.overwrite, ours });
  await checkEnoughText(contexts(), (c: Context) => countPositions(c, bos), config.tokens, config.corpus, progress);

  const records = new Map<Candidate, EvalRecord>();
  const hooks = [...new Set(candidates.map(({ hook }) => hook.name))];
  for (const name of hooks) {
    const group = candidates.filter(({ hook }) => hook.name === name);
    const { hook } = group[0]!;
    const spliceIn = await openSpliceIn(
      checkpoint,
      hook,
      group.map(({ files }) => files),
      context,
      config,
    );
    try {
      progress.begin(`evaluating ${name}`, config.tokens, 'token');
      let tokens = 0;
      for await (const batch of batches(contexts(), config.batch)) {
        tokens += await spliceIn.add(batch, bos, config.tokens - tokens);
        progress.update(tokens);
        if (stop.signal) throw new Interrupted(stop.signal, 'the evaluation was not finished and nothing was written.');
        if (tokens === config.tokens) break;
      }
      progress.end();
      if (tokens < config.tokens) throw tooFewTokens(config.corpus, tokens, config.tokens);
      for (const [k, metrics] of spliceIn.metrics().entries()) {
        const candidate = group[k]!;
        const { architecture, dIn, dSae, cfg } = candidate.files;
        const index = candidates.indexOf(candidate);
        const curve = await copyFile(join(candidate.path, METRICS_FILE), join(config.out, curveFile(index))).then(
          () => curveFile(index),
          () => null,
        );
        records.set(candidate, {
          sae: candidate.path,
          architecture,
          hook: name,
          model: checkpoint.name,
          d_in: dIn,
          d_sae: dSae,
          ...metrics,
          training_curve: curve,
          cfg,
        });
      }
    } finally {
      await spliceIn.release();
    }
  }
  const inOrder = candidates.map((candidate) => records.get(candidate)!);
  await writeAside(join(config.out, EVAL_FILE), `${JSON.stringify(inOrder, null, 1)}\n`);
  return inOrder;
}

async function openCandidate(path: string, config: EvalConfig, checkpoint: Checkpoint): Promise<Candidate> {
  const files = await openSae(path);
  const { hook_name, model_fingerprint, model_name } = files.metadata;
  const name = config.hook ?? hook_name;
  if (name === undefined) throw new Refusal(`${path}/cfg.json names no hook.`, 'Name it with --hook.');
  if (model_fingerprint !== undefined && model_fingerprint !== checkpoint.fingerprint && !config.anyModel) {
    throw new Refusal(
      `${path} was trained on another model (${model_name}, weights ${model_fingerprint.slice(0, 12)}…) than ${config.model} (${checkpoint.fingerprint.slice(0, 12)}…).`,
      'Give its own model, or --any-model to measure how it transfers.',
    );
  }
  const hook = findHook(name, checkpoint.config);
  if (files.dIn !== hook.width) {
    throw new Refusal(
      `${path} has d_in ${files.dIn}, and ${hook.name} of ${checkpoint.name} is ${hook.width} wide.`,
      'The SAE belongs to another model or hook.',
    );
  }
  return { path, files, hook };
}

/** The context length the SAEs were trained with, where they agree. */
function sharedContext(candidates: readonly Candidate[]): number | undefined {
  const lengths = new Set(candidates.map(({ files }) => files.metadata.context_size));
  if (lengths.size > 1) {
    throw new Refusal(
      `The SAEs were trained with different context lengths (${[...lengths].join(', ')}).`,
      'Say which to evaluate with: --context.',
    );
  }
  return [...lengths][0];
}
