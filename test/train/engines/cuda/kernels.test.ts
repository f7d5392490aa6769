import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Generator } from '../../../../src/random/generator.js';
import { widen } from '../../../../src/safetensors/floats.js';
import { type Field, type KernelName, packArguments } from '../../../../src/train/engines/cuda/kernels/arguments.js';
import { SCAN_TILE } from '../../../../src/train/engines/cuda/kernels/scan.js';
import { kernelSource } from '../../../../src/train/engines/cuda/kernels/source.js';
import { type CudaPlan, planCuda } from '../../../../src/train/engines/cuda/plan.js';
import type { EngineSettings } from '../../../../src/train/engines/engine.js';
import { smallSettings } from '../problem.js';
import { withoutCompiler } from './compiler.js';
import { CpuDevice } from './cpu-device.js';

const skip = withoutCompiler;

/** Single kernels of a run on arrays of ours. */
class Bench {
  private constructor(
    readonly plan: CudaPlan,
    private readonly device: CpuDevice,
    private readonly kernels: Awaited<ReturnType<CpuDevice['compile']>>,
  ) {}

  /** @param kernels those that are run */
  static async open(settings: EngineSettings, kernels: readonly KernelName[], slice?: number): Promise<Bench> {
    return Bench.of(settings, planCuda(settings, { ...(slice && { slice }), denseShare: 1 }), kernels);
  }

  static async of(settings: EngineSettings, plan: CudaPlan, kernels: readonly KernelName[]): Promise<Bench> {
    const device = await CpuDevice.open();
    return new Bench(plan, device, await device.compile(kernelSource(settings, plan), kernels));
  }

  put(values: ArrayBufferView): bigint {
    const at = this.device.allocate(values.byteLength);
    const host = this.device.allocateHost(values.byteLength);
    new Uint8Array(host.bytes).set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
    this.device.waitFor(this.device.upload(at, host, values.byteLength));
    return at;
  }

  /** @param values of the fields that matter; other arrays are absent */
  run(
    name: KernelName,
    blocks: number | readonly [number, number],
    threads: number,
    values: Partial<Record<Field, bigint | number>>,
  ): void {
    this.kernels.launch(
      name,
      blocks,
      threads,
      packArguments(name, (field) => values[field] ?? 0n),
    );
  }

  async get(at: bigint, bytes: number): Promise<ArrayBuffer> {
    const host = this.device.allocateHost(bytes);
    this.device.download(host, at, bytes);
    await this.device.mark().reached();
    return host.bytes;
  }

  close(): void {
    this.device.close();
  }
}

test('every float16 is widened exactly', { skip }, async () => {
  const [batch, dIn] = [256, 256];
  const settings = smallSettings('standard', { dIn, batch, batchDType: 'float16', scale: 1, dSae: 32 });
  const bench = await Bench.open(settings, ['centre']);
  const halves = Uint16Array.from({ length: 65_536 }, (_, i) => i);
  const xc = bench.put(new Float32Array(65_536).fill(9));
  bench.run('centre', batch, 32, { x: bench.put(halves), b_dec: bench.put(new Float32Array(dIn)), xc });
  const found = new Float32Array(await bench.get(xc, 4 * 65_536));
  const wanted = widen(halves, 'float16');
  for (const [i, x] of found.entries()) assert.ok(Object.is(x, wanted[i]), `${i.toString(16)} becomes ${x}`);
  bench.close();
});

test('floats become the nearest bfloat16, ties to even, NaN NaN', { skip }, async () => {
  const dIn = 8;
  const bench = await Bench.open(smallSettings('standard', { dIn, dSae: 40 }), ['roundRows']);
  const random = new Generator(5);
  const bits = Uint32Array.from({ length: 320 }, () => Math.floor(random.uniform() * 2 ** 32));
  // Ties, the largest number, infinities, a NaN whose upper half is that of infinity, zeros, subnormals.
  bits.set([0x3f808000, 0x3f818000, 0x3f808001, 0x7f7fffff, 0x7f800000, 0xff800000, 0x7f800001, 0, 0x80000000, 0x8001]);
  const out = bench.put(new Uint16Array(320));
  bench.run('roundRows', 40, 32, { W_enc: bench.put(bits), W_enc_bfloat16: out });
  const found = new Uint16Array(await bench.get(out, 640));
  for (const [i, bit] of bits.entries()) {
    const value = new Float32Array(Uint32Array.of(bit).buffer)[0]!;
    const near = (upper: number) => new Float32Array(Uint32Array.of(upper << 16).buffer)[0]!;
    const result = near(found[i]!);
    if (Number.isNaN(value)) assert.ok(Number.isNaN(result), `${bit.toString(16)} becomes ${found[i]!.toString(16)}`);
    else {
      // Of the two around it, the nearer; beyond the largest lies what would be 2¹²⁸.
      const [below, above] = [bit >>> 16, (bit >>> 16) + 1];
      const distance = (upper: number) => {
        const other = near(upper);
        return Math.abs(
          (Number.isFinite(value) && Math.abs(other) === Infinity ? Math.sign(other) * 2 ** 128 : other) - value,
        );
      };
      if (!Number.isFinite(value) || distance(below) < distance(above)) assert.equal(found[i], below);
      else if (distance(above) < distance(below)) assert.equal(found[i], above);
      else assert.equal(found[i], below % 2 === 0 ? below : above);
    }
  }
  bench.close();
});

test('starts are the sums of the counts before, added to the initial value', { skip }, async () => {
  const bench = await Bench.open(smallSettings('standard'), ['sumTiles', 'scan']);
  const random = new Generator(6);
  for (const n of [1, 31, 257, SCAN_TILE - 1, SCAN_TILE, SCAN_TILE + 1, 3 * SCAN_TILE + 5]) {
    const counts = Int32Array.from({ length: n }, () => Math.floor(random.uniform() * 5));
    for (const before of [0n, 11n, 2n ** 33n]) {
      const [starts, end] = [bench.put(new Int32Array(n + 1)), bench.put(BigInt64Array.of(-1n))];
      const tiles = Math.ceil(n / SCAN_TILE);
      const given = { counts: bench.put(counts), n, tile_sums: bench.put(new BigInt64Array(tiles).fill(-9n)) };
      bench.run('sumTiles', tiles, 1024, given);
      bench.run('scan', tiles, 1024, { ...given, starts, before: bench.put(BigInt64Array.of(before)), end });
      const sums = [before];
      for (const count of counts) sums.push(sums.at(-1)! + BigInt(count));
      assert.deepEqual(new BigInt64Array(await bench.get(end, 8)), BigInt64Array.of(sums.at(-1)!));
      if (before > 2n ** 31n) continue;
      assert.deepEqual(new Int32Array(await bench.get(starts, 4 * (n + 1))), Int32Array.from(sums, Number));
    }
  }
  bench.close();
});

/** Kernels that list entries, and those that regroup them. */
const LISTS = [
  ...(['mark', 'scan', 'gather', 'countColumns', 'prefixChunks', 'sumTiles', 'fillColumns'] as const),
] as const;

test('entries are listed token after token within slices, and regrouped feature after feature', { skip }, async () => {
  const random = new Generator(8);
  for (const [dSae, batch, density] of [
    [203, 5, 0.1],
    [70, 300, 0.03],
    [33, 140, 1],
    [600, 3, 0.4],
    [64, 7, 0],
    [9000, 2, 0.01],
  ] as const) {
    const settings = smallSettings('standard', { dSae, batch });
    const bench = await Bench.open(settings, LISTS, 4 * batch * (dSae > 1000 ? 8992 : 64));
    const { words, slice, slices, chunks } = bench.plan;
    const bias = Float32Array.from({ length: dSae }, () => random.normal());
    const active = Array.from({ length: batch * dSae }, () => random.uniform() < density);
    const p = Float32Array.from(
      active,
      (is, k) => (is ? 1 : -1) * random.uniform() - bias[k % dSae]! + (is ? 0.01 : -0.01),
    );
    const wanted: { token: number; feature: number; p: number }[] = [];
    for (let s = 0; s < slices; s++) {
      for (let b = 0; b < batch; b++) {
        for (let j = s * slice; j < Math.min(dSae, (s + 1) * slice); j++) {
          if (active[b * dSae + j]) wanted.push({ token: b, feature: j, p: p[b * dSae + j]! });
        }
      }
    }
    const E = wanted.length;
    const ints = (n: number, value = -7) => bench.put(new Int32Array(Math.max(1, n)).fill(value));
    const [mask, counts, starts, wordStart] = [
      ints(batch * words),
      ints(batch),
      ints(slices * batch + 1),
      ints(batch * words),
    ];
    const totals = bench.put(new BigInt64Array(slices + 1));
    const [feature, entryP, device] = [ints(E), ints(E), bench.put(bias)];
    const total = totals + BigInt(8 * slices);
    for (let s = 0; s < slices; s++) {
      const [first, count] = [s * slice, Math.min(slice, dSae - s * slice)];
      const product = new Float32Array(batch * slice).fill(5);
      for (let b = 0; b < batch; b++) product.set(p.subarray(b * dSae + first, b * dSae + first + count), b * slice);
      const ofSlice = { p_slice: bench.put(product), first, count, mask };
      const token_start = starts + BigInt(4 * s * batch);
      bench.run('mark', batch, 256, { ...ofSlice, listed: 1, bias: device, counts });
      const before = totals + BigInt(8 * s);
      bench.run('scan', 1, 1024, { counts, n: batch, starts: token_start, before, end: before + 8n });
      const lists = { word_start: wordStart, feature, p: entryP };
      bench.run('gather', batch, 256, { ...ofSlice, token_start, ...lists, total: before + 8n, room: E, most: 0 });
    }
    const listed = async (at: bigint, n: number) => [...new Int32Array(await bench.get(at, 4 * n))];
    assert.deepEqual(
      await listed(feature, E),
      wanted.map((entry) => entry.feature),
    );
    const found = new Float32Array(await bench.get(entryP, 4 * E));
    assert.deepEqual(
      found,
      Float32Array.from(wanted, (entry) => entry.p),
    );

    const [chunkCounts, featureCounts, featureStart] = [ints(chunks * dSae), ints(dSae), ints(dSae + 1)];
    const [token, entry, sum] = [ints(E), ints(E), bench.put(BigInt64Array.of(0n))];
    const tiles = [Math.ceil(words / 8), chunks] as const;
    const chunked = { mask, chunk_counts: chunkCounts, rows: batch };
    bench.run('countColumns', tiles, 256, chunked);
    bench.run('prefixChunks', Math.ceil(dSae / 256), 256, { ...chunked, chunks, feature_counts: featureCounts });
    const featureTiles = Math.ceil(dSae / SCAN_TILE);
    const scanned = { counts: featureCounts, n: dSae, tile_sums: bench.put(new BigInt64Array(featureTiles)) };
    bench.run('sumTiles', featureTiles, 1024, scanned);
    bench.run('scan', featureTiles, 1024, { ...scanned, starts: featureStart, before: totals, end: sum });
    const places = { word_start: wordStart, feature_start: featureStart, token, entry };
    bench.run('fillColumns', tiles, 256, { ...chunked, ...places, left: ints(1, 0) });
    const order = wanted
      .map((_, k) => k)
      .sort((a, b) => wanted[a]!.feature - wanted[b]!.feature || wanted[a]!.token - wanted[b]!.token);
    assert.deepEqual(await listed(entry, E), order);
    assert.deepEqual(
      await listed(token, E),
      order.map((k) => wanted[k]!.token),
    );
    const begins = Array.from({ length: dSae + 1 }, (_, j) => wanted.filter((one) => one.feature < j).length);
    assert.deepEqual(await listed(featureStart, dSae + 1), begins);

    // One entry too many, and nothing is written.
    if (E > 0) {
      const few = ints(1);
      const p_slice = bench.put(new Float32Array(batch * slice));
      const range = { first: 0, count: Math.min(slice, dSae), mask, token_start: starts, total, room: E - 1, most: 0 };
      bench.run('gather', batch, 256, { p_slice, ...range, word_start: wordStart, feature: few, p: few });
      assert.deepEqual(await listed(few, 1), [-7]);
    }
    bench.close();
  }
});

test('of a token, the largest above 0 are chosen across slices; of equals the lower features, and NaN first', {
  skip,
}, async () => {
  const random = new Generator(10);
  for (const [dSae, batch, k, from_dead] of [
    [203, 6, 5, 0],
    [203, 6, 5, 1],
    [70, 40, 64, 0],
    [9000, 3, 700, 0],
    [9000, 3, 700, 1],
    [33, 4, 1, 0],
  ] as const) {
    const settings = smallSettings('standard', { dSae, batch });
    const form = { select: { kind: 'k-per-token', bias: 'b_enc', k }, rule: 'relu', penalty: 'none' } as const;
    const plan = planCuda(settings, { slice: 4 * batch * (dSae > 1000 ? 4096 : 64), form });
    const bench = await Bench.of(settings, plan, ['shortlist', 'choose', 'scan', 'gather']);
    const { words, slice, slices, candidates } = plan;
    const selected = { most: k, candidates, from_dead };
    // Every second feature is dead; whether that matters is asked of each selection.
    const since = Float32Array.from({ length: dSae }, (_, j) => settings.deadWindow - (j % 2));
    // Few values, so that many are equal; the last token has fewer above 0 than may be chosen.
    const values = [-1, 0, 0.25, 0.5, 1, 1.5, 3e30, 2e-40];
    const bias = Float32Array.from({ length: dSae }, (_, j) => (j % 5 === 0 ? 0.25 : 0));
    const p = Float32Array.from({ length: batch * dSae }, (_, i) =>
      i < (batch - 1) * dSae || i % 50 === 0 ? values[Math.floor(random.uniform() * values.length)]! : -1,
    );
    p[8] = Number.NaN;
    const wanted = Array.from({ length: batch }, (_, b) => {
      const h = (j: number) => Math.fround(p[b * dSae + j]! + bias[j]!);
      const order = (j: number) => (Number.isNaN(h(j)) ? Number.POSITIVE_INFINITY : h(j));
      return [...bias.keys()]
        .filter((j) => !(h(j) <= 0) && (from_dead === 0 || j % 2 === 0))
        .sort((i, j) => order(j) - order(i) || i - j)
        .slice(0, k)
        .sort((i, j) => i - j);
    });
    const arrays = {
      ...selected,
      bias: bench.put(bias),
      since_fired: bench.put(since),
      candidate: bench.put(new Int32Array(batch * candidates)),
      candidate_p: bench.put(new Float32Array(batch * candidates)),
      candidate_counts: bench.put(new Int32Array(batch)),
      chosen_p: bench.put(new Float32Array(batch * k)),
      mask: bench.put(new Int32Array(batch * words)),
      counts: bench.put(new Int32Array(batch)),
      word_start: bench.put(new Int32Array(batch * words)),
      feature: bench.put(new Int32Array(batch * k)),
      p: bench.put(new Float32Array(batch * k)),
      token_start: bench.put(new Int32Array(batch + 1)),
      before: bench.put(BigInt64Array.of(0n)),
      total: bench.put(BigInt64Array.of(0n)),
    };
    for (let s = 0; s < slices; s++) {
      const [first, count] = [s * slice, Math.min(slice, dSae - s * slice)];
      const product = new Float32Array(batch * slice).fill(5);
      for (let b = 0; b < batch; b++) product.set(p.subarray(b * dSae + first, b * dSae + first + count), b * slice);
      bench.run('shortlist', batch, 256, { ...arrays, p_slice: bench.put(product), first, count });
    }
    bench.run('choose', batch, 256, arrays);
    bench.run('scan', 1, 1024, { ...arrays, n: batch, starts: arrays.token_start, end: arrays.total });
    bench.run('gather', batch, 256, { ...arrays, first: 0, count: dSae, room: batch * k });
    const total = wanted.flat().length;
    assert.deepEqual([...new Int32Array(await bench.get(arrays.feature, 4 * total))], wanted.flat());
    assert.deepEqual(
      new Float32Array(await bench.get(arrays.p, 4 * total)),
      Float32Array.from(wanted.flatMap((features, b) => features.map((j) => p[b * dSae + j]!))),
    );
    assert.equal(new Int32Array(await bench.get(arrays.token_start + BigInt(4 * batch), 4))[0], total);
    bench.close();
  }
});

test('sums down columns, and the variance, are those of plain loops', { skip }, async () => {
  const settings = smallSettings('standard', { dIn: 61, batch: 77 });
  const bench = await Bench.open(settings, ['sumColumns', 'variance']);
  const { dOutRow: d } = bench.plan;
  const random = new Generator(9);
  const x = Float32Array.from({ length: 77 * d }, (_, k) => (k % d < 61 ? 3 + random.normal() : 0));
  const [at, out, spread] = [bench.put(x), bench.put(new Float32Array(d)), bench.put(new Float32Array(2))];
  bench.run('sumColumns', 2, 1024, { from: at, to: out, rows: 77, width: d });
  bench.run('variance', 2, 1024, { yc: at, variance: spread });
  const found = new Float32Array(await bench.get(out, 4 * d));
  let variance = 0;
  for (let i = 0; i < d; i++) {
    const column = Array.from({ length: 77 }, (_, b) => x[b * d + i]!);
    const sum = column.reduce((a, b) => a + b, 0);
    assert.ok(Math.abs(found[i]! - sum) <= 1e-5 * Math.abs(sum), `column ${i}`);
    variance += column.reduce((total, value) => total + (value - sum / 77) ** 2, 0);
  }
  const parts = new Float32Array(await bench.get(spread, 8));
  assert.ok(Math.abs(parts[0]! + parts[1]! - variance) < 1e-5 * variance);
  bench.close();
});
