import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { readDocuments } from '../../src/corpus/documents.js';
import { Refusal } from '../../src/errors/refusal.js';
import { Generator } from '../../src/random/generator.js';
import { temporaryDirectory } from '../temporary.js';
import { type WholeDocument, wholeDocuments } from './whole-documents.js';

const directory = temporaryDirectory();

/** Result of a line: its documents, or the refusal; at most `short` characters are held in memory. */
async function outcome(line: string, short: number): Promise<WholeDocument[] | string> {
  const path = join(directory, 'a.jsonl');
  writeFileSync(path, `${line}\n{"text":"next"}\n`);
  const found: WholeDocument[] = [];
  try {
    for await (const document of wholeDocuments(path, 'text', { shortLine: short })) found.push(document);
    return found;
  } catch (error) {
    assert.ok(error instanceof Refusal, String(error));
    return error.message;
  }
}

const LINES = [
  '{"text":"one"}',
  ' { "id" : -1.5e+3 , "text" : "a\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\ud83d\\ude00 😀" , "z" : [ ] } \r',
  '{"a":[1,0,-0.5,1E9,true,false,null,{"b":{},"text":"inner"}],"text":"outer"}',
  '{"text":"","a":"\u2028\u0085\u007f"}',
  '{"text":"half \\ud83d and \\ude00\\ud83d"}',
  '{"text":null,"a":1}',
  '{"t\\u0065xt":"escaped key"}',
  '   \t ',
  '{"other":"x"}',
  '{}',
  '{"text":5}',
  '{"text":{"text":"x"}}',
  '{"text":["x"]}',
  '{"text":true}',
  '["text","x"]',
  '"text"',
  '7',
  'null',
];
const BROKEN = [
  ...[
    '{"text":"one"',
    '{"text":"one',
    '{"text":',
    '{"text"',
    '{',
    '{"text":"one"}}',
    '{"text":"one"} x',
    '{"text":"a",}',
  ],
  ...[
    '{"text":"a" "b":1}',
    '{text:"a"}',
    "{'text':'a'}",
    '{"a":[1,],"text":"a"}',
    '{"a":[,1],"text":"a"}',
    '{"text":"a]',
  ],
  ...['{"a":01,"text":"a"}', '{"a":1.,"text":"a"}', '{"a":.5,"text":"a"}', '{"a":-,"text":"a"}', '{"a":+1,"text":"a"}'],
  ...['{"a":tru,"text":"a"}', '{"a":nulll,"text":"a"}', '{"a":NaN,"text":"a"}', '{"text":nul}', '{"a":[}],"text":"a"}'],
  ...[
    '{"text":"\\x"}',
    '{"text":"\\u12g4"}',
    '{"text":"\\u12',
    '{"text":"tab\t"}',
    '{"a":"b\u0001","text":"a"}',
    '{"a" 1}',
  ],
  ...[
    '{"text":"a"},{"text":"b"}',
    '{"text":"a"}{"text":"b"}',
    '{:"a"}',
    '{"a"::1,"text":"a"}',
    '{"a":{"b":1],"text":"a"}',
  ],
];

test('a line parsed as a stream has the documents of one parsed in memory', async () => {
  for (const line of LINES) {
    assert.deepEqual(await outcome(line, 0), await outcome(line, 1000), line);
    assert.deepEqual(await outcome(line, 3), await outcome(line, 1000), line);
  }
});

test('invalid JSON is refused, parsed as a stream or in memory', async () => {
  for (const line of BROKEN) {
    for (const short of [0, 1000])
      assert.match(String(await outcome(line, short)), /a\.jsonl:1 (is not JSON|has no text)/, line);
  }
});

test('randomly changed lines give the same result, parsed as a stream or in memory', async () => {
  const random = new Generator(11);
  const letters = [...'{}[]":,\\u0e1-.tn \t', '\\ud83d', '"text"', 'null', 'é', '\u2028'];
  let read = 0;
  for (let i = 0; i < 600; i++) {
    const line = LINES[i % 8]!;
    const at = random.below(line.length);
    const changed = line.slice(0, at) + letters[random.below(letters.length)] + line.slice(at + random.below(3));
    const [held, passed] = [await outcome(changed, 1000), await outcome(changed, 0)];
    // A line may be refused for its text before it is known not to be JSON.
    if (typeof held === 'string' && typeof passed === 'string') continue;
    if (typeof passed === 'string' && passed.includes('twice')) continue;
    assert.deepEqual(passed, held, changed);
    read++;
  }
  assert.ok(read > 100);
});

test('a duplicate key is refused in a line parsed as a stream', async () => {
  assert.match(String(await outcome('{"text":"a","text":"b"}', 0)), /:1 has "text" twice/);
  assert.match(String(await outcome('{"text":null,"text":"b"}', 0)), /:1 has "text" twice/);
});

test('a long text comes in pieces, none of which ends in half a character', async () => {
  const path = join(directory, 'long.jsonl');
  const text = '\ud83d\ude00 word "quoted" \\ é\n'.repeat(150_000);
  const escaped = JSON.stringify(text).replaceAll('\ud83d\ude00', '\\ud83d\\ude00');
  writeFileSync(
    path,
    `{"meta":${JSON.stringify('m'.repeat(2_000_000))},"text":${escaped},"more":[1]}\n{"text":"last"}\n`,
  );
  const found: string[] = [];
  for await (const { pieces } of readDocuments(path, 'text')) {
    let whole = '';
    for await (const piece of pieces) {
      assert.ok(piece.length <= 2 ** 20 && !/[\ud800-\udbff]$/.test(piece));
      whole += piece;
    }
    found.push(whole);
  }
  assert.ok(found[0] === text);
  assert.deepEqual(found.slice(1), ['last']);
});

test('leaving a document half-read, or unread, leads to the next one', async () => {
  const path = join(directory, 'skip.jsonl');
  const long = JSON.stringify({ text: 'a b '.repeat(500_000), more: 1 });
  writeFileSync(path, `${long}\n${long}\n{"text":"last"}\n`);
  const sources: string[] = [];
  for await (const { pieces, source } of readDocuments(path, 'text')) {
    if (sources.length === 0) for await (const _ of pieces) break;
    sources.push(source);
  }
  assert.deepEqual(
    sources,
    [1, 2, 3].map((line) => `${path}:${line}`),
  );
});
