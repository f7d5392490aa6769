import assert from 'node:assert/strict';
import { cpSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { openCheckpoint } from '../../src/lm/checkpoint.js';
import { floatTensor } from '../../src/safetensors/file.js';
import { refuses } from '../config/refuses.js';
import { relativeDifference } from '../golden.js';
import { temporaryDirectory } from '../temporary.js';
import { openRandomModel, writeCheckpoint } from './random-model.js';
import { nextTokenLosses } from './run-model.js';

const INDEX = 'model.safetensors.index.json';
const SHARD = 'model-00002-of-00003.safetensors';
const root = temporaryDirectory();
const model = await openRandomModel('gemma2-mqa');
const whole = await writeCheckpoint(join(root, 'whole'), model, { shards: 3 });
let counter = 0;

/** A copy of the sharded checkpoint with its index's map changed. */
function withMap(change: (map: Record<string, string>) => void): string {
  const directory = join(root, String(counter++));
  cpSync(whole, directory, { recursive: true });
  const path = join(directory, INDEX);
  const index = JSON.parse(readFileSync(path, 'utf8')) as { weight_map: Record<string, string> };
  change(index.weight_map);
  writeFileSync(path, JSON.stringify(index));
  return directory;
}

test('an index whose paths lead elsewhere is refused, naming the path', async () => {
  const elsewhere = ['../whole/model-00002-of-00003.safetensors', '/etc/passwd', join(whole, SHARD), 'a/b.safetensors'];
  for (const path of [...elsewhere, '..', '.hidden.safetensors', 'model.bin', '', 'a\\b.safetensors']) {
    const directory = withMap((map) => {
      map['model.norm.weight'] = path;
    });
    await refuses(() => openCheckpoint(directory), 'lm/unsafe-shard-name', JSON.stringify(path), INDEX);
  }
});

test('a missing shard is named', async () => {
  const directory = withMap(() => {});
  rmSync(join(directory, SHARD));
  await refuses(() => openCheckpoint(directory), 'lm/no-shard', `lacks the shard ${SHARD}`);
});

test('a tensor that is not in its shard is named, with the shard', async () => {
  const directory = withMap((map) => {
    map['model.layers.4.mlp.up_proj.weight'] =
      map['model.layers.4.mlp.up_proj.weight'] === SHARD ? 'model-00001-of-00003.safetensors' : SHARD;
  });
  await refuses(
    () => openCheckpoint(directory),
    'lm/no-tensor',
    'model.layers.4.mlp.up_proj.weight',
    'of-00003.safetensors',
  );
});

test('a tensor that the index does not have is named', async () => {
  const directory = withMap((map) => {
    delete map['model.norm.weight'];
  });
  await refuses(() => openCheckpoint(directory), 'lm/no-tensor', 'lacks the tensor norm.weight', INDEX);
});

test('an index that is broken or empty is refused', async () => {
  for (const [text, code, named] of [
    ['{', 'disk/not-json', ''],
    ['{}', 'disk/wrong-json', 'weight_map'],
    ['{"weight_map": {"a": 1}}', 'lm/broken-index', 'weight_map.a'],
    ['{"weight_map": {}}', 'lm/broken-index', ''],
  ] as const) {
    const directory = withMap(() => {});
    writeFileSync(join(directory, INDEX), text);
    await refuses(() => openCheckpoint(directory), code, INDEX, named);
  }
});

test('the fingerprint of a sharded checkpoint sees every shard', async () => {
  const before = (await openCheckpoint(whole)).fingerprint;
  assert.equal((await openCheckpoint(withMap(() => {}))).fingerprint, before);
  for (const shard of readdirSync(whole).filter((name) => name.startsWith('model-'))) {
    const directory = withMap(() => {});
    const bytes = readFileSync(join(directory, shard));
    bytes[bytes.length - 100]! ^= 1;
    writeFileSync(join(directory, shard), bytes);
    assert.notEqual((await openCheckpoint(directory)).fingerprint, before, shard);
  }
});

test('a Hugging Face cache is opened as it is: a snapshot of symbolic links, sharded or not', async () => {
  for (const shards of [1, 3]) {
    const repository = join(root, `cache-${shards}`, 'models--google--gemma-2-tiny');
    const snapshot = join(repository, 'snapshots', '0123abcd');
    const blobs = join(repository, 'blobs');
    mkdirSync(blobs, { recursive: true });
    await writeCheckpoint(snapshot, model, { shards });
    for (const [i, name] of readdirSync(snapshot).entries()) {
      renameSync(join(snapshot, name), join(blobs, `blob${i}`));
      symlinkSync(join('..', '..', 'blobs', `blob${i}`), join(snapshot, name));
    }
    const checkpoint = await openCheckpoint(snapshot);
    assert.equal(checkpoint.name, 'google/gemma-2-tiny');
    const nll = await nextTokenLosses(checkpoint, model.tokens, model.context, 94);
    assert.ok(relativeDifference(nll, await model.golden.floats('nll')) < 1e-4);
    // A cache that was moved to a larger disk, with a link at its old place, and a directory of links to its files.
    const moved = join(temporaryDirectory(), 'models');
    renameSync(repository, moved);
    symlinkSync(moved, repository);
    const links = join(temporaryDirectory(), 'links');
    mkdirSync(links);
    for (const name of readdirSync(snapshot)) symlinkSync(join(snapshot, name), join(links, name));
    assert.equal((await openCheckpoint(snapshot)).name, 'google/gemma-2-tiny');
    assert.equal((await openCheckpoint(links)).fingerprint, checkpoint.fingerprint);
  }
});

test('tensors of unsupported types are skipped, and named where they are needed', async () => {
  const bytes = new Uint8Array(8);
  const more = (['F8_E4M3', 'F8_E5M2', 'F4', 'C64'] as const).map((dtype) => {
    const shape = [dtype === 'F4' ? 16 : dtype === 'C64' ? 1 : 8];
    return { name: `vision_tower.${dtype}`, dtype, shape, bytes };
  });
  const beside = await writeCheckpoint(join(root, String(counter++)), model, { more });
  assert.equal((await openCheckpoint(beside)).fingerprint, (await openCheckpoint(whole)).fingerprint);
  const norm = 'model.norm.weight';
  const [size] = model.shapes[norm]!;
  const { [norm]: _, ...shapes } = model.shapes;
  const needed = { name: norm, dtype: 'F8_E4M3' as const, shape: [size!], bytes: new Uint8Array(size!) };
  const quantised = await writeCheckpoint(join(root, String(counter++)), { ...model, shapes }, { more: [needed] });
  await refuses(() => openCheckpoint(quantised), 'lm/wrong-dtype', norm, 'F8_E4M3');
});

test('GPT-2 and Pythia are read as they were published: other names, and buffers along with the weights', async (t) => {
  for (const [name, changes, buffer] of [
    ['gpt2-tied', [['transformer.', '']], 'h.0.attn.bias'],
    ['neox-parallel', [['lm_head.weight', 'embed_out.weight']], 'gpt_neox.layers.1.attention.masked_bias'],
  ] as const) {
    const model = await openRandomModel(name);
    const checkpoint = await openCheckpoint(await writeCheckpoint(temporaryDirectory(t), model));
    // The weights follow from the names of before.
    const rename = (tensor: string) => changes.reduce((known, [from, to]) => known.replace(from, to), tensor);
    const more = [floatTensor(buffer, [1], Float32Array.of(1))];
    const published = await openCheckpoint(await writeCheckpoint(temporaryDirectory(t), model, { rename, more }));
    assert.deepEqual([...published.tensors.keys()].sort(), [...checkpoint.tensors.keys()].sort());
    const losses = [checkpoint, published].map((one) => nextTokenLosses(one, model.tokens, model.context, 10));
    const [before, after] = await Promise.all(losses);
    assert.deepEqual(before, after);
  }
});
