import { stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { Refusal, UsageRefusal } from '../config/refusal.js';
import { nearPath } from '../disk/near-path.js';
import { checkRevision, isModelId } from './model-id.js';
import { mayPass } from './request.js';

const DEFAULT_REVISION = 'main';

/** What `--model` names: a directory, or an id of the hub with its revision. */
export type ModelPlace = { readonly directory: string } | { readonly model: string; readonly revision: string };

/**
 * Where a model is to be found, as its name says; the hub is not asked.
 *
 * @throws Refusal for what is neither a directory nor an id, and for a revision of a directory
 */
export async function modelPlace(model: string, revision: string | undefined): Promise<ModelPlace> {
  const found = await stat(model).catch(() => undefined);
  if (found?.isDirectory()) {
    if (revision === undefined) return { directory: model };
    throw new UsageRefusal(`--revision is for models of the hub, and ${model} is a directory.`, 'Leave it out.');
  }
  if (found) {
    throw new Refusal(`${model} is a file, not a model directory.`, `Did you mean ${dirname(model)}?`);
  }
  if (!isModelId(model)) {
    throw new Refusal(
      `There is no model directory ${model}, and it is not an id of the Hugging Face hub.`,
      `${await didYouMean(model)}Give a directory with config.json, weights and tokenizer files, or an id like google/gemma-2-2b.`,
    );
  }
  const wanted = revision ?? DEFAULT_REVISION;
  checkRevision(wanted);
  return { model, revision: wanted };
}

/**
 * What was refused of a model of the hub, for those who meant a directory: a path of two parts may be either. Says so
 * where the first part is a directory here, and where the hub gave no answer that could tell them apart.
 */
export async function orDirectory(model: string, error: unknown): Promise<unknown> {
  const near = await stat(dirname(model)).catch(() => undefined);
  if (!(error instanceof Refusal) || !(near?.isDirectory() || mayPass(error))) return error;
  const { message, remedy = '', exitCode } = error;
  return new Refusal(
    `There is no directory ${model}, and as a model of the hub: ${message}`,
    `${await didYouMean(model)}${remedy}`,
    { exitCode, cause: error },
  );
}

async function didYouMean(path: string): Promise<string> {
  const near = await nearPath(path);
  return near === undefined ? '' : `Did you mean ${near}? `;
}
