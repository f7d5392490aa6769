import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import type { ActivationSource, Batch, Batches } from '../../src/activations/activation-source.js';
import { trainSchema } from '../../src/config/stages/train.js';
import { silent } from '../../src/progress/progress.js';
import type { Engine, EngineSettings, TrainerState } from '../../src/train/engines/engine.js';
import { saeOf } from '../../src/train/engines/state.js';
import { train } from '../../src/train/train.js';
import { temporaryDirectory } from '../temporary.js';

const [D, BATCH] = [4, 8];
/** Turns of the event loop in which a run that failed would have closed its engine. */
const LATE = 300;

async function turns(count: number): Promise<void> {
  for (let turn = 0; turn < count; turn++) await new Promise(setImmediate);
}

/** A source whose batch number `late` comes after it is closed, as one does that is read from a disk. */
function lateSource(late: number): ActivationSource {
  let release = () => {};
  const closed = new Promise<void>((resolve) => {
    release = resolve;
  });
  let dealt = 0;
  const batches: Batches = {
    seek: async () => {},
    async next(size, into) {
      if (dealt++ === late) {
        await closed;
        await turns(LATE);
      }
      const x = into?.x ?? new Uint16Array(size * D);
      x.fill(dealt);
      return { x };
    },
    async *inputs() {},
  };
  return {
    about: {
      ...{ place: 'here', model: { name: 'm', fingerprint: 'f' }, hook: 'blocks.0.hook_resid_post', dIn: D },
      ...{ dtype: 'float16', context: 8, prependBos: true, corpus: 'c', rows: 1000, meanNorm: 1, identity: 'i' },
    },
    batches: () => batches,
    memory: () => ({ held: 0, pieceRows: 1 }),
    close: async () => {
      release();
    },
  };
}

/** An engine with memory for batches, which notes what it is given and fails at a step. */
class Device implements Engine {
  steps = 0;
  readonly buffers: readonly Batch[] = [0, 1].map(() => ({ x: new Uint16Array(BATCH * D) }));
  readonly given: Batch[] = [];
  readonly firsts: number[] = [];
  closed = false;

  constructor(
    private readonly settings: EngineSettings,
    private readonly start: TrainerState,
    private readonly failing: number,
  ) {}

  async step(batch: Batch) {
    this.given.push(batch);
    this.firsts.push(batch.x[0]!);
    if (this.given.length - 1 === this.failing) throw new Error('the device is lost');
    this.steps++;
    return { mse: 1, l1: 0, aux: 0, l0: 1, variance: 1, dead: 0 };
  }

  sae = async () => saeOf(this.settings, this.start);
  state = async () => this.start;
  load = async () => {};
  close = async () => {
    this.closed = true;
    for (const { x } of this.buffers) x.fill(77);
  };
}

const configOf = (out: string, steps: number) =>
  trainSchema.parse({
    ...{ out, steps, batch: BATCH, dSae: 3, l1: 1, normalize: 'none', maxActivationNormMultiple: 0 },
    ...{ bDecInit: 'zero', start: 'zero', discardState: true },
  });

test('batches are dealt into the memory of an engine that offers any, in turns', async (t) => {
  let device: Device | undefined;
  const open = async (_: unknown, settings: EngineSettings, start: TrainerState) => {
    device = new Device(settings, start, -1);
    return device;
  };
  await train(configOf(join(temporaryDirectory(t), 'sae'), 5), silent, { signal: undefined }, open, lateSource(-1));
  const [a, b] = device!.buffers;
  assert.deepEqual(
    device!.given.map(({ x }) => (x === a!.x ? 'a' : x === b!.x ? 'b' : 'another')),
    ['a', 'b', 'a', 'b', 'a'],
  );
  assert.deepEqual(device!.firsts, [1, 2, 3, 4, 5]);
});

test('nothing is dealt into the memory of an engine that is closed', async (t) => {
  let device: Device | undefined;
  const open = async (_: unknown, settings: EngineSettings, start: TrainerState) => {
    device = new Device(settings, start, 2);
    return device;
  };
  const config = configOf(join(temporaryDirectory(t), 'sae'), 9);
  await assert.rejects(train(config, silent, { signal: undefined }, open, lateSource(3)), /the device is lost/);
  assert.ok(device!.closed);
  await turns(LATE);
  for (const { x } of device!.buffers) assert.ok(x.every((value) => value === 77));
});
