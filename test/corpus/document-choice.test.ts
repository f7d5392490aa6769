import assert from 'node:assert/strict';
import { test } from 'node:test';
import { harvestSchema } from '../../src/config/stages/harvest.js';
import type { Document } from '../../src/corpus/contexts.js';
import { chosenDocuments, documentChoice, isHeldOut, mayShare } from '../../src/corpus/document-choice.js';
import { wholeDocument } from './whole-documents.js';

/** Documents in pieces of 300 characters; what is not read to its end counts as skipped. */
async function* documents(texts: readonly string[], asked: string[] = []): AsyncGenerator<Document> {
  for (const text of texts) {
    asked.push(text);
    yield { pieces: text.match(/.{1,300}/gs) ?? [], source: text.slice(0, 10) };
  }
}

async function chosen(texts: readonly string[], ...choice: Parameters<typeof documentChoice>): Promise<string[]> {
  const found: string[] = [];
  for await (const document of chosenDocuments(documents(texts), documentChoice(...choice) ?? {})) {
    found.push((await wholeDocument(document)).text);
  }
  return found;
}

const many = Array.from({ length: 2000 }, (_, i) => `document ${i} ${'x'.repeat(i)}`);

test('documents are skipped and taken by number, and no more are read', async () => {
  assert.deepEqual(await chosen(['a', 'b', 'c', 'd'], { skipDocuments: 1, maxDocuments: 2 }, false), ['b', 'c']);
  assert.deepEqual(await chosen(['a', 'b'], { skipDocuments: 2 }, false), []);
  const asked: string[] = [];
  for await (const _ of chosenDocuments(documents(many, asked), { skip: 3, most: 2 }));
  assert.equal(asked.length, 5);
});

test('the held-out documents and the others are all documents, with none in both', async () => {
  const [training, held] = [await chosen(many, { holdout: '5%' }, false), await chosen(many, { holdout: '5%' }, true)];
  assert.deepEqual([...training, ...held].sort(), [...many].sort());
  assert.ok(held.length > 50 && held.length < 150, String(held.length));
  assert.deepEqual(await chosen(many, { holdout: '0.05' }, true), held);
  const fewer = await chosen(many, { holdout: '1%' }, true);
  assert.ok(
    fewer.every((text) => held.includes(text)),
    'a smaller share is part of a larger one',
  );
});

test('documents with the same beginning are on the same side, whatever pieces they come in', () => {
  const text = 'a'.repeat(5000);
  assert.equal(isHeldOut(text, 0.5), isHeldOut(`${text.slice(0, 1024)} and another end`, 0.5));
});

test('training and evaluation have no document in common exactly when their selections imply that', () => {
  const held = (holdout: string) => documentChoice({ holdout }, true);
  const trained = (holdout: string) => documentChoice({ holdout }, false);
  assert.equal(mayShare(undefined, undefined), true);
  assert.equal(mayShare(trained('1%'), held('1%')), false);
  assert.equal(mayShare(trained('1%'), held('0.5%')), false);
  assert.equal(mayShare(trained('1%'), held('2%')), true);
  assert.equal(mayShare(undefined, held('1%')), true);
  assert.equal(mayShare(trained('1%'), undefined), true);
  assert.equal(mayShare({ most: 100 }, { skip: 100 }), false);
  assert.equal(mayShare({ most: 101 }, { skip: 100 }), true);
  assert.equal(mayShare({ skip: 50 }, { most: 50 }), false);
  assert.equal(mayShare({ skip: 50 }, { most: 50 }, false), true);
  assert.equal(mayShare(trained('1%'), held('1%'), false), false);
});

test('--holdout takes shares, and nothing else', () => {
  const { holdout } = harvestSchema.shape;
  for (const good of ['1%', '0.5%', '0.01', '.2', '99%']) assert.ok(holdout.safeParse(good).success, good);
  for (const wrong of ['0%', '0', '1', '100%', '-1%', '1 %', '%', '0.0', 'x', '00.0%'])
    assert.ok(!holdout.safeParse(wrong).success, wrong);
});
