import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Refusal } from '../../../../src/errors/refusal.js';
import type { Ending } from '../case.js';
import type { Target } from '../target.js';

const FILE = 'file';

/** A reader that does what none may do with a changed file, and the ending that must be reported. */
function broken(does: string, ending: Ending, read: (directory: string) => unknown): Target & { ending: Ending } {
  return {
    name: `reader that ${does}`,
    ending,
    share: 0,
    module: import.meta.url,
    // Waited for only if there is no end; the others end, later on a busy machine.
    ...(ending === 'hang' && { time: 1000 }),
    prepare: async (directory) => writeFileSync(join(directory, FILE), 'whole'),
    mutate: (files) => files.set(FILE, Buffer.from('changed')),
    async read(directory) {
      if (readFileSync(join(directory, FILE), 'utf8') !== 'whole') await read(directory);
      return 'whole';
    },
  };
}

/** Bad readers that test the runner: each must be detected, or passing would mean nothing. */
export const BROKEN_READERS = [
  broken('throws what is no refusal', 'fault', () => (undefined as unknown as string).length),
  broken('refuses without a remedy', 'fault', () => {
    throw new Refusal('This is broken.', undefined, 'disk/not-json');
  }),
  broken('forgets a promise', 'fault', () => void Promise.reject(new Error('nobody hears this'))),
  broken('has no end', 'hang', () => {
    for (;;);
  }),
  broken('fills the memory', 'memory', () => Buffer.alloc(700 * 2 ** 20, 1)),
  broken('ends the process', 'crash', () => process.abort()),
  broken('leaves its directory', 'outside', (directory) => readFileSync(join(directory, '../../outside/outside'))),
  broken('refuses as it should', 'refused', () => {
    throw new Refusal('This is broken.', 'Mend it.', 'disk/not-json');
  }),
];
