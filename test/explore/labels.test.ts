import assert from 'node:assert/strict';
import { appendFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { LabelFile } from '../../src/explore/labels.js';
import { refuses } from '../config/refuses.js';
import { temporaryDirectory } from '../temporary.js';

function place(t: TestContext) {
  const directory = join(temporaryDirectory(t), 'gated');
  mkdirSync(directory);
  return { directory, path: join(directory, 'labels.jsonl') };
}

const given = (feature: number, label: string | null, note: string | null = null) => ({ feature, label, note });

test('labels outlive the process, the last one given counts, and no file is made before', async (t) => {
  const { directory, path } = place(t);
  const file = await LabelFile.read(directory, 10);
  assert.equal(existsSync(path), false);
  await Promise.all([
    file.save([given(1, 'one')]),
    file.save([given(2, ' two ', 'why')]),
    file.save([given(1, 'uno')]),
  ]);
  await file.save([given(2, '   ', '')]);
  await file.save([given(9, null, 'note only\nin two lines')]);
  await file.close();
  const again = await LabelFile.read(directory, 10);
  assert.deepEqual(again.all(), file.all());
  assert.deepEqual(
    again.all().map(({ feature, label, note }) => [feature, label, note]),
    [
      [1, 'uno', null],
      [9, null, 'note only\nin two lines'],
    ],
  );
  assert.equal(readFileSync(path, 'utf8').split('\n').length, 6);
});

test('a line that was cut short is dropped, one without its newline counts, and both can be added to', async (t) => {
  for (const [end, expected] of [
    [
      '{"feature":3,"lab',
      [
        [1, 'a'],
        [4, 'd'],
      ],
    ],
    [
      '{"feature":3,"label":"c","note":null}',
      [
        [1, 'a'],
        [3, 'c'],
        [4, 'd'],
      ],
    ],
  ] as const) {
    const { directory, path } = place(t);
    writeFileSync(path, `{"feature":1,"label":"a","note":null}\n${end}`);
    const file = await LabelFile.read(directory, 10);
    await file.save([given(4, 'd')]);
    await file.close();
    const again = await LabelFile.read(directory, 10);
    assert.deepEqual(
      again.all().map(({ feature, label }) => [feature, label]),
      expected,
    );
  }
});

test('a line that is not a label, or of a feature that does not exist, is refused by its number', async (t) => {
  const { directory, path } = place(t);
  const good = '{"feature":1,"label":"a","note":null}\n';
  for (const bad of [
    '{"feature":1}',
    '[]',
    'x',
    '{"feature":-1,"label":null,"note":null}',
    '{"feature":1,"label":7,"note":null}',
  ]) {
    writeFileSync(path, `${good}${bad}\n${good}`);
    await refuses(() => LabelFile.read(directory, 10), 'explore/broken-label', `${path}:2`);
  }
  writeFileSync(path, `${good}${good.replace('1', '10')}`);
  await refuses(() => LabelFile.read(directory, 10), 'explore/label-without-feature', `${path}:2`);
});

test('labels that another process has added meanwhile are kept', async (t) => {
  const { directory, path } = place(t);
  const file = await LabelFile.read(directory, 10);
  appendFileSync(path, '{"feature":5,"label":"theirs","note":null}\n');
  await file.save([given(6, 'ours')]);
  await file.close();
  const again = await LabelFile.read(directory, 10);
  assert.deepEqual(
    again.all().map(({ label }) => label),
    ['theirs', 'ours'],
  );
});
