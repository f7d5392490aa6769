import assert from 'node:assert/strict';
import { cpSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { type TrainConfig, trainSchema } from '../../../../src/config/stages/train.js';
import { Interrupted } from '../../../../src/errors/refusal.js';
import { silent } from '../../../../src/progress/progress.js';
import { openSae, readSae } from '../../../../src/sae/saelens.js';
import { train } from '../../../../src/train/train.js';
import { oneIn, pick } from '../chance.js';
import { mutateJson } from '../json.js';
import { mutateSafetensors } from '../safetensors.js';
import { bytesOf, type Target } from '../target.js';
import { mutateText } from '../text.js';
import { writeStore } from './stores.js';

const STORE = 'acts';
const RUN = 'run';
const STEPS = 6;

const settings = (directory: string): TrainConfig =>
  trainSchema.parse({
    activations: join(directory, STORE),
    dSae: 8,
    // Reading rows before the first step would meet the broken ones there.
    start: 'zero',
    bDecInit: 'zero',
    normalize: 'mean-norm',
    maxActivationNormMultiple: 0,
    steps: STEPS,
    batch: 4,
    logEvery: 1,
    engine: 'reference',
    threads: 1,
    checkpointEvery: '1',
    resume: true,
    out: join(directory, RUN),
  });

/** An interrupted run of `train`: its checkpoints, its curve, and what it says of itself. */
export const trainingRun: Target = {
  name: 'training checkpoint',
  share: 3,
  module: import.meta.url,
  async prepare(directory) {
    mkdirSync(join(directory, STORE));
    await writeStore(join(directory, STORE));
    let asked = 0;
    const stop = {
      // After some steps, as a Ctrl-C would.
      get signal() {
        return ++asked > 3 ? ('SIGINT' as const) : undefined;
      },
    };
    await assert.rejects(train(settings(directory), silent, stop), Interrupted);
  },
  mutate(files, random, elsewhere) {
    const inRun = [...files.keys()].filter((name) => name.startsWith(RUN));
    const checkpoints = inRun.filter((name) => name.includes('checkpoint-')).sort();
    const curve = inRun.find((name) => name.endsWith('.jsonl'))!;
    if (oneIn(random, 4)) {
      files.set(curve, mutateText(bytesOf(files, curve), random));
      return;
    }
    // The newest counts; if that one is skipped, the one before.
    const newest = checkpoints.pop()!;
    const bytes = bytesOf(files, newest);
    files.set(
      newest,
      oneIn(random, 2) ? mutateSafetensors(bytes, random, elsewhere) : otherMetadata(bytes, random, elsewhere),
    );
    if (oneIn(random, 2)) for (const name of checkpoints) files.delete(name);
  },
  async read(directory, random) {
    // A copy: the run continues in it.
    const own = `${directory}-run-${random.below(2)}`;
    cpSync(directory, own, { recursive: true, force: true });
    const config = settings(directory);
    try {
      const out = await train({ ...config, out: join(own, RUN) }, silent, { signal: undefined });
      const { parameters } = await readSae(await openSae(out));
      return JSON.stringify(Object.entries(parameters).map(([name, values]) => [name, [...values]]));
    } finally {
      rmSync(own, { recursive: true, force: true });
    }
  },
  command: (directory, out) => {
    cpSync(join(directory, RUN), out, { recursive: true });
    return {
      args: [
        ...['train', '--activations', join(directory, STORE), '--d-sae', '8', '--batch', '4', '--steps', String(STEPS)],
        ...['--log-every', '1', '--engine', 'reference', '--threads', '1', '--resume', '--out', out],
      ],
    };
  },
};

/** One of the JSON texts in a checkpoint's metadata, changed. */
function otherMetadata(file: Buffer, random: Parameters<Target['mutate']>[1], elsewhere: readonly string[]): Buffer {
  const length = Number(file.readBigUInt64LE());
  const header = JSON.parse(file.subarray(8, 8 + length).toString()) as { __metadata__: Record<string, string> };
  const key = pick(random, Object.keys(header.__metadata__));
  header.__metadata__[key] = mutateJson(header.__metadata__[key]!, random, elsewhere).toString();
  const json = Buffer.from(JSON.stringify(header));
  const prefix = Buffer.alloc(8);
  prefix.writeBigUInt64LE(BigInt(json.length));
  return Buffer.concat([prefix, json, file.subarray(8 + length)]);
}
