import assert from 'node:assert/strict';
import { mkdirSync, renameSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { GraphBuilder } from '../../src/onnx/graph.js';
import type { DType, ExternalData } from '../../src/onnx/messages.js';
import { onnxRuntime, openSession } from '../../src/onnx/session.js';
import { floatTensor, readSafetensorsHeader, writeSafetensors } from '../../src/safetensors/file.js';
import { refuses, refusesUsage } from '../config/refuses.js';
import { temporaryDirectory } from '../temporary.js';
import { runGraph, tensor } from './run-graph.js';

function doubled(): GraphBuilder {
  const g = new GraphBuilder('doubled');
  const x = g.input('x', 'float32', ['n']);
  g.output('y', g.add(x, x), 'float32', ['n']);
  return g;
}

/** Gives out one external initializer. */
function givenOut(dtype: DType, dims: readonly number[], data: ExternalData): GraphBuilder {
  const g = new GraphBuilder('given out');
  g.output('y', g.cast(g.external('w', dtype, dims, data), 'float32'), 'float32', dims);
  return g;
}

async function weightFile(t: TestContext): Promise<string> {
  const directory = join(temporaryDirectory(t), 'check point λ');
  mkdirSync(directory);
  const path = join(directory, 'model.safetensors');
  await writeSafetensors(path, [
    { name: 'odd', dtype: 'U8', shape: [3], bytes: Uint8Array.of(1, 2, 3) },
    floatTensor('w', [2, 3], Float32Array.of(1, 2, 3, 4, 5, 6)),
    { name: 'half', dtype: 'BF16', shape: [2], bytes: new Uint8Array(Uint16Array.of(0x3f80, 0xc000).buffer) },
    floatTensor('other', [1], Float32Array.of(9)),
  ]);
  return path;
}

test('a graph runs with symbolic dimensions', async () => {
  for (const data of [[1], [1, 2, 3]]) {
    const { y } = await runGraph(doubled(), { x: { dims: [data.length], data } });
    assert.deepEqual(
      y!.data,
      data.map((value) => 2 * value),
    );
  }
});

test('results are written into a given tensor', async () => {
  const { Tensor } = await onnxRuntime();
  const session = await openSession(doubled().encode(), { threads: 1 });
  const target = Float32Array.of(0, 0, 7).subarray(0, 2);
  const feeds = { x: await tensor({ dims: [2], data: [3, 4] }) };
  await session.run(feeds, { y: new Tensor('float32', target, [2]) });
  assert.deepEqual([...target], [6, 8]);
  const { y } = await session.run(feeds, { y: null });
  assert.deepEqual([...(y!.data as Float32Array)], [6, 8]);
  await session.release();
});

test('only the requested outputs are returned', async () => {
  const g = doubled();
  g.output('z', g.scalar(1), 'float32', []);
  const session = await openSession(g.encode(), { threads: 1 });
  const feeds = { x: await tensor({ dims: [1], data: [1] }) };
  assert.deepEqual(Object.keys(await session.run(feeds, { y: null })), ['y']);
  assert.deepEqual(Object.keys(await session.run(feeds)).sort(), ['y', 'z']);
  await session.release();
});

test('weights are read in place: at an offset of a file in another directory', async (t) => {
  const { tensors } = await readSafetensorsHeader(await weightFile(t));
  const w = tensors.get('w')!;
  assert.notEqual(w.offset % 4, 0);
  assert.deepEqual((await runGraph(givenOut('float32', w.shape, w))).y, {
    dims: [2, 3],
    data: [1, 2, 3, 4, 5, 6],
    type: 'float32',
  });
  const half = tensors.get('half')!;
  assert.deepEqual((await runGraph(givenOut('bfloat16', half.shape, half))).y!.data, [1, -2]);
});

test('weights in several files go into one graph', async (t) => {
  const g = new GraphBuilder('shards');
  const values = [];
  for (const name of ['first', 'second']) {
    const { tensors } = await readSafetensorsHeader(await weightFile(t));
    values.push(g.external(name, 'float32', [2, 3], tensors.get('w')!));
  }
  g.output('y', g.add(values[0]!, values[1]!), 'float32', [2, 3]);
  assert.deepEqual((await runGraph(g)).y!.data, [2, 4, 6, 8, 10, 12]);
});

test('weights behind symbolic links are read, as the hub cache lays them out', async (t) => {
  const cache = join(temporaryDirectory(t), 'models--google--gemma-2b');
  mkdirSync(join(cache, 'snapshots', 'abc'), { recursive: true });
  mkdirSync(join(cache, 'blobs'));
  const blob = join(cache, 'blobs', '0123abcd');
  renameSync(await weightFile(t), blob);
  symlinkSync(blob, join(cache, 'snapshots', 'abc', 'model.safetensors'));
  symlinkSync(join(cache, 'snapshots'), join(cache, 'linked'));
  const { tensors } = await readSafetensorsHeader(join(cache, 'linked', 'abc', 'model.safetensors'));
  const w = tensors.get('w')!;
  assert.deepEqual((await runGraph(givenOut('float32', w.shape, w))).y!.data, [1, 2, 3, 4, 5, 6]);
});

test('a length that is not what type and shape need is an error that names the initializer', () => {
  const g = new GraphBuilder('wrong');
  const at = (length: number) => ({ path: '/weights', offset: 0, length });
  assert.throws(() => g.external('W_enc', 'float32', [2, 3], at(23)), /W_enc.*23 bytes.*float32\[2, 3\]/);
  assert.throws(() => g.external('W_enc', 'bfloat16', [2, 3], at(24)), /W_enc/);
  assert.doesNotThrow(() => g.external('W_enc', 'bfloat16', [2, 3], at(12)));
});

test('weights that are missing or truncated are refused when the graph is opened', async (t) => {
  const path = join(temporaryDirectory(t), 'short');
  const model = givenOut('float32', [4], { path, offset: 8, length: 16 }).encode();
  await refuses(() => openSession(model), 'onnx/graph-not-loaded');
  writeFileSync(path, new Uint8Array(20));
  await refuses(() => openSession(model), 'onnx/graph-not-loaded');
});

test('a device that does not exist is a mistake in the command, and those that do are named', async () => {
  for (const device of ['gpu', 'cuda:', 'cuda:x', 'cuda:-1', 'CPU', 'cpu ', 'webgpu:0', '']) {
    await refusesUsage(() => openSession(doubled().encode(), { device }), 'onnx/no-device', `"${device}"`);
  }
});

test('a graph that is broken, or uses an unknown operator, is refused', async () => {
  await refuses(() => openSession(doubled().encode().slice(0, 40)), 'onnx/graph-not-loaded');
  await refuses(() => openSession(Uint8Array.of(1, 2, 3)), 'onnx/graph-not-loaded');
  const g = new GraphBuilder('unknown');
  g.output('y', g.op('NoSuchOperator', [g.scalar(1)]), 'float32', []);
  await refuses(() => openSession(g.encode()), 'onnx/graph-not-loaded', 'NoSuchOperator');
});
