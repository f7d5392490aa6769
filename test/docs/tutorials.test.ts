import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { copyFileSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { EvalRecord } from '../../src/eval/record.js';
import { temporaryDirectory } from '../temporary.js';
import { commandsOf } from './commands.js';

// The tutorials as a reader runs them, from top to bottom: about five minutes.

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const onDemand = { skip: process.env.SAE_PIPE_LONG === '1' ? false : 'with SAE_PIPE_LONG=1' };
/** Commands that serve pages until they are stopped. */
const SERVERS = ['explore', 'watch'];

/** Runs the commands of a page in an empty directory that has the repository's assets and configurations. */
async function follow(page: string, directory: string): Promise<void> {
  for (const name of ['assets', 'configs']) symlinkSync(join(ROOT, name), join(directory, name));
  for (const { words, line, partial } of commandsOf(ROOT, page)) {
    if (partial || SERVERS.includes(words[0]!)) continue;
    const program = [join(ROOT, 'bin/sae-pipe.js'), ...words];
    await promisify(execFile)(process.execPath, program, { cwd: directory }).catch((error: Error) => {
      throw new Error(`${page}:${line}: ${error.message}`);
    });
  }
}

test('a first SAE from a text of the reader', onDemand, async () => {
  const directory = temporaryDirectory();
  mkdirSync(join(directory, 'my-texts'));
  copyFileSync(join(ROOT, 'assets/corpus/train.jsonl.gz'), join(directory, 'my-texts/train.jsonl.gz'));
  await follow('docs/tutorials/first-sae.md', directory);
  const [record] = JSON.parse(readFileSync(join(directory, 'runs/eval/eval.json'), 'utf8')) as EvalRecord[];
  assert.ok(record!.loss_recovered! > 0.95, `${record!.loss_recovered}`);
});

test('from an empty folder to a steered sentence', onDemand, async () => {
  const directory = temporaryDirectory();
  writeFileSync(join(directory, 'features.txt'), '106\n1511\n');
  await follow('docs/tutorials/steered-sentence.md', directory);
});
