import { stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import { nearPath, withNear } from '../../errors/nearest.js';
import { Refusal } from '../../errors/refusal.js';
import { checkRevision, isModelId } from '../../hub/cache.js';
import { type Release, releaseNamed } from './releases.js';

/** Possible values of `--sae`. */
export type SaeReference =
  /** A local directory or file; absolute. */
  | { readonly kind: 'local'; readonly path: string }
  /** `owner/repo[@revision][/path]`, and additions from a table of releases. */
  | {
      readonly kind: 'hub';
      readonly repository: string;
      readonly revision: string;
      readonly path: string;
      readonly scale?: number;
    };

const DEFAULT_REVISION = 'main';

/** Notes that the hub was assumed, if a local directory has the owner's name. */
const HUB = 'hf://';

/**
 * Resolves a reference: existing local files come first, then `release:id`, then the hub.
 *
 * @throws Refusal if it cannot be any of them
 */
export async function saeReference(reference: string): Promise<SaeReference> {
  if (reference.startsWith(HUB)) return hubReference(reference.slice(HUB.length), reference);
  const path = resolve(reference);
  if (await isThere(path)) return { kind: 'local', path };
  const release = /^([\w.-]+):(.+)$/.exec(reference);
  if (release) return ofRelease(await releaseNamed(release[1]!, release[2]!));
  const [owner = ''] = reference.split('/');
  // A path below an existing directory is a mistyped path.
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
  // A revision may contain slashes, refs/pr/1, which are written %2F here.
  const revision = at < 0 ? DEFAULT_REVISION : named.slice(at + 1).replaceAll(/%2f/gi, '/');
  if (!isModelId(repository) || parts.some((part) => !/^(?!\.{1,2}$)[^\p{Cc}\\?#]+$/u.test(part))) {
    throw new Refusal(
      `${reference} is neither a local SAE nor OWNER/REPO[@REVISION]/PATH on the hub.`,
      'Check the path; hub SAEs are written like google/gemma-scope-2b-pt-res/layer_20/width_16k/average_l0_71.',
      'sae/not-an-sae',
    );
  }
  checkRevision(revision);
  return { kind: 'hub', repository, revision, path: parts.join('/') };
}

async function nothingThere(reference: string): Promise<Refusal> {
  const near = await nearPath(reference);
  return new Refusal(
    `${reference} is not an SAE directory: it does not exist.`,
    withNear(
      near,
      "Give a directory that `sae-pipe train` finished, a published SAE's, OWNER/REPO/PATH on the hub, or RELEASE:ID.",
    ),
    'sae/not-an-sae',
  );
}
