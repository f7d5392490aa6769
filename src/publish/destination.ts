import { UsageRefusal } from '../errors/refusal.js';
import { isModelId } from '../hub/cache.js';

/** A folder in a hub repository. */
export interface Destination {
  /** owner/repo */
  readonly repository: string;
  /** '' is the root. */
  readonly path: string;
}

/**
 * Parses `OWNER/REPO[/PATH]`.
 *
 * @throws UsageRefusal for an invalid name
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
    `${text} is not OWNER/REPO[/PATH] on the hub.`,
    'Give the repository, and a folder in it if several SAEs share it; use --revision for a branch.',
    'publish/wrong-destination',
  );
}

/** A name in the destination's folder, as a path in the repository. */
export const placed = ({ path }: Destination, name: string): string => (path === '' ? name : `${path}/${name}`);
