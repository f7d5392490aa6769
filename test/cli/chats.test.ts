import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { chatModel, goldenChats, template } from '../corpus/chats/gemma-chats.js';
import { temporaryDirectory } from '../temporary.js';
import { logged, refused, refusedUsage } from './refused.js';
import { run } from './run-program.js';

const onDemand = { skip: process.env.SAE_PIPE_LONG === '1' ? false : 'with SAE_PIPE_LONG=1' };

const HOOK = 'blocks.0.hook_resid_pre';

test('harvest --chat-field --roles --skip-special on the command line, and what it refuses', onDemand, async () => {
  const root = temporaryDirectory();
  const corpus = join(root, 'chats.jsonl');
  writeFileSync(corpus, goldenChats.map(({ messages }) => `${JSON.stringify({ messages })}\n`).join(''));
  const harvest = (out: string, model: string, ...more: string[]) =>
    run(
      ...logged([
        ...['harvest', '--model', model, '--corpus', corpus, '--hook', HOOK, '--context', '32', '--tokens', '100'],
        ...['--out', join(root, out), ...more],
      ]),
    );
  const model = chatModel(template);
  const chat = ['--chat-field', 'messages', '--roles', 'assistant,system', '--skip-special'];
  const { code, stderr } = await harvest('acts', model, ...chat);
  assert.equal(code, 0, stderr);
  const manifest = JSON.parse(readFileSync(join(root, 'acts', HOOK, 'manifest.json'), 'utf8'));
  assert.deepEqual(
    [manifest.chat.roles, manifest.exclude_special_tokens],
    [
      ['assistant', 'system'],
      [0, 1, 3],
    ],
  );
  refusedUsage(await harvest('text', model, '--roles', 'assistant'), 'corpus/roles-without-chats');
  refused(await harvest('bare', 'assets/tiny-gemma', '--chat-field', 'messages'), 'corpus/no-chat-template');
});
