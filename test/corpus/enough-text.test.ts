import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Context, checkEnoughText } from '../../src/corpus/contexts.js';
import { Interrupted } from '../../src/errors/refusal.js';
import { type Progress, type StopRequest, silent } from '../../src/progress/progress.js';
import { refuses } from '../config/refuses.js';

/** Contexts of 8 tokens; `taken` counts how many were requested. */
function contexts(count: number) {
  const counter = { taken: 0 };
  async function* make(): AsyncGenerator<Context> {
    for (let index = 0; index < count; index++) {
      counter.taken++;
      yield { index, tokens: new Int32Array(8), documents: new Uint32Array(8) };
    }
  }
  return { make, counter };
}
const seven = () => 7;
const never: StopRequest = { signal: undefined };

test('exactly enough text passes', () => checkEnoughText(contexts(10).make(), seven, 70, 'c.jsonl', silent, never));

test('one token too few is refused with corpus, available and requested tokens, and the remedy', () =>
  refuses(
    () => checkEnoughText(contexts(10).make(), seven, 71, 'c.jsonl', silent, never),
    'corpus/too-short',
    'c.jsonl',
    '70 tokens',
    '71',
    '--tokens 70',
  ));

test('a corpus that fills no context is refused as that', () =>
  refuses(
    () => checkEnoughText(contexts(0).make(), seven, 1, 'c.jsonl', silent, never),
    'corpus/too-short',
    'c.jsonl',
    '--context',
  ));

test('counting stops once there is enough', async () => {
  const { make, counter } = contexts(1000);
  await checkEnoughText(make(), seven, 22, 'c.jsonl', silent, never);
  assert.equal(counter.taken, 4);
});

test('only the positions that count are counted', () =>
  refuses(
    () => checkEnoughText(contexts(10).make(), ({ index }) => (index === 3 ? 2 : 0), 3, 'c.jsonl', silent, never),
    'corpus/too-short',
    '2 tokens',
  ));

test('progress is reported, never beyond its total, and ended even when the text is refused', async () => {
  const seen: string[] = [];
  const progress: Progress = {
    ...silent,
    begin: (label, total, unit) => seen.push(`begin ${total} ${unit} ${label}`),
    update: (done) => seen.push(`update ${done}`),
    end: () => seen.push('end'),
    say: (line) => seen.push(line),
  };
  await checkEnoughText(contexts(10).make(), seven, 12, 'c.jsonl', progress, never);
  assert.equal(seen[0], 'begin 12 token counting tokens');
  assert.deepEqual(seen.slice(-2), ['update 12', 'end']);
  assert.equal(seen.includes('update 14'), false);
  seen.length = 0;
  await assert.rejects(checkEnoughText(contexts(1).make(), seven, 12, 'c.jsonl', progress, never));
  assert.equal(seen.at(-1), 'end');
});

test('counting stops on request', async () => {
  const { make, counter } = contexts(1000);
  const counting = checkEnoughText(make(), seven, 7000, 'c.jsonl', silent, { signal: 'SIGINT' });
  await assert.rejects(counting, Interrupted);
  assert.equal(counter.taken, 1);
});
