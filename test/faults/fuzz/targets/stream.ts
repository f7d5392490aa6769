import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { createReadStream, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { openStreamSource } from '../../../../src/activations/stream-source.js';
import { headerOf, inChunks, streamBytes } from '../../../activations/stream-bytes.js';
import { numberedPieces } from '../../../activations/synthetic.js';
import { mutateBytes } from '../bytes.js';
import { oneIn, pick } from '../chance.js';
import { bytesOf, type Target } from '../target.js';

const FILE = 'stream.arrow';
const D = 3;

export const stream: Target = {
  name: 'Arrow stream',
  share: 4,
  module: import.meta.url,
  async prepare(directory) {
    writeFileSync(join(directory, FILE), await streamBytes(headerOf(25), numberedPieces([10, 10, 5], D)));
  },
  mutate(files, random) {
    const bytes = bytesOf(files, FILE);
    files.set(FILE, oneIn(random, 3) ? lie(bytes, random) : mutateBytes(bytes, random));
  },
  async read(directory, random) {
    const path = join(directory, FILE);
    const readable = oneIn(random, 2)
      ? createReadStream(path)
      : Readable.from(inChunks(readFileSync(path), 1 + random.below(300)));
    const source = await openStreamSource(readable, { place: 'standard input', poolRows: 8 });
    const hash = createHash('sha256');
    const { rows, dIn } = source.about;
    try {
      const batches = source.batches('shuffled', 1);
      await batches.seek(0);
      for (let dealt = 0; dealt + 4 <= rows; dealt += 4) {
        const { x: batch } = await batches.next(4);
        assert.equal(batch.length, 4 * dIn);
        hash.update(batch);
      }
    } finally {
      await source.close();
    }
    return JSON.stringify([source.about, hash.digest('hex')]);
  },
  command: (directory, out) => ({
    args: [
      ...['train', '--activations', '-', '--d-sae', '8', '--batch', '4', '--steps', '3', '--engine', 'reference'],
      ...['--threads', '1', '--out', out],
    ],
    stdin: join(directory, FILE),
  }),
};

/** The header in the schema's metadata, changed without changing its length: Arrow's own framing stays whole. */
function lie(bytes: Buffer, random: Parameters<Target['mutate']>[1]): Buffer {
  const text = bytes.toString('latin1');
  const numbers = [...text.matchAll(/"(?:rows|d_in|rows_per_batch|context|version)":(\d+)/g)];
  const { index, 0: found, 1: digits } = pick(random, numbers);
  const at = index + found.length - digits!.length;
  const changed = pick(random, ['9'.repeat(digits!.length), '0'.repeat(digits!.length), '-1'.slice(-digits!.length)]);
  return Buffer.concat([bytes.subarray(0, at), Buffer.from(changed), bytes.subarray(at + digits!.length)]);
}
