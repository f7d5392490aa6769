import { UsageRefusal } from '../config/refusal.js';

/** `org/name` as the hub allows it: letters, digits, `.`, `_` and `-`, each part beginning with a letter or digit. */
const MODEL_ID = /^[A-Za-z0-9][\w.-]{0,95}\/[A-Za-z0-9][\w.-]{0,95}$/;

/** Could this be a model's name on the hub? It may just as well be a relative path of two parts. */
export function isModelId(model: string): boolean {
  // `--` separates the parts of a cache directory's name, and the hub allows neither.
  return MODEL_ID.test(model) && !/--|\.\./.test(model);
}

/** A full commit hash: such a revision never moves. */
export function isCommit(revision: string): boolean {
  return /^[0-9a-f]{40}$/.test(revision);
}

/**
 * A branch, tag or commit. It becomes a path below the cache's refs/, so what git itself refuses in names is refused.
 *
 * @throws UsageRefusal for anything that is no such name
 */
export function checkRevision(revision: string): void {
  const parts = revision.split('/');
  if (revision.length <= 200 && parts.every((part) => /^[\w+-][\w.+-]*$/.test(part) && !part.includes('..'))) return;
  throw new UsageRefusal(
    `--revision ${JSON.stringify(revision)} is not a revision.`,
    'Give a branch, a tag or a full commit hash of the model, e.g. main.',
  );
}
