import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import type { RefusalCode } from '../errors/codes.js';
import { Refusal } from '../errors/refusal.js';

/**
 * The cache directory: SAE_PIPE_CACHE, XDG_CACHE_HOME/sae-pipe or ~/.cache/sae-pipe.
 *
 * @param what what is cached, for messages
 * @throws Refusal if the user has no home directory and no variable names another
 */
export function cacheDirectory(what: string, code: RefusalCode): string {
  const { SAE_PIPE_CACHE, XDG_CACHE_HOME } = process.env;
  if (SAE_PIPE_CACHE) return resolve(SAE_PIPE_CACHE);
  try {
    return join(XDG_CACHE_HOME ? resolve(XDG_CACHE_HOME) : join(homedir(), '.cache'), 'sae-pipe');
  } catch {
    throw new Refusal(
      `There is no home directory to keep ${what} in (HOME is not set).`,
      'Set SAE_PIPE_CACHE to a directory.',
      code,
    );
  }
}
