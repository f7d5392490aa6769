import assert from 'node:assert/strict';
import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { gunzipSync, gzipSync } from 'node:zlib';
import { temporaryDirectory } from '../temporary.js';
import { logged, refused } from './refused.js';
import { type Outcome, start, startPipe } from './run-program.js';

/**
 * A process that has done its work has to be gone, whatever it left unread: a file, an archive, a thread. It takes a
 * fraction of a second; one that stays would stay forever, so the limit allows for very busy machines.
 */
const LIMIT = 60_000;

const root = temporaryDirectory();
const at = (name: string) => join(root, name);
const HOOK = 'blocks.0.hook_resid_pre';
const PROSE = 'test/corpus/fixtures/prose';
const LINES = gunzipSync(readFileSync('assets/corpus/validation.jsonl.gz'));

/** A corpus of every kind, each with much more text than is requested. */
const KINDS: Readonly<Record<string, () => string>> = {
  parquet: () => `${PROSE}.parquet`,
  'jsonl.gz': () => 'assets/corpus/validation.jsonl.gz',
  'txt.zst': () => `${PROSE}.txt.zst`,
  txt: () => written('a.txt', LINES),
  'one long line': () => written('long.jsonl', JSON.stringify({ text: LINES.toString() })),
  directory: () => {
    mkdirSync(at('texts/more'), { recursive: true });
    copyFileSync(`${PROSE}.parquet`, at('texts/a.parquet'));
    writeFileSync(at('texts/more/b.json.gz'), gzipSync(LINES));
    return at('texts');
  },
};

function written(name: string, content: string | Uint8Array): string {
  writeFileSync(at(name), content);
  return at(name);
}

const text = (corpus: string) => ['--model', 'assets/tiny-gemma', '--corpus', corpus, '--context', '32'];
const harvest = (corpus: string, out: string, tokens = 300) => [
  ...['harvest', ...text(corpus), '--hook', HOOK, '--tokens', `${tokens}`, '--batch', '2', '--out', out],
];
const TRAIN = ['train', '--d-sae', '32', '--steps', '4', '--batch', '64', '--threads', '1'];

/** Runs a command; fails if it still runs long after its last output. */
async function ends(args: readonly string[], code = 0): Promise<Outcome> {
  const { child, outcome } = start(...args);
  let stays = false;
  const give = () => {
    stays = true;
    child.kill('SIGKILL');
  };
  let timer = setTimeout(give, LIMIT);
  for (const stream of [child.stdout!, child.stderr!]) {
    stream.on('data', () => {
      clearTimeout(timer);
      timer = setTimeout(give, LIMIT);
    });
  }
  const result = await outcome;
  clearTimeout(timer);
  assert.ok(!stays, `${args.slice(0, 5).join(' ')} … has not ended: ${result.stderr}`);
  assert.equal(result.code, code, result.stderr);
  return result;
}

for (const [kind, make] of Object.entries(KINDS)) {
  test(`a harvest of part of a corpus ends: ${kind}`, async () => {
    await ends(harvest(make(), at(`acts ${kind}`)));
  });
}

test('a harvest of more tokens than there are ends', async () => {
  refused(await ends(logged(harvest(`${PROSE}.parquet`, at('more'), 1_000_000)), 1), 'corpus/too-short', '1000000');
});

test('a harvest that stops at a broken text ends', async () => {
  const outcome = await ends(logged(harvest('test/corpus/fixtures/latin-1.parquet', at('broken'))), 1);
  refused(outcome, 'corpus/wrong-encoding', 'row 1', 'Latin-1');
});

test('training on a model over Parquet ends', async () => {
  await ends([...TRAIN, ...text(`${PROSE}.parquet`), '--hook', HOOK, '--pool-rows', '300', '--out', at('live')]);
});

test('both sides of a pipe over Parquet end', { timeout: 2 * LIMIT }, async () => {
  const rows = harvest(`${PROSE}.parquet`, '-');
  const { codes, left, right } = startPipe(at(''), rows, [...TRAIN, '--activations', '-', '--out', at('piped')]);
  assert.deepEqual(await codes, [0, 0], left.stderr() + right.stderr());
});

/** A JSON line of 26 GB with nothing to tokenize before its text, compressed to less than a megabyte. */
function endlessLine(): Buffer {
  const block = (type: number, size: number, body: string, last = 0) => {
    const head = Buffer.alloc(3);
    head.writeUIntLE((size << 3) | (type << 1) | last, 0, 3);
    return Buffer.concat([head, Buffer.from(body)]);
  };
  const begin = '{"meta":"';
  const repeated = Buffer.concat(new Array(200_000).fill(block(1, 2 ** 17, 'm')));
  const header = Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0, 0x38]);
  return Buffer.concat([header, block(0, begin.length, begin), repeated, block(0, 2, '"}', 1)]);
}

test('a stop is noticed while a text has nothing to read', async () => {
  const out = at('nothing');
  const { child, outcome } = start(...logged(harvest(written('endless.jsonl.zst', endlessLine()), out)));
  child.stderr!.on('data', (data) => {
    if (String(data).includes('"counting tokens"')) child.kill('SIGTERM');
  });
  const timer = setTimeout(() => child.kill('SIGKILL'), LIMIT);
  const { code, stderr } = await outcome;
  clearTimeout(timer);
  assert.equal(code, 143, stderr);
  assert.ok(!existsSync(out));
});

test('an evaluation over Parquet ends', async () => {
  await ends([...TRAIN, '--activations', at(`acts parquet/${HOOK}`), '--out', at('sae')]);
  const evaluation = ['eval', '--sae', at('sae'), ...text(`${PROSE}.parquet`), '--tokens', '300', '--batch', '2'];
  await ends([...evaluation, '--out', at('eval')]);
});

test('a sweep over Parquet ends', async () => {
  const shared = `model: assets/tiny-gemma, corpus: ${PROSE}.parquet, context: 32, batch: 2`;
  const file = written(
    'sweep.yaml',
    [
      `harvest: {${shared}, hook: [${HOOK}], tokens: 300}`,
      'train: {steps: 4, batch: 64, threads: 1}',
      `eval: {${shared}, tokens: 300}`,
      'sweep: {arch: [gated], d-sae: [32], l1: [4]}',
    ].join('\n'),
  );
  await ends(['sweep', '--config', file, '--out', at('sweep')]);
});
