import { makeDirectory } from '../disk/durable.js';
import { Refusal } from '../errors/refusal.js';

/** Creates a directory for cached hub text. @throws Refusal if it cannot be created */
export async function makeKeptDirectory(directory: string): Promise<void> {
  await makeDirectory(directory).catch((cause: Error) => {
    throw new Refusal(
      `Hub text cannot be cached: ${cause.message}`,
      'Free space, set SAE_PIPE_CACHE to another directory, or omit --cache-corpus.',
      'corpus/no-cache',
      { cause },
    );
  });
}
