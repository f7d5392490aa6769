import { resolve, sep } from 'node:path';
import type { EvalConfig } from '../config/stages/eval.js';
import { type DocumentChoice, documentChoice, mayShare } from '../corpus/document-choice.js';
import { isHubCorpus } from '../corpus/hub-reference.js';
import { isStandardInput } from '../corpus/standard-input.js';
import { trainingRecordOf } from '../sae/training-record.js';
import type { Candidate } from './candidates.js';

/** A hub data set at any commit. */
const unpinned = (corpus: string) => corpus.replace(/^(hf:[^@/]+\/[^@/:]+)@[^/:]+/, '$1');

/** Two files or directories here, however their paths are written: one is the other, or lies within it. */
function overlap(one: string, other: string): 'same' | 'within' | undefined {
  const [a, b] = [resolve(one), resolve(other)];
  if (a === b) return 'same';
  return a.startsWith(b + sep) || b.startsWith(a + sep) ? 'within' : undefined;
}

type Choice = DocumentChoice | undefined;

/** Whether a corpus shares text with one of these, given which documents were chosen of each. */
function sharesText(name: string, before: readonly string[], then: Choice, now: Choice): boolean {
  if (isStandardInput(name)) return false;
  // Hub files are read in an order that depends on the seed, and may be of a different commit.
  if (isHubCorpus(name)) return before.some((one) => unpinned(one) === unpinned(name)) && mayShare(then, now, false);
  return before.some((one) => {
    const how = isHubCorpus(one) || isStandardInput(one) ? undefined : overlap(one, name);
    return how !== undefined && mayShare(then, now, how === 'same');
  });
}

/** A warning if SAEs were trained on text of a corpus used for the evaluation; otherwise undefined. */
export function seenText(candidates: readonly Candidate[], config: EvalConfig): string | undefined {
  const now = documentChoice(config, true);
  const shared = new Set<string>();
  const seen = candidates.filter(({ files }) => {
    const { activations } = trainingRecordOf(files.cfg);
    if (!activations) return false;
    const { corpus, documents } = activations;
    const before = documents?.mixture?.sources.map((source) => source.corpus) ?? [corpus];
    const same = config.corpus.filter((name) => sharesText(name, before, documents, now));
    for (const name of same) shared.add(name);
    return same.length > 0;
  });
  if (seen.length === 0) return undefined;
  const saes = seen.length === 1 ? `${seen[0]!.path} was` : `${seen.length} of the SAEs were`;
  return `${saes} also trained on text of ${[...shared].join(' and ')}: the figures may include text seen in training. Evaluate on another corpus, or train and evaluate with --holdout 1%.`;
}
