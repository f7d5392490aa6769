import { after, before } from 'node:test';
import { type Progress, silent } from '../../../src/progress/progress.js';
import { saeDirectory } from '../../../src/sae/published/open.js';
import { temporaryDirectory } from '../../temporary.js';

/** Has SAEs of other layouts kept in a directory of this test file. */
export function useCache(): string {
  const directory = temporaryDirectory();
  const earlier = process.env.SAE_PIPE_CACHE;
  before(() => {
    process.env.SAE_PIPE_CACHE = directory;
  });
  after(() => {
    if (earlier === undefined) delete process.env.SAE_PIPE_CACHE;
    else process.env.SAE_PIPE_CACHE = earlier;
  });
  return directory;
}

/** The directory of an SAE of this machine. */
export const opened = (reference: string, progress: Progress = silent): Promise<string> =>
  saeDirectory(reference, { offline: true }, progress, { signal: undefined });
