import { makeDirectory } from '../disk/durable.js';
import { Refusal } from '../errors/refusal.js';

/** Makes a directory for text of the hub. @throws Refusal where it cannot be made */
export async function makeKeptDirectory(directory: string): Promise<void> {
  await makeDirectory(directory).catch((cause: Error) => {
    throw new Refusal(
      `Text of the hub cannot be kept: ${cause.message}`,
      'Free space, set SAE_PIPE_CACHE to another directory, or leave --cache-corpus out.',
      'corpus/no-cache',
      { cause },
    );
  });
}
