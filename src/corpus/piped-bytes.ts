import { createReadStream, fstatSync, type Stats } from 'node:fs';
import { Socket } from 'node:net';
import type { Readable } from 'node:stream';
import { Refusal } from '../errors/refusal.js';

/**
 * The bytes of standard input, from any thread. Pipes are read asynchronously: a blocking read could not be
 * interrupted.
 *
 * @throws Refusal if it is closed
 */
export function openStandardInput(highWaterMark: number): Readable {
  let found: Stats;
  try {
    found = fstatSync(0);
  } catch (cause) {
    throw new Refusal(
      'Standard input is closed.',
      'Pipe a text into the command, or give a file.',
      'corpus/not-a-file',
      {
        cause,
      },
    );
  }
  if (found.isFIFO() || found.isSocket()) return new Socket({ fd: 0, readable: true, writable: false });
  return createReadStream('', { fd: 0, autoClose: false, highWaterMark });
}
