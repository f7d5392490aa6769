import { dirname, isAbsolute, resolve, sep } from 'node:path';
import { runDirectory } from '../config/run-file.js';
import type { EvalConfig } from '../config/stages/eval.js';
import { type DocumentChoice, documentChoice, mayShare } from '../corpus/document-choice.js';
import { isHubCorpus } from '../corpus/hub-reference.js';
import { isStandardInput } from '../corpus/standard-input.js';
import { trainingRecordOf } from '../sae/training-record.js';
import type { Candidate } from './candidates.js';

/** A hub data set at any commit. */
const unpinned = (corpus: string) => corpus.replace(/^(hf:[^@/]+\/[^@/:]+)@[^/:]+/, '$1');

/**
 * Where a path in the record of an SAE may lead: it may be relative to this directory, to the one in which the SAE was
 * trained, or to one above the SAE, since an SAE and its text usually lie in one project.
 */
async function placesOf(corpus: string, sae: string): Promise<string[]> {
  if (isAbsolute(corpus)) return [resolve(corpus)];
  const given = [process.cwd(), (await runDirectory(sae)) ?? process.cwd()].map((base) => resolve(base, corpus));
  const above: string[] = [];
  for (let at = resolve(sae); dirname(at) !== at; at = dirname(at)) above.push(resolve(at, corpus));
  // `.` and `..` would be all that lies around the SAE.
  return [...given, ...above.filter((place) => !(resolve(sae) + sep).startsWith(place + sep))];
}

/** Two files or directories, however their paths are written: one is the other, or lies within it. */
function overlap(one: string, places: readonly string[]): 'same' | 'within' | undefined {
  const a = resolve(one);
  if (places.includes(a)) return 'same';
  return places.some((b) => a.startsWith(b + sep) || b.startsWith(a + sep)) ? 'within' : undefined;
}

type Choice = DocumentChoice | undefined;

/** A corpus of a training, and where it may lie; nowhere if it is of the hub, or was a pipe. */
interface CorpusBefore {
  readonly name: string;
  readonly places: readonly string[];
}

async function corpusBefore(name: string, sae: string): Promise<CorpusBefore> {
  return { name, places: isHubCorpus(name) || isStandardInput(name) ? [] : await placesOf(name, sae) };
}

/** Whether a corpus shares text with one of these, given which documents were chosen of each. */
function sharesText(name: string, before: readonly CorpusBefore[], then: Choice, now: Choice): boolean {
  if (isStandardInput(name)) return false;
  // Hub files are read in an order that depends on the seed, and may be of a different commit.
  if (isHubCorpus(name)) {
    return before.some((one) => unpinned(one.name) === unpinned(name)) && mayShare(then, now, false);
  }
  return before.some(({ places }) => {
    const how = overlap(name, places);
    return how !== undefined && mayShare(then, now, how === 'same');
  });
}

/** A warning if SAEs were trained on text of a corpus used for the evaluation; otherwise undefined. */
export async function seenText(candidates: readonly Candidate[], config: EvalConfig): Promise<string | undefined> {
  const now = documentChoice(config, true);
  const shared = new Set<string>();
  const seen: string[] = [];
  for (const { path, files } of candidates) {
    const { activations } = trainingRecordOf(files.cfg);
    if (!activations) continue;
    const { corpus, documents } = activations;
    const corpora = documents?.mixture?.sources.map((source) => source.corpus) ?? [corpus];
    const before = await Promise.all(corpora.map((name) => corpusBefore(name, path)));
    const same = config.corpus.filter((name) => sharesText(name, before, documents, now));
    for (const name of same) shared.add(name);
    if (same.length > 0) seen.push(path);
  }
  if (seen.length === 0) return undefined;
  const saes = seen.length === 1 ? `${seen[0]} was` : `${seen.length} of the SAEs were`;
  return `${saes} also trained on text of ${[...shared].join(' and ')}: the figures may include text seen in training. Evaluate on another corpus, or train and evaluate with --holdout 1%.`;
}
