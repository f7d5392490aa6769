import type { AttributeConfig } from '../config/stages/generation.js';
import { tokenTexts } from '../corpus/token-texts.js';
import { UsageRefusal } from '../errors/refusal.js';
import { type Candidate, openCandidate, sharedBos } from '../eval/candidates.js';
import { chooseBos, choosePrecision } from '../lm/pass.js';
import { significant, type Terminal, textTable } from '../progress/progress.js';
import { throwIfStopped } from '../progress/stop.js';
import { saeDirectories } from '../sae/published/open.js';
import { openSae } from '../sae/saelens.js';
import { type Attributed, byEffect, readText } from './attribution.js';
import { EFFECTS, effectsBy, type Method, NOT_ATTRIBUTED } from './attribution-methods.js';
import { openModel, openTextModel, promptTokens, roomFor } from './prompts.js';
import type { SteeredSae } from './steering-graph.js';

/** The result of `attribute`. */
export interface Attribution {
  readonly model: string;
  readonly prompt: string;
  /** The token whose logit is attributed, and the prompt position that predicts it (counted from 0, BOS included). */
  readonly token: string;
  readonly minus?: string;
  readonly position: number;
  /** Logit of the token, or the difference if there is one. */
  readonly logit: number;
  readonly features: readonly (Attributed & { readonly sae: string; readonly at: string })[];
  /** The method used, and why not gradients if they were requested. */
  readonly method: Method;
  readonly remark?: string;
  /** Tokens of the prompt, up to the predicting position. */
  readonly text: readonly string[];
  /** Number of the weakest activations, which were not ablated. */
  readonly leftOut: number;
}

/** `attribute`: which features at which tokens contribute to a logit or a difference of two; printed and returned. */
export async function attribute(config: AttributeConfig, terminal: Terminal): Promise<Attribution> {
  const found = await attributed(config, terminal);
  terminal.print(config.json ? JSON.stringify(inJson(found), null, 1) : inWords(found));
  return found;
}

async function attributed(config: AttributeConfig, { progress, stop }: Terminal): Promise<Attribution> {
  // Before a model that may have to be downloaded.
  const directories = await saeDirectories(config.sae, config, progress, stop);
  for (const directory of directories.values()) await openSae(directory, 'transcoder');
  const checkpoint = await openModel(config, progress, stop);
  const candidates: Candidate[] = [];
  for (const path of config.sae) {
    candidates.push(await openCandidate(path, config, checkpoint, directories.get(path)));
  }
  const saes: SteeredSae[] = candidates.map(({ files, hook, input }) => ({ files, hook, input, errorTerm: true }));
  const wanted = config.prependBos;
  const bos = wanted === undefined ? sharedBos(candidates, checkpoint.config) : chooseBos(wanted, checkpoint.config);
  const model = await openTextModel(checkpoint, bos);
  const all = promptTokens(model, config.prompt);
  roomFor([all], 1, checkpoint);
  const position = config.position ?? all.length - 1;
  if (position >= all.length) {
    throw new UsageRefusal(
      `The prompt has ${all.length} tokens, so there is no --position ${position}.`,
      `Use 0 to ${all.length - 1}; a BOS is at 0.`,
      'generate/positions',
    );
  }
  const tokens = all.slice(0, position + 1);
  const placement = choosePrecision(config.precision, config.device, checkpoint);
  const about = { checkpoint, placement, threads: config.threads, saes, tokens };
  const texts = await tokenTexts(model.directory, checkpoint.config.vocabulary);
  throwIfStopped(stop, NOT_ATTRIBUTED);
  const reading = await readText(about, model.tokenizer.prependBos ? 1 : 0);
  const token = config.token === undefined ? reading.likeliest : tokenNamed(config.token, texts, '--token');
  const minus = config.minus === undefined ? undefined : tokenNamed(config.minus, texts, '--minus');
  const target = { token, minus };
  const found = await effectsBy(config, about, reading, target, { progress, stop });
  const logit = reading.logits[token]! - (minus === undefined ? 0 : reading.logits[minus]!);
  const features = found.features
    .map((one) => ({ ...one, sae: config.sae[one.of]!, at: texts[tokens[one.position]!]! }))
    .sort(byEffect);
  return {
    ...{ model: checkpoint.name, prompt: config.prompt, token: texts[token]!, position, logit },
    ...(minus !== undefined && { minus: texts[minus]! }),
    ...{ method: found.method, remark: found.remark, text: tokens.map((id) => texts[id]!) },
    ...{ features: features.slice(0, config.top), leftOut: reading.active.length - found.features.length },
  };
}

/** @throws UsageRefusal if the model has no such token */
function tokenNamed(text: string, texts: readonly string[], flag: string): number {
  const id = texts.indexOf(text);
  if (id >= 0) return id;
  const spaced = texts.includes(` ${text}`);
  throw new UsageRefusal(
    `${flag} ${JSON.stringify(text)} is not a token of the model.`,
    spaced
      ? `The token includes a space: ${flag} ${JSON.stringify(` ${text}`)}.`
      : 'Give a single token of the vocabulary; generate --json and steer --logits show tokens.',
    'generate/no-token',
  );
}

function inJson({ features, leftOut, text: _, ...about }: Attribution): object {
  return {
    ...about,
    features: features.map(({ of: _, norm: __, ...feature }) => feature),
    left_out: leftOut,
  };
}

function inWords(found: Attribution): string {
  const { token, minus, logit, method, remark, features, leftOut, prompt, position } = found;
  const difference = minus === undefined ? '' : ` − ${JSON.stringify(minus)}`;
  const head = ['effect', 'direct', 'f', 'feature', 'SAE', 'position', 'token'];
  const several = new Set(features.map(({ sae }) => sae)).size > 1;
  const rows = features.map(({ effect, direct, activation, feature, sae, position, at }) => [
    significant(effect, 3),
    direct === null ? '' : significant(direct, 3),
    significant(activation, 3),
    String(feature),
    sae,
    String(position),
    JSON.stringify(at),
  ]);
  const columns = [head, ...rows].map((row) => row.filter((_, i) => several || i !== 4));
  const rest = leftOut === 0 ? '' : `\n${leftOut} weaker activations were not ablated (--candidates).`;
  return (
    [
      prompt,
      `Logit of ${JSON.stringify(token)}${difference} after token ${position}: ${significant(logit, 4)}`,
      `effect: ${EFFECTS[method]}; direct: its contribution on the path that skips all blocks above.`,
      ...(remark === undefined ? [] : [remark]),
      '',
      ...textTable(columns),
    ].join('\n') + rest
  );
}
