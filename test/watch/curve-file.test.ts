import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { appendFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { CurveFile } from '../../src/watch/run-files.js';
import { curve } from '../report/sample.js';
import { temporaryDirectory } from '../temporary.js';
import { textOf } from './runs.js';

const fileIn = (directory: string) => join(directory, 'metrics.jsonl');

test('each update takes in what was added, and says whether anything was', async (t) => {
  const path = fileIn(temporaryDirectory(t));
  const all = curve(30);
  writeFileSync(path, '');
  const file = new CurveFile(path);
  await file.update();
  assert.deepEqual(file.curve.records(), []);
  for (let done = 0; done < 30; done += 10) {
    appendFileSync(path, textOf(all.slice(done, done + 10)));
    assert.equal(await file.update(), true);
    assert.deepEqual(file.curve.records(), all.slice(0, done + 10));
    assert.equal(await file.update(), false);
  }
  assert.deepEqual(file.recent, all.slice(-11));
  assert.equal(file.unreadable, 0);
});

test('a torn last line waits for its rest, wherever it is torn', async (t) => {
  const path = fileIn(temporaryDirectory(t));
  const [first, second] = curve(2);
  const bytes = Buffer.from(textOf([second!]));
  writeFileSync(path, textOf([first!]));
  const file = new CurveFile(path);
  for (let i = 0; i < bytes.length; i++) {
    await file.update();
    assert.deepEqual(file.curve.records(), [first], `${i} bytes of the second line`);
    appendFileSync(path, bytes.subarray(i, i + 1));
  }
  await file.update();
  assert.deepEqual(file.curve.records(), [first, second]);
  assert.equal(file.unreadable, 0);
});

test('a file that was rewritten is read from its beginning, shorter, as long or longer', async (t) => {
  for (const lines of [3, 20, 40]) {
    const path = fileIn(temporaryDirectory(t));
    writeFileSync(path, textOf(curve(20)));
    const file = new CurveFile(path);
    await file.update();
    const anew = curve(lines, { mse: 2 });
    writeFileSync(`${path}.tmp`, textOf(anew));
    renameSync(`${path}.tmp`, path);
    await file.update();
    assert.deepEqual(file.curve.records(), anew, `${lines} lines`);
    assert.equal(file.curve.last!.step, lines);
  }
});

test('only what was added is read: a line changed far before the end goes unseen', async (t) => {
  const path = fileIn(temporaryDirectory(t));
  const lines = curve(100);
  writeFileSync(path, textOf(lines));
  const file = new CurveFile(path);
  await file.update();
  const changed = [{ ...lines[0]!, loss: 999 }, ...lines.slice(1)];
  assert.equal(textOf(changed).length, textOf(lines).length);
  writeFileSync(path, textOf([...changed, ...curve(101).slice(100)]));
  await file.update();
  assert.equal(file.curve.records().length, 101);
  assert.equal(file.curve.records()[0]!.loss, lines[0]!.loss);
});

test('a long file is read completely, over its chunks', async (t) => {
  const path = fileIn(temporaryDirectory(t));
  const lines = curve(5000);
  writeFileSync(path, textOf(lines));
  const file = new CurveFile(path);
  await file.update();
  assert.deepEqual(file.curve.last, lines.at(-1));
  assert.equal(file.unreadable, 0);
  const records = file.curve.records();
  assert.ok(records.length > 400 && records.length <= 800);
  assert.equal(records[0]!.step, (1 + 8) / 2, 'eight lines a record');
});

test('lines that are not what training writes are counted and left out', async (t) => {
  const path = fileIn(temporaryDirectory(t));
  const [first, second] = curve(2);
  const { loss: _, ...incomplete } = second!;
  const noise = ['not json', '[]', 'null', JSON.stringify(incomplete), `"${'x'.repeat(600_000)}"`];
  writeFileSync(path, `${textOf([first!])}${noise.join('\n')}\n\n${textOf([second!])}`);
  const file = new CurveFile(path);
  await file.update();
  assert.deepEqual(file.curve.records(), [first, second]);
  assert.ok(file.unreadable >= noise.length);
});

test('null is a value that is not a number', async (t) => {
  const path = fileIn(temporaryDirectory(t));
  writeFileSync(path, textOf([{ ...curve(1)[0]!, explained_variance: null }]));
  const file = new CurveFile(path);
  await file.update();
  assert.ok(Number.isNaN(file.curve.last!.explained_variance));
});

test('a link is not followed, a pipe not waited for, and a missing file is an error', async (t) => {
  const directory = temporaryDirectory(t);
  writeFileSync(join(directory, 'elsewhere'), textOf(curve(3)));
  symlinkSync(join(directory, 'elsewhere'), fileIn(directory));
  await assert.rejects(new CurveFile(fileIn(directory)).update(), { code: 'ELOOP' });
  rmSync(fileIn(directory));
  await assert.rejects(new CurveFile(fileIn(directory)).update(), { code: 'ENOENT' });
  execFileSync('mkfifo', [fileIn(directory)]);
  const pipe = new CurveFile(fileIn(directory));
  assert.equal(await pipe.update(), false);
  assert.deepEqual(pipe.curve.records(), []);
});
