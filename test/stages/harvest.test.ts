import assert from 'node:assert/strict';
import { appendFileSync, cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { type Manifest, readManifest } from '../../src/activations/manifest.js';
import type { Rows } from '../../src/activations/rows.js';
import { openStore } from '../../src/activations/store.js';
import { type HarvestConfig, harvestSchema } from '../../src/config/stages/harvest.js';
import { Interrupted, Refusal } from '../../src/errors/refusal.js';
import { harvest } from '../../src/harvest/harvest.js';
import { type Progress, type StopRequest, silent } from '../../src/progress/progress.js';
import { halfToFloat, toBfloat16 } from '../../src/safetensors/floats.js';
import { refuses } from '../config/refuses.js';
import { prose } from '../corpus/prose.js';
import { openGolden, relativeDifference } from '../golden.js';
import { filesBelow, temporaryDirectory } from '../temporary.js';

const onDemand = { skip: process.env.SAE_PIPE_LONG === '1' ? false : 'with SAE_PIPE_LONG=1' };

const HOOK = 'blocks.2.hook_resid_post';
const root = temporaryDirectory();
const never: StopRequest = { signal: undefined };
let counter = 0;

/** Asks for a stop once `passes` forward passes were made. */
function stopAfter(passes: number): { stop: StopRequest; progress: Progress } {
  const stop: StopRequest = { signal: undefined };
  let harvesting = false;
  let updates = 0;
  const progress: Progress = {
    ...silent,
    begin: (label) => {
      harvesting = label === 'harvesting';
    },
    // The first update tells what was done before.
    update: () => {
      if (harvesting && updates++ === passes) stop.signal = 'SIGINT';
    },
  };
  return { stop, progress };
}

/** Harvests until a stop after `passes` forward passes. */
async function interrupted(config: HarvestConfig, passes: number): Promise<void> {
  const { stop, progress } = stopAfter(passes);
  await assert.rejects(harvest(config, progress, stop), (error: unknown) => {
    assert.ok(error instanceof Interrupted, String(error));
    assert.match(error.message, /--resume/);
    return true;
  });
}

const configured = (more: Partial<HarvestConfig> = {}): HarvestConfig =>
  harvestSchema.parse({
    model: 'assets/tiny-gemma',
    corpus: 'assets/corpus/validation.jsonl.gz',
    hook: [HOOK],
    tokens: 3000,
    context: 256,
    batch: 2,
    rowsPerShard: 400,
    windowRows: 1000,
    out: join(root, String(counter++)),
    ...more,
  });

const run = async (more: Partial<HarvestConfig> = {}, stop = never) => {
  const config = configured(more);
  return { config, directories: await harvest(config, silent, stop) };
};

async function allRows(directory: string): Promise<Rows[]> {
  const store = await openStore(directory);
  return Promise.all(Array.from(store.shards, (_, i) => store.readShard(i)));
}

/** Activations by "context:pos". */
async function byPosition(directory: string, d: number): Promise<Map<string, Rows['activation']>> {
  const map = new Map<string, Rows['activation']>();
  for (const rows of await allRows(directory)) {
    for (let i = 0; i < rows.token.length; i++) {
      const key = `${rows.context[i]}:${rows.pos[i]}`;
      assert.ok(!map.has(key), `${key} stands twice`);
      map.set(key, rows.activation.slice(i * d, (i + 1) * d));
    }
  }
  return map;
}

test("stores hold exactly the requested rows, each position once, no BOS, with transformers' values", async () => {
  const golden = await openGolden('tiny-gemma');
  const tokens = await golden.ints('tokens');
  const hooks = [HOOK, 'blocks.0.attn.hook_z', 'blocks.3.mlp.hook_post'];
  const { directories } = await run({ hook: hooks, dtype: 'float32', tokens: 3001 });
  for (const [h, directory] of directories.entries()) {
    const { manifest, shards } = await openStore(directory);
    const hook = hooks[h]!;
    assert.equal(manifest.hook, hook);
    assert.equal(manifest.rows, 3001);
    assert.ok(manifest.complete);
    assert.equal(
      [...shards].reduce((sum, shard) => sum + shard.rows, 0),
      3001,
    );
    let normSum = 0;
    for (const rows of await allRows(directory)) {
      for (let i = 0; i < rows.token.length; i++) {
        assert.equal(rows.token[i], tokens[rows.context[i]! * 256 + rows.pos[i]!]);
        assert.notEqual(rows.token[i], 2);
        normSum += Math.hypot(...rows.activation.subarray(i * manifest.d_in, (i + 1) * manifest.d_in));
      }
    }
    assert.ok(Math.abs(normSum / 3001 / manifest.mean_norm! - 1) < 1e-5, 'mean norm');
    const rows = await byPosition(directory, manifest.d_in);
    assert.equal(rows.size, 3001);
    const expected = await golden.floats(hook);
    const positions = [...(await golden.ints('positions'))];
    for (const [i, pos] of positions.entries()) {
      if (pos === 0) continue;
      const difference = relativeDifference(
        rows.get(`0:${pos}`)!,
        expected.subarray(i * manifest.d_in, (i + 1) * manifest.d_in),
      );
      assert.ok(difference < 1e-4, `${hook} at ${pos}: ${difference}`);
    }
  }
});

test('the same seed gives the same bytes, alone or with other hooks; another seed another order of the same rows', async () => {
  const [a, b, c] = [await run(), await run({ hook: [HOOK, 'blocks.1.hook_mlp_out'] }), await run({ seed: 1 })];
  const files = filesBelow(a.directories[0]!);
  assert.ok(files.size > 8);
  assert.deepEqual(filesBelow(b.directories[0]!), files);
  const other = filesBelow(c.directories[0]!);
  assert.notDeepEqual(other.get('shard-00000.arrow'), files.get('shard-00000.arrow'));
  assert.deepEqual(
    await byPosition(c.directories[0]!, 192).then(sorted),
    await byPosition(a.directories[0]!, 192).then(sorted),
  );
});

const sorted = <T>(map: Map<string, T>) => [...map].sort(([a], [b]) => (a < b ? -1 : 1));

test('float16 and bfloat16 stores are the float32 one, rounded to nearest', async () => {
  const wide = await byPosition((await run({ dtype: 'float32', tokens: 500 })).directories[0]!, 192);
  const half = await byPosition((await run({ dtype: 'float16', tokens: 500 })).directories[0]!, 192);
  const brain = await byPosition((await run({ dtype: 'bfloat16', tokens: 500 })).directories[0]!, 192);
  for (const [key, values] of wide) {
    assert.deepEqual(brain.get(key), toBfloat16(values as Float32Array));
    for (const [i, bits] of (half.get(key) as Uint16Array).entries()) {
      const x = values[i]!;
      // Half a unit in the last of 11 significant bits, or of the smallest subnormal.
      assert.ok(Math.abs(halfToFloat(bits) - x) <= Math.max(Math.abs(x) * 2 ** -11, 2 ** -25), `${x}`);
    }
  }
});

test('interrupted anywhere and resumed, a harvest gives the bytes of an undisturbed one', async () => {
  const hook = [HOOK, 'blocks.0.hook_attn_out'];
  const whole = filesBelow((await run({ hook })).config.out);
  // Six passes in windows of two; each attempt resumes with what was kept.
  const all = [
    [1, 3],
    [5, 1],
    [0, 2],
    [3, 1],
  ] as const;
  // `SAE_PIPE_LONG=1` takes all.
  for (const [passes, attempts] of process.env.SAE_PIPE_LONG === '1' ? all : all.slice(0, 2)) {
    const config = configured({ hook });
    for (let i = 0; i < attempts; i++) await interrupted({ ...config, resume: i > 0 }, passes);
    await assert.rejects(openStore(join(config.out, HOOK)), /is not complete/);
    await harvest({ ...config, resume: true }, silent, never);
    assert.deepEqual(filesBelow(config.out), whole, `stopped after ${passes} passes`);
  }
});

test('rows kept from an interruption that were lost are harvested again', async () => {
  const whole = filesBelow((await run()).config.out);
  const config = configured();
  await interrupted(config, 5);
  const path = join(config.out, HOOK, 'partial-00000.arrow');
  writeFileSync(path, readFileSync(path).subarray(100));
  await harvest({ ...config, resume: true }, silent, never);
  assert.deepEqual(filesBelow(config.out), whole);
});

test('a store that is ahead of the others stays as it is while they catch up', async () => {
  const hook = [HOOK, 'blocks.0.hook_attn_out'];
  const whole = filesBelow((await run({ hook })).config.out);
  const config = configured();
  const [ahead] = await harvest(config, silent, never);
  const before = filesBelow(ahead!);
  await interrupted({ ...config, hook, resume: true }, 3);
  assert.deepEqual(filesBelow(ahead!), before);
  await harvest({ ...config, hook, resume: true }, silent, never);
  assert.deepEqual(filesBelow(config.out), whole);
});

test(
  'resuming on another text is refused, in finished windows, in the current one and for a finished store',
  onDemand,
  async () => {
    const corpus = join(root, 'changing.txt');
    // A window is four passes: two leave one under way, four a whole one.
    for (const passes of [2, 4]) {
      writeFileSync(corpus, prose(80_000));
      const config = configured({ corpus: [corpus], context: 64, windowRows: 500 });
      await interrupted(config, passes);
      writeFileSync(corpus, prose(240_000, 100_000));
      const refusal = /is not what this harvest began with/;
      await assert.rejects(harvest({ ...config, resume: true }, silent, never), refusal);
      const whole = await run({ corpus: [corpus], context: 64, windowRows: 500 });
      const said: string[] = [];
      const telling = { ...silent, say: (line: string) => said.push(line) };
      await harvest({ ...whole.config, resume: true }, telling, never);
      assert.ok(!said.some((line) => line.includes('other sizes')), said.join());
      appendFileSync(corpus, 'What is added matters to no row of a finished store.');
      await harvest({ ...whole.config, resume: true }, telling, never);
      assert.ok(said.some((line) => line.includes('other sizes')));
      writeFileSync(corpus, prose(80_000));
      await assert.rejects(harvest({ ...whole.config, resume: true }, silent, never), refusal);
    }
  },
);

test('a corpus that ends early after all keeps its rows, and is finished with the number it has', async () => {
  const corpus = join(root, 'ends.txt');
  writeFileSync(corpus, prose(40_000));
  const config = configured({ corpus: [corpus], context: 64, tokens: 3000 });
  await interrupted(config, 1);
  const manifest = join(config.out, HOOK, 'manifest.json');
  // As if the corpus were longer than what is counted ahead.
  writeFileSync(manifest, readFileSync(manifest, 'utf8').replace('"rows_wanted": 3000', '"rows_wanted": 9000000'));
  let found = 0;
  await assert.rejects(harvest({ ...config, tokens: 9_000_000, resume: true }, silent, never), (error: unknown) => {
    assert.ok(error instanceof Refusal);
    found = Number(/Use --tokens (\d+) with --resume/.exec(error.remedy!)?.[1]);
    return found > 3000;
  });
  const kept = JSON.parse(readFileSync(manifest, 'utf8')) as Manifest;
  assert.equal(kept.rows + (kept.partial?.rows ?? 0), found);
  await harvest({ ...config, tokens: found, resume: true }, silent, never);
  const undisturbed = await run({ corpus: [corpus], context: 64, tokens: found });
  assert.deepEqual(filesBelow(config.out), filesBelow(undisturbed.config.out));
});

test('a corpus that ends with a window leaves a store that --resume completes', async () => {
  const { config } = await run({ tokens: 1500 });
  const whole = filesBelow(config.out);
  const manifest = join(config.out, HOOK, 'manifest.json');
  // As it was when more was wanted than there was text.
  const text = readFileSync(manifest, 'utf8');
  const wanting = text
    .replace('"rows_wanted": 1500', '"rows_wanted": 9000000')
    .replace('"complete": true', '"complete": false');
  assert.notEqual(wanting, text);
  writeFileSync(manifest, wanting);
  await assert.rejects(openStore(join(config.out, HOOK)), /is not complete/);
  await harvest({ ...config, resume: true }, silent, never);
  assert.deepEqual(filesBelow(config.out), whole);
});

test('--resume begins if there is nothing yet, and --overwrite with it is refused', async () => {
  const { config } = await run({ resume: true, tokens: 500 });
  assert.ok(filesBelow(config.out).size > 0);
  await assert.rejects(harvest({ ...config, overwrite: true, resume: true }, silent, never), /exclude each other/);
});

test('--overwrite deletes nothing when something else is wrong', async () => {
  const hook = [HOOK, 'blocks.0.hook_attn_out'];
  const { config, directories } = await run({ hook, tokens: 500 });
  writeFileSync(join(directories[1]!, 'notes.txt'), 'mine');
  const before = filesBelow(config.out);
  const again = { ...config, overwrite: true };
  await assert.rejects(harvest(again, silent, never), /notes\.txt, which this command did not write/);
  await assert.rejects(harvest({ ...again, hook: [HOOK], device: 'cuda' }, silent, never), /Device cuda/);
  assert.deepEqual(filesBelow(config.out), before);
});

test('resuming with other settings is refused, naming what differs', async () => {
  const config = configured();
  await interrupted(config, 1);
  await assert.rejects(harvest({ ...config, resume: true, seed: 3 }, silent, never), (error: unknown) => {
    assert.ok(error instanceof Refusal);
    assert.match(error.message, /seed 0.*has 3/);
    return true;
  });
});

test('the precision is kept with the store, and resuming in another is refused', async () => {
  const config = configured({ precision: 'float16' });
  await interrupted(config, 1);
  const manifest = JSON.parse(readFileSync(join(config.out, HOOK, 'manifest.json'), 'utf8')) as Manifest;
  assert.equal(manifest.precision, 'float16');
  const again = harvest({ ...config, resume: true, precision: 'float32' }, silent, never);
  await assert.rejects(again, /precision "float16".*has "float32"/);
});

test('a precision that the device lacks is refused before anything is written', async () => {
  const config = configured({ precision: 'bfloat16' });
  await assert.rejects(harvest(config, silent, never), /does not multiply bfloat16 matrices on the device cpu/);
  assert.throws(() => filesBelow(config.out), /ENOENT/);
});

test('a complete store is refused without --overwrite and --resume leaves it as it is', async () => {
  const { config, directories } = await run({ tokens: 500 });
  await assert.rejects(harvest(config, silent, never), /exists and is not empty/);
  const before = filesBelow(directories[0]!);
  await harvest({ ...config, resume: true }, silent, never);
  assert.deepEqual(filesBelow(directories[0]!), before);
  await harvest({ ...config, overwrite: true }, silent, never);
  assert.deepEqual(filesBelow(directories[0]!), before);
});

test('--overwrite deletes no file that harvest did not write', async () => {
  const { config, directories } = await run({ tokens: 500 });
  writeFileSync(join(directories[0]!, 'thesis.tex'), 'years of work');
  await assert.rejects(
    harvest({ ...config, overwrite: true }, silent, never),
    /thesis\.tex, which this command did not write/,
  );
  assert.ok(filesBelow(directories[0]!).has('shard-00000.arrow'));
});

test('a corpus with too few tokens is refused before the model runs, and says how many it has', async () => {
  const corpus = join(root, 'short.txt');
  writeFileSync(corpus, 'The state of the Union is strong. '.repeat(100));
  const config = configured({ corpus: [corpus], tokens: 100_000, context: 32 });
  let found = 0;
  await assert.rejects(harvest(config, silent, never), (error: unknown) => {
    assert.ok(error instanceof Refusal);
    found = Number(/has (\d+) tokens/.exec(error.message)?.[1]);
    return found > 0;
  });
  // The number it names is the number it can give.
  await harvest({ ...config, tokens: found }, silent, never);
  await assert.rejects(harvest({ ...config, tokens: found + 1, out: `${config.out}b` }, silent, never), Refusal);
});

test('an empty corpus, a hook that does not exist, a context beyond the model are refused and leave nothing behind', async () => {
  const corpus = join(root, 'empty.jsonl');
  writeFileSync(corpus, '');
  for (const [more, message] of [
    [{ corpus }, /0 tokens.* single context/],
    [{ hook: ['blocks.2.hook_resid_pst'] }, /The model has no hook "blocks\.2\.hook_resid_pst"/],
    [{ hook: ['blocks.4.hook_resid_post'] }, /4 layers/],
    [{ context: 513 }, /longer than the model's 512/],
    [{ tokens: 1e15 }, /disk is too full/],
  ] as const) {
    const config = configured(more as Partial<HarvestConfig>);
    await assert.rejects(harvest(config, silent, never), message);
    assert.throws(() => filesBelow(config.out), /ENOENT/, String(message));
  }
});

/** A copy of the bundled model whose layer-1 down projection has `change` made to each of its bfloat16 words. */
function damaged(name: string, change: (word: number) => number): string {
  const directory = join(root, name);
  cpSync('assets/tiny-gemma', directory, { recursive: true });
  const path = join(directory, 'model.safetensors');
  const bytes = readFileSync(path);
  const headerLength = Number(bytes.readBigUInt64LE());
  const header = JSON.parse(bytes.toString('utf8', 8, 8 + headerLength)) as Record<string, { data_offsets: number[] }>;
  const [begin, end] = header['model.layers.1.mlp.down_proj.weight']!.data_offsets as [number, number];
  for (let at = 8 + headerLength + begin; at < 8 + headerLength + end; at += 2) {
    bytes.writeUInt16LE(change(bytes.readUInt16LE(at)), at);
  }
  writeFileSync(path, bytes);
  return directory;
}

test('an activation that overflows float16 is refused with hook, layer and remedy; float32 takes it', async () => {
  // 2¹⁸ times the weight: 18 on the exponent, which begins at bit 7.
  const model = damaged('large', (word) => ((word & 0x7fff) === 0 ? word : word + (18 << 7)));
  const hook = ['blocks.1.hook_mlp_out'];
  const config = configured({ model, hook, tokens: 500, dtype: 'float16' });
  await assert.rejects(harvest(config, silent, never), (error: unknown) => {
    assert.ok(error instanceof Refusal);
    assert.match(error.message, /blocks\.1\.hook_mlp_out \(layer 1\) is .* overflows float16/);
    assert.match(error.remedy!, /--dtype bfloat16/);
    return true;
  });
  await assert.rejects(openStore(join(config.out, hook[0]!)), /is not complete/);
  await run({ model, hook, tokens: 500, dtype: 'float32' });
});

test('without --dtype a store has the element type of the checkpoint, or the one with which it was begun', async () => {
  const model = damaged('as-large', (word) => ((word & 0x7fff) === 0 ? word : word + (18 << 7)));
  const hook = ['blocks.1.hook_mlp_out'];
  const dtypeOf = async (config: HarvestConfig) => (await readManifest(join(config.out, hook[0]!))).dtype;
  const config = configured({ model, hook, tokens: 500 });
  await harvest(config, silent, never);
  assert.equal(await dtypeOf(config), 'bfloat16');
  const begun = configured({ hook, tokens: 500, dtype: 'float16' });
  await harvest(begun, silent, never);
  await harvest({ ...begun, dtype: 'auto', resume: true }, silent, never);
  assert.equal(await dtypeOf(begun), 'float16');
  await refuses(() => harvest({ ...begun, dtype: 'bfloat16', resume: true }, silent, never), 'harvest/other-settings');
});

test('activations that are not numbers are refused, naming the hook', async () => {
  const model = damaged('nan', () => 0x7fc0);
  const config = configured({ model, hook: ['blocks.1.hook_resid_post'], tokens: 500, dtype: 'float32' });
  await assert.rejects(harvest(config, silent, never), /not finite at blocks\.1\.hook_resid_post/);
});

test('shards beyond what a buffer holds are refused with the number that fits', async () => {
  const config = configured({ rowsPerShard: 6_000_000 });
  await assert.rejects(harvest(config, silent, never), (error: unknown) => {
    assert.ok(error instanceof Refusal);
    assert.match(`${error.message} ${error.remedy}`, /more than 1\.0 GiB\. Use at most 2711469\./);
    return true;
  });
});

test('a model that is replaced during a harvest gives no more rows, and --resume takes none of another model', async () => {
  const model = join(root, 'replaced', 'tiny-gemma');
  cpSync('assets/tiny-gemma', model, { recursive: true });
  const path = join(model, 'model.safetensors');
  const whole = readFileSync(path);
  const other = Buffer.from(whole);
  other[other.length - 1]! ^= 1;
  const config = configured({ model });
  const progress: Progress = { ...silent, update: (done) => void (done >= 1000 && writeFileSync(path, other)) };
  await assert.rejects(harvest(config, progress, never), /was changed while in use/);
  await assert.rejects(harvest({ ...config, resume: true }, silent, never), /was begun with model/);
  writeFileSync(path, whole);
  const [directory] = await harvest({ ...config, resume: true }, silent, never);
  const undisturbed = await run();
  assert.deepEqual(filesBelow(directory!), filesBelow(undisturbed.directories[0]!));
});

test('a harvest whose tokens are complete before its files says how many of them were read', async () => {
  const corpus = join(root, 'files');
  mkdirSync(corpus);
  for (const [i, name] of ['a.txt', 'b.txt', 'c.txt'].entries())
    writeFileSync(join(corpus, name), prose(2000, i * 2000));
  const said = async (more: Partial<HarvestConfig>) => {
    const lines: string[] = [];
    const progress: Progress = { ...silent, say: (line) => lines.push(line) };
    const few = { corpus: [corpus], hook: ['blocks.0.hook_resid_pre'], context: 32, rowsPerShard: 1000 };
    await harvest(configured({ ...few, ...more }), progress, never);
    return lines.filter((line) => line.includes('of 3 ('));
  };
  const [line, ...others] = await said({ tokens: 700 });
  assert.equal(others.length, 0);
  for (const part of [corpus, 'file 2 of 3', 'b.txt', '--tokens 700', '1 more']) assert.ok(line!.includes(part), line);
  assert.deepEqual(await said({ tokens: 1200 }), [], 'in the last file');
  assert.deepEqual(await said({ tokens: 700, shuffleBuffer: 2 }), [], 'in another order');
});
