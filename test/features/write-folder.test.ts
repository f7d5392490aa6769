import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Candidate } from '../../src/eval/candidates.js';
import { SaeCollection } from '../../src/features/collection.js';
import { FILE_FEATURES } from '../../src/features/folder.js';
import { writeSaeFiles } from '../../src/features/write-folder.js';
import { openCheckpoint } from '../../src/lm/checkpoint.js';
import { findHook } from '../../src/lm/hooks.js';
import { silent } from '../../src/progress/progress.js';
import { initialise } from '../../src/sae/registry.js';
import { square } from '../../src/sae/sae.js';
import { openSameSae, saveSae } from '../../src/sae/saelens.js';
import { temporaryDirectory } from '../temporary.js';
import { parquetRows } from './golden-folder.js';

const onDemand = { skip: process.env.SAE_PIPE_LONG === '1' ? false : 'with SAE_PIPE_LONG=1' };

const WIDTH = 4;
/** Two files, the second of sixteen features. */
const N = FILE_FEATURES + 16;

test(
  'features beyond the first file are in the second, with their numbers, neighbours and examples',
  onDemand,
  async (t) => {
    const root = temporaryDirectory(t);
    const [path, out] = [join(root, 'sae'), join(root, 'out')];
    mkdirSync(path);
    mkdirSync(join(out, 'sae'), { recursive: true });
    const sae = initialise('standard', square(WIDTH, N), 5);
    await saveSae(path, sae, {});
    const { files, unchanged } = await openSameSae(path);
    const checkpoint = await openCheckpoint('assets/tiny-gemma');
    // No linear path leads from it to the logits, whose width is another one.
    const hook = findHook('blocks.0.mlp.hook_pre', checkpoint.config);
    const candidate: Candidate = { path, files, unchanged, hook, input: hook };
    const collection = new SaeCollection(candidate, { topK: 2, window: [1, 1] });
    const firing = new Map([
      [5, 2],
      [FILE_FEATURES, 0.5],
      [N - 1, 3],
    ]);
    const contexts = [Int32Array.of(2, 10, 11), Int32Array.of(2, 12, 13)];
    const positions = Uint32Array.of(1, 2);
    for (const index of contexts.keys()) {
      const encoder = {
        run: async (_: Float32Array, take: (f: Float32Array, row: number) => void) => {
          // A row at a time, as of a wide SAE.
          for (const row of positions.keys()) {
            const f = new Float32Array(N);
            for (const [j, value] of firing) f[j] = value * (1 + row + index);
            take(f, row);
          }
        },
        release: async () => {},
      };
      const x = new Float32Array(2 * WIDTH);
      await collection.add(encoder, { index, x, norms: x.subarray(0, 2), positions, counted: 2, sampled: true });
    }
    const placement = { device: 'cpu', precision: 'float32' } as const;
    const writing = {
      ...{ out, checkpoint, placement, options: { threads: 1 }, tokens: 4, contexts, window: [1, 1] as const },
      ...{ progress: silent, stop: { signal: undefined }, kept: () => '' },
    };
    await writeSaeFiles(collection, 'sae', writing);
    const names = [
      'examples-00000.parquet',
      'examples-00001.parquet',
      'features-00000.parquet',
      'features-00001.parquet',
    ];
    assert.deepEqual(readdirSync(join(out, 'sae')).sort(), names);

    const rows = await parquetRows(join(out, 'sae', 'features-00001.parquet'));
    assert.deepEqual(
      rows.map(({ feature }) => feature),
      Array.from({ length: 16 }, (_, i) => FILE_FEATURES + i),
    );
    const last = rows.at(-1)! as Record<string, number[]>;
    assert.deepEqual([last.active_tokens, last.max, last.cofiring], [4n, 9, [5, FILE_FEATURES]]);
    assert.deepEqual(last.top_logits, []);
    const { W_dec } = sae.parameters;
    const cosine = (a: number, b: number) => {
      let [product, left, right] = [0, 0, 0];
      for (let d = 0; d < WIDTH; d++) {
        const [x, y] = [W_dec![a * WIDTH + d]!, W_dec![b * WIDTH + d]!];
        product += x * y;
        left += x * x;
        right += y * y;
      }
      return product / Math.sqrt(left * right);
    };
    const nearest = [...Array(N).keys()].filter((j) => j !== N - 1).map((j) => cosine(N - 1, j));
    const best = nearest.sort((a, b) => b - a).slice(0, 10);
    for (const [rank, expected] of best.entries()) {
      assert.ok(Math.abs(last.decoder_cosines![rank]! - expected) < 1e-5);
      assert.ok(Math.abs(cosine(N - 1, last.decoder_neighbours![rank]!) - expected) < 1e-5);
    }
    const examples = await parquetRows(join(out, 'sae', 'examples-00001.parquet'));
    const top = examples.filter(({ feature, band }) => feature === N - 1 && band === 0);
    assert.deepEqual(
      top.map(({ value, context, tokens, activations }) => [value, context, tokens, activations]),
      [
        [9, 1n, [12, 13], [6, 9]],
        [6, 0n, [10, 11], [3, 6]],
      ],
    );

    // What is there is of the same run, and stays.
    const before = names.map((name) => statSync(join(out, 'sae', name)).ino);
    await writeSaeFiles(collection, 'sae', writing);
    assert.deepEqual(
      names.map((name) => statSync(join(out, 'sae', name)).ino),
      before,
    );
  },
);
