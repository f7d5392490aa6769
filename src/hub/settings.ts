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
 * @throws UsageRefusal when HF_ENDPOINT is no URL
 */
export async function hubSettings(environment: Environment, offline: boolean): Promise<HubSettings> {
  const set = (name: string) => environment[name]?.trim() || undefined;
  const home = path(set('HF_HOME') ?? join(set('XDG_CACHE_HOME') ?? join(homedir(), '.cache'), 'huggingface'));
  const endpoint = (set('HF_ENDPOINT') ?? 'https://huggingface.co').replace(/\/+$/, '');
  if (!URL.canParse(endpoint) || !/^https?:$/.test(new URL(endpoint).protocol)) {
    throw new UsageRefusal(`HF_ENDPOINT is "${endpoint}", which is no http(s) URL.`, 'Mend it, or unset it.');
  }
  const tokenFile = path(set('HF_TOKEN_PATH') ?? join(home, 'token'));
  return {
    endpoint,
    cache: path(set('HF_HUB_CACHE') ?? set('HUGGINGFACE_HUB_CACHE') ?? join(home, 'hub')),
    offline: offline || /^(1|true|yes|on)$/i.test(set('HF_HUB_OFFLINE') ?? ''),
    token: set('HF_TOKEN') ?? (await savedToken(tokenFile)),
    patience: PATIENCE,
  };
}

/** What `hf auth login` left. A file that may not be read is no login. */
async function savedToken(file: string): Promise<string | undefined> {
  const text = await readTextFile(file).catch(() => null);
  return text?.trim() || undefined;
}

/** An absolute path; `~` is the home directory. */
function path(text: string): string {
  return resolve(text.replace(/^~(?=$|\/)/, homedir()));
}
