import { stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import { nearPath } from '../../errors/nearest.js';
import { Refusal } from '../../errors/refusal.js';
import { checkRevision, isModelId } from '../../hub/cache.js';
import { type Release, releaseNamed } from './releases.js';

/** What `--sae` may name. */
export type SaeReference =
  /** A directory or a file of this machine; absolute. */
  | { readonly kind: 'local'; readonly path: string }
  /** `owner/repo[@revision][/path]`, and what a table of releases adds. */
  | {
      readonly kind: 'hub';
      readonly repository: string;
      readonly revision: string;
      readonly path: string;
      readonly scale?: number;
    };

const DEFAULT_REVISION = 'main';

/** Says that the hub is meant, where a directory of the owner's name is here. */
const HUB = 'hf://';

/**
 * What a reference names: whatever exists here comes first, then `release:id`, then the hub.
 *
 * @throws Refusal where it can be none of them
 */
export async function saeReference(reference: string): Promise<SaeReference> {
  if (reference.startsWith(HUB)) return hubReference(reference.slice(HUB.length), reference);
  const path = resolve(reference);
  if (await isThere(path)) return { kind: 'local', path };
  const release = /^([\w.-]+):(.+)$/.exec(reference);
  if (release) return ofRelease(await releaseNamed(release[1]!, release[2]!));
  const [owner = ''] = reference.split('/');
  // A path below a directory that exists is a path, mistyped.
  const local = /^([./~]|$)/.test(owner) || (await isThere(resolve(owner)));
  if (local || !reference.includes('/')) throw await nothingThere(reference);
  return hubReference(reference, reference);
}

const isThere = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  );

function ofRelease({ repository, path, scale }: Release): SaeReference {
  return { kind: 'hub', repository, revision: DEFAULT_REVISION, path, ...(scale !== undefined && { scale }) };
}

function hubReference(text: string, reference: string): SaeReference {
  const [owner = '', named = '', ...parts] = text.replace(/\/+$/, '').split('/');
  const at = named.indexOf('@');
  const repository = `${owner}/${at < 0 ? named : named.slice(0, at)}`;
  // A revision may have slashes, refs/pr/1, which are written %2F here.
  const revision = at < 0 ? DEFAULT_REVISION : named.slice(at + 1).replaceAll(/%2f/gi, '/');
  if (!isModelId(repository) || parts.some((part) => !/^(?!\.{1,2}$)[^\p{Cc}\\?#]+$/u.test(part))) {
    throw new Refusal(
      `${reference} is neither an SAE here nor OWNER/REPO[@REVISION]/PATH of the hub.`,
      'Check the path; an SAE of the hub is named like google/gemma-scope-2b-pt-res/layer_20/width_16k/average_l0_71.',
      'sae/not-an-sae',
    );
  }
  checkRevision(revision);
  return { kind: 'hub', repository, revision, path: parts.join('/') };
}

async function nothingThere(reference: string): Promise<Refusal> {
  const near = await nearPath(reference);
  return new Refusal(
    `${reference} is not an SAE directory: there is nothing of that name.`,
    `${near === undefined ? '' : `Did you mean ${near}? `}Name a directory that \`sae-pipe train\` finished, a published SAE's, OWNER/REPO/PATH of the hub, or RELEASE:ID.`,
    'sae/not-an-sae',
  );
}
