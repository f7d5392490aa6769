import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Arena, Plan } from '../../../../src/train/engines/sparse/memory.js';

test('arrays begin at cache lines, do not overlap, and leave address 0 free', () => {
  const plan = new Plan();
  const lengths = { f32: 17, f64: 3, u32: 1, u16: 33, u8: 65, i8: 64, i32: 0 } as const;
  const sizes = { f32: 4, f64: 8, u32: 4, u16: 2, u8: 1, i8: 1, i32: 4 } as const;
  let end = 1;
  for (const type of Object.keys(lengths) as (keyof typeof lengths)[]) {
    plan.add(type, type, lengths[type]);
    const { pointer, length } = plan.at(type);
    assert.equal(pointer % 64, 0, type);
    assert.ok(pointer >= end && pointer < end + 64, `${type} at ${pointer}, after ${end}`);
    assert.equal(length, lengths[type]);
    end = pointer + length * sizes[type];
    assert.ok(plan.bytes >= end && plan.bytes < end + 64);
  }
});

test('a name is planned once, and only planned names have a place', () => {
  const plan = new Plan();
  plan.add('x', 'f32', 1);
  assert.throws(() => plan.add('x', 'u8', 2), /array x is planned twice/);
  assert.throws(() => plan.at('y'), /no array y is planned/);
  assert.deepEqual([plan.has('x'), plan.has('y')], [true, false]);
  const arena = new Arena(plan);
  assert.equal(arena.pointer('x'), plan.at('x').pointer);
  assert.equal(arena.pointer('y'), 0);
  assert.throws(() => arena.f32('y'), /no array y is planned/);
});

test('views share the memory, and none reaches beyond its array', () => {
  const plan = new Plan();
  plan.add('a', 'f32', 10);
  plan.add('b', 'u32', 4);
  plan.add('c', 'f64', 2);
  const arena = new Arena(plan);
  arena.f32('a').set([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  assert.deepEqual([...arena.f32('a', 3, 2)], [3, 4]);
  assert.deepEqual([...arena.f32('a', 8)], [8, 9]);
  assert.equal(arena.f32('a', 10).length, 0);
  assert.throws(() => arena.f32('a', 8, 3), /view beyond array a/);
  assert.throws(() => arena.f32('a', 11, 0), /view beyond array a/);
  // Another type counts other elements: 40 bytes are ten integers and 40 bytes.
  assert.equal(arena.u32('a')[1], 0x3f800000);
  assert.deepEqual([...arena.view('u8', 'a', 4, 4)], [0, 0, 0x80, 0x3f]);
  assert.throws(() => arena.view('u8', 'a', 38, 3), /view beyond array a/);
  assert.deepEqual([...arena.u32('b')], [0, 0, 0, 0]);
  arena.f64('c')[1] = 5;
  assert.equal(new Float64Array(arena.memory.buffer, arena.pointer('c'), 2)[1], 5);
});

test('the memory has whole pages for the plan', () => {
  for (const [length, pages] of [
    [1, 1],
    [65536 - 64, 1],
    [65536 - 63, 2],
    [200_000, 4],
  ] as const) {
    const plan = new Plan();
    plan.add('x', 'u8', length);
    assert.equal(new Arena(plan).memory.buffer.byteLength, pages * 65536, `${length} bytes`);
  }
});
