import assert from 'node:assert/strict';
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { JsonLines } from '../../src/disk/growing-file.js';
import { refuses } from '../config/refuses.js';
import { temporaryDirectory } from '../temporary.js';

interface Line {
  step: number;
  note?: string;
}
const all = { keep: () => true };
const fileIn = (t: TestContext) => join(temporaryDirectory(t), 'metrics.jsonl');
const linesOf = (path: string) => readFileSync(path, 'utf8').split('\n');

test('a new file is empty and has no last line', async (t) => {
  const path = fileIn(t);
  const lines = await JsonLines.open<Line>(path, all);
  assert.equal(lines.last, undefined);
  await lines.close();
  assert.equal(readFileSync(path, 'utf8'), '');
});

test('each appended line is in the file at once, one JSON object per line', async (t) => {
  const path = fileIn(t);
  const lines = await JsonLines.open<Line>(path, all);
  await lines.append({ step: 1, note: 'two\nlines' });
  assert.deepEqual(linesOf(path), ['{"step":1,"note":"two\\nlines"}', '']);
  await lines.append({ step: 2 });
  assert.deepEqual(linesOf(path), ['{"step":1,"note":"two\\nlines"}', '{"step":2}', '']);
  assert.deepEqual(lines.last, { step: 2 });
  await lines.close();
});

test('a reopened file continues after its last line', async (t) => {
  const path = fileIn(t);
  writeFileSync(path, '{"step":1}\n{"step":2}\n');
  const lines = await JsonLines.open<Line>(path, all);
  assert.deepEqual(lines.last, { step: 2 });
  await lines.append({ step: 3 });
  await lines.close();
  assert.deepEqual(linesOf(path), ['{"step":1}', '{"step":2}', '{"step":3}', '']);
});

test('a torn last line is dropped, wherever it was torn', async (t) => {
  const whole = '{"step":1}\n';
  const next = '{"step":2,"note":"β"}';
  const bytes = Buffer.from(next);
  for (let kept = 1; kept <= bytes.length; kept++) {
    const path = fileIn(t);
    writeFileSync(path, Buffer.concat([Buffer.from(whole), bytes.subarray(0, kept)]));
    const lines = await JsonLines.open<Line>(path, all);
    assert.deepEqual(lines.last, { step: 1 });
    await lines.append({ step: 2 });
    await lines.close();
    assert.deepEqual(linesOf(path), ['{"step":1}', '{"step":2}', ''], `${kept} bytes of the last line`);
  }
});

test('only the lines to keep stay, and the last of them is the last', async (t) => {
  const path = fileIn(t);
  writeFileSync(path, [1, 2, 3, 4, 5].map((step) => `{"step":${step}}\n`).join(''));
  const lines = await JsonLines.open<Line>(path, { keep: ({ step }) => step <= 3 });
  assert.deepEqual(lines.last, { step: 3 });
  await lines.close();
  assert.deepEqual(linesOf(path), ['{"step":1}', '{"step":2}', '{"step":3}', '']);
  assert.deepEqual(readdirSync(dirname(path)), ['metrics.jsonl']);
});

test('a directory that is missing is refused by name', (t) => {
  const path = join(temporaryDirectory(t), 'gone', 'metrics.jsonl');
  return refuses(() => JsonLines.open<Line>(path, all), 'disk/out-vanished', path);
});

test('a deleted file is refused by name: nobody would read what is added', async (t) => {
  const path = fileIn(t);
  const lines = await JsonLines.open<Line>(path, all);
  await lines.append({ step: 1 });
  rmSync(path);
  await refuses(() => lines.append({ step: 2 }), 'disk/out-deleted', path, '--out');
  await lines.close();
});

test('a line that is not an object is refused by its number', async (t) => {
  for (const line of ['null', '1', '[]', '"a"', '{', `{"a":${'['.repeat(50_000)}${']'.repeat(50_000)}}`]) {
    const path = join(temporaryDirectory(t), 'lines.jsonl');
    writeFileSync(path, `{"step":1}\n${line}\n`);
    await refuses(
      () => JsonLines.open<{ step: number }>(path, { keep: ({ step }) => step > 0 }),
      'disk/not-json-lines',
      `${path}:2`,
    );
  }
});
