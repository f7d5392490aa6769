import { UsageRefusal } from '../errors/refusal.js';
import { isModelId } from '../hub/cache.js';

/** A folder of a repository of the hub. */
export interface Destination {
  /** owner/repo */
  readonly repository: string;
  /** '' is the root. */
  readonly path: string;
}

/**
 * What `OWNER/REPO[/PATH]` names.
 *
 * @throws UsageRefusal for what cannot be such a name
 */
export function destinationOf(text: string): Destination {
  const [owner = '', repo = '', ...parts] = text
    .replace(/^hf:\/\//, '')
    .replace(/\/+$/, '')
    .split('/');
  const repository = `${owner}/${repo}`;
  const isPlain = (part: string) => /^(?!\.)[^\p{Cc}\\?#%:*"<>|]+$/u.test(part);
  if (isModelId(repository) && parts.every(isPlain)) return { repository, path: parts.join('/') };
  throw new UsageRefusal(
    `${text} is not OWNER/REPO[/PATH] of the hub.`,
    'Name the repository, and the folder in it where several SAEs share it; a branch is named by --revision.',
    'publish/wrong-destination',
  );
}

/** A name in the destination's folder, as a path of the repository. */
export const placed = ({ path }: Destination, name: string): string => (path === '' ? name : `${path}/${name}`);
