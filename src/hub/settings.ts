import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { UsageRefusal } from '../config/refusal.js';
import { readTextFile } from '../disk/json-file.js';

/** Where the hub is, where its files are kept, and who asks. */
export interface HubSettings {
  /** Without a slash at its end. */
  readonly endpoint: string;
  /** Directory of `models--org--name/`. */
  readonly cache: string;
  /** Ask nothing of the network. */
  readonly offline: boolean;
  readonly token: string | undefined;
  readonly patience: Patience;
}

/** How long a download waits and how often it tries again. */
export interface Patience {
  /** Connections tried in a row without one new byte. */
  readonly attempts: number;
  /** Milliseconds before the second attempt; doubles with each further one. */
  readonly delay: number;
  /** Milliseconds without a byte or an answer after which a connection is given up. */
  readonly stall: number;
  /** Milliseconds between looks at another process's download. */
  readonly poll: number;
}

const PATIENCE: Patience = { attempts: 6, delay: 1000, stall: 60_000, poll: 1000 };

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * The settings that Hugging Face's own tools read from the environment, with their names and defaults (documentation of
 * huggingface_hub, "Environment variables"), so that one cache and one login serve both.
 *
 * @throws UsageRefusal when HF_ENDPOINT is not an address, or HF_TOKEN cannot be a token
 */
export async function hubSettings(environment: Environment, offline: boolean): Promise<HubSettings> {
  const set = (name: string) => environment[name]?.trim() || undefined;
  // Asked for only where nothing else says where: not every user has a home directory.
  const home = () =>
    path(set('HF_HOME') ?? join(set('XDG_CACHE_HOME') ?? join(homeDirectory(), '.cache'), 'huggingface'));
  const endpoint = checkEndpoint((set('HF_ENDPOINT') ?? 'https://huggingface.co').replace(/\/+$/, ''));
  const cache = set('HF_HUB_CACHE') ?? set('HUGGINGFACE_HUB_CACHE');
  const token = set('HF_TOKEN');
  const tokenFile = () => path(set('HF_TOKEN_PATH') ?? join(home(), 'token'));
  return {
    endpoint,
    cache: path(cache ?? join(home(), 'hub')),
    offline: offline || /^(1|true|yes|on)$/i.test(set('HF_HUB_OFFLINE') ?? ''),
    token: token === undefined ? await savedToken(tokenFile) : checkToken(token, 'HF_TOKEN'),
    patience: PATIENCE,
  };
}

/** What `hf auth login` left. A file that may not be read is no login. */
async function savedToken(tokenFile: () => string): Promise<string | undefined> {
  let file: string;
  try {
    file = tokenFile();
  } catch {
    return undefined;
  }
  const token = (await readTextFile(file).catch(() => null))?.trim();
  return token ? checkToken(token, file) : undefined;
}

/**
 * A token goes into a header line, and what cannot be sent there must not be repeated in a message either.
 *
 * @param from the variable or the file that holds it
 */
function checkToken(token: string, from: string): string {
  if (/^[\x21-\x7e]{1,1000}$/.test(token)) return token;
  throw new UsageRefusal(
    `${from} does not hold an access token: it has a space, a line break or another character that no token has.`,
    'Set it to the token alone, e.g. hf_… .',
  );
}

/** An endpoint may be printed in any message, so whatever could hold a secret is refused and not repeated. */
function checkEndpoint(endpoint: string): string {
  const url = URL.canParse(endpoint) ? new URL(endpoint) : undefined;
  if (!url || !/^https?:$/.test(url.protocol)) {
    const shown = endpoint.includes('@') ? '' : ` (${endpoint})`;
    throw new UsageRefusal(`HF_ENDPOINT${shown} is not an http(s) URL.`, 'Fix or unset it.');
  }
  if (url.username || url.password || url.search || url.hash) {
    throw new UsageRefusal(
      `HF_ENDPOINT (${url.origin}${url.pathname}) has a user, a password or a query, which are not supported.`,
      'Give the address alone; a token goes into HF_TOKEN.',
    );
  }
  return endpoint;
}

/** `text` without the token, should another program's message repeat it. */
export function withoutSecrets(text: string, { token }: Pick<HubSettings, 'token'>): string {
  return token ? text.replaceAll(token, '[HF_TOKEN]') : text;
}

/** An absolute path; `~` is the home directory. */
function path(text: string): string {
  return resolve(text.replace(/^~(?=$|\/)/, () => homeDirectory()));
}

/** @throws UsageRefusal for a user that has none: no HOME, and no entry in the password file, as in some containers */
function homeDirectory(): string {
  try {
    return homedir();
  } catch {
    throw new UsageRefusal(
      'There is no home directory to look for the Hugging Face cache in (HOME is not set).',
      'Set HF_HOME, or give --model as a directory.',
    );
  }
}
