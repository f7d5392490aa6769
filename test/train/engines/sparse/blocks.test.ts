import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { BLOCKS, readField, writeBlock } from '../../../../src/train/engines/sparse/kernels.js';
import { Arena, Plan } from '../../../../src/train/engines/sparse/memory.js';

/** Fields of a class of the kernels, in their order, with their types in memory. */
function fieldsOf(name: string): [string, string][] {
  const source = readFileSync('src/train/engines/sparse/kernels/memory.ts', 'utf8');
  const body = new RegExp(`^@unmanaged\\nexport class ${name} \\{\\n(.*?)^\\}`, 'ms').exec(source)?.[1];
  assert.ok(body, `class ${name}`);
  return [...body.matchAll(/^ {2}(\w+): (\w+);$/gm)].map(([, field, type]) => [field!, type === 'f32' ? 'f32' : 'u32']);
}

for (const [name, fields] of Object.entries(BLOCKS)) {
  test(`the engine writes the fields of ${name} that the kernels read, in their order`, () => {
    assert.deepEqual(Object.entries(fields), fieldsOf(name));
  });
}

test('fields that are not given keep their values', () => {
  const plan = new Plan();
  plan.add('block', 'u32', 7);
  const arena = new Arena(plan);
  writeBlock(arena, 'block', 'Side', { width: 5, scale: 0.5 });
  writeBlock(arena, 'block', 'Side', { width: 6 });
  assert.equal(readField(arena, 'block', 'Side', 'width'), 6);
  assert.equal(arena.f32('block')[Object.keys(BLOCKS.Side).indexOf('scale')], 0.5);
});
