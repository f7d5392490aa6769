import { UsageRefusal } from '../errors/refusal.js';
import { checkRevision, isModelId } from '../hub/cache.js';
import { fileKindOf } from './file-kind.js';

/** A hub data set, as given in `--corpus`. */
export interface HubReference {
  /** owner/name. */
  readonly dataset: string;
  readonly revision: string;
  /** The part after the first slash: a configuration, a directory, a file or a pattern of files. */
  readonly part?: string;
  readonly split?: string;
}

const PREFIX = 'hf:';

const FORMS = 'hf:OWNER/DATASET[@REVISION][/CONFIGURATION][:SPLIT], or hf:OWNER/DATASET[@REVISION]/PATH/*.parquet';

/** Is this --corpus a hub data set? */
export const isHubCorpus = (corpus: string): boolean => corpus.startsWith(PREFIX);

/**
 * A slash in a revision is written as %2F.
 *
 * @throws UsageRefusal if it is not a valid reference
 */
export function parseHubReference(corpus: string): HubReference {
  const found = /^hf:([^/@:]+\/[^/@:]+)(?:@([^/@:]+))?(?:\/([^:]+))?(?::([^/:]+))?$/.exec(corpus);
  const [, dataset = '', revision = 'main', part, split] = found ?? [];
  if (!isModelId(dataset)) {
    throw new UsageRefusal(
      `${corpus} does not name a data set of the hub.`,
      `Write ${FORMS}.`,
      'corpus/not-a-hub-reference',
    );
  }
  const decoded = decodedOrUndefined(revision) ?? '';
  checkRevision(decoded);
  if (part?.split('/').some((segment) => segment === '' || segment === '.' || segment === '..')) {
    throw new UsageRefusal(`${corpus} has a path with an empty part.`, `Write ${FORMS}.`, 'corpus/not-a-hub-reference');
  }
  return { dataset, revision: decoded, ...(part !== undefined && { part }), ...(split !== undefined && { split }) };
}

function decodedOrUndefined(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}

/** The reference at a commit, which always refers to the same files. */
export function pinnedReference({ dataset, part, split }: HubReference, commit: string): string {
  return `${PREFIX}${dataset}@${commit}${part === undefined ? '' : `/${part}`}${split === undefined ? '' : `:${split}`}`;
}

/** Is this part of a reference a path or a pattern of files rather than a configuration? */
export const isPath = (part: string): boolean => /[/*?[\]{}]/.test(part) || fileKindOf(part) !== undefined;
