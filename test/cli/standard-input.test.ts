import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import type { Manifest } from '../../src/activations/manifest.js';
import { temporaryDirectory } from '../temporary.js';
import { logged, refused, refusedUsage } from './refused.js';
import type { Outcome } from './run-program.js';

const onDemand = { skip: process.env.SAE_PIPE_LONG === '1' ? false : 'with SAE_PIPE_LONG=1' };

const root = temporaryDirectory();
const HOOK = 'blocks.0.hook_resid_pre';
const MODEL = ['--model', 'assets/tiny-gemma', '--hook', HOOK];
const lines = gunzipSync(readFileSync('assets/corpus/validation.jsonl.gz'));
const texts = join(root, 'texts.jsonl');
writeFileSync(texts, lines);

/** Runs the program with this on its standard input: bytes, a file, or lines without end. */
async function fed(input: Uint8Array | string | 'endless', ...args: string[]): Promise<Outcome> {
  const file = typeof input === 'string' && input !== 'endless' ? openSync(input, 'r') : undefined;
  const child = spawn(process.execPath, ['bin/sae-pipe.js', ...args], { stdio: [file ?? 'pipe', 'pipe', 'pipe'] });
  if (file !== undefined) closeSync(file);
  let [stdout, stderr] = ['', ''];
  child.stdout!.on('data', (data) => {
    stdout += data;
  });
  child.stderr!.on('data', (data) => {
    stderr += data;
  });
  // The program may have enough before all has been written.
  child.stdin?.on('error', () => {});
  const more = () => child.stdin!.write(lines);
  if (input === 'endless') {
    child.stdin!.on('drain', more);
    more();
  } else if (child.stdin) child.stdin.end(input);
  const [code, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null];
  return { code, signal, stdout, stderr };
}

const harvest = (out: string, corpus: string, ...more: string[]) => [
  ...[
    'harvest',
    ...MODEL,
    '--corpus',
    corpus,
    '--context',
    '64',
    '--tokens',
    '1000',
    '--out',
    join(root, out),
    ...more,
  ],
];

function textOf(out: string): string {
  const path = join(root, out, HOOK, 'manifest.json');
  const { contexts, complete } = JSON.parse(readFileSync(path, 'utf8')) as Manifest;
  assert.ok(complete);
  return contexts.map(({ sha256 }) => sha256).join();
}

test('standard input is read as a file of the same text, from a pipe, an endless one, or a file', async () => {
  const ways = { file: new Uint8Array(), piped: lines, endless: 'endless', redirected: texts } as const;
  for (const [name, input] of Object.entries(ways)) {
    const outcome = await fed(input, ...harvest(name, name === 'file' ? texts : '-'));
    assert.equal(outcome.code, 0, outcome.stderr);
    if (name !== 'file') assert.match(outcome.stderr, /JSON Lines/);
    assert.equal(textOf(name), textOf('file'), name);
  }
});

test('input that does not begin as JSON Lines is one text, and --corpus-format overrides that', onDemand, async () => {
  writeFileSync(join(root, 'plain.txt'), lines);
  assert.equal((await fed(new Uint8Array(), ...harvest('plain', join(root, 'plain.txt')))).code, 0);
  const said = await fed(lines, ...harvest('said', '-', '--corpus-format', 'txt'));
  assert.equal(said.code, 0, said.stderr);
  assert.equal(textOf('said'), textOf('plain'));
  const told = await fed(`${root}/plain.txt`, ...logged(harvest('told', '-', '--corpus-format', 'csv')));
  refused(told, 'corpus/wrong-quote');
  const prose = await fed(Buffer.from('Once upon a time. '.repeat(1000)), ...harvest('prose', '-'));
  assert.equal(prose.code, 0, prose.stderr);
  assert.match(prose.stderr, /plain text/);
});

test('where the text would be read twice, standard input is refused before it is read, or when it ends', async () => {
  const named = await fed(lines, ...logged(harvest('named', texts, '--corpus-format', 'txt')));
  refusedUsage(named, 'corpus/format-of-files');
  for (const again of [['--resume'], ['--max-activation-norm-multiple', '10']]) {
    const outcome = await fed('endless', ...logged(harvest('again', '-', ...again)));
    refusedUsage(outcome, 'corpus/comes-once', again[0]!, 'file');
  }
  const live = ['train', ...MODEL, '--corpus', '-', '--context', '64', '--d-sae', '64', '--batch', '256'];
  const short = await fed(
    lines.subarray(0, lines.indexOf('\n', 4000)),
    ...logged([...live, ...['--tokens', '100000', '--out', join(root, 'sae')]]),
  );
  refusedUsage(short, 'corpus/comes-once');
});

test('token ids from a pipe are complete, with and without --corpus-format', async () => {
  const rows = Array.from({ length: 2000 }, (_, i) =>
    Array.from({ length: 40 }, (_, j) => 100 + ((i * 37 + j) % 3000)),
  );
  const ids = Buffer.from(rows.map((input_ids) => `${JSON.stringify({ input_ids })}\n`).join(''));
  const file = join(root, 'ids.jsonl');
  writeFileSync(file, ids);
  assert.equal((await fed(new Uint8Array(), ...harvest('ids-file', file))).code, 0);
  for (const format of [['--corpus-format', 'jsonl'], []]) {
    const out = `ids-piped${format.length}`;
    const piped = await fed(ids, ...harvest(out, '-', ...format));
    assert.equal(piped.code, 0, piped.stderr);
    assert.equal(textOf(out), textOf('ids-file'));
  }
});
