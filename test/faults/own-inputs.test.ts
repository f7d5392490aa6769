import assert from 'node:assert/strict';
import { linkSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { logged, refusedUsage } from '../cli/refused.js';
import { run } from '../cli/run-program.js';
import { filesBelow, temporaryDirectory } from '../temporary.js';
import { copyOfMade, trainWords } from './commands.js';

const root = temporaryDirectory();
const { store, sae, evaluated } = await copyOfMade(root);

test('no command replaces what it reads, whatever name it is given', async () => {
  symlinkSync(join(evaluated, 'eval.json'), join(root, 'link.html'));
  linkSync(join(evaluated, 'training-0.jsonl'), join(root, 'hard-link.svg'));
  symlinkSync(evaluated, join(root, 'directory'));
  const before = filesBelow(root);
  const curve = join(evaluated, 'training-0.jsonl');
  const commands = [
    ['report', evaluated, '--out', join(evaluated, 'eval.json')],
    ['report', join(root, 'directory'), '--out', join(root, 'link.html')],
    ['figure', 'pareto', '--evaluation', join(root, 'directory'), '--out', join(root, 'hard-link.svg')],
    trainWords(store, sae, { init: sae }),
    // An evaluation's own files, of which one is the text.
    ['eval', '--sae', sae, '--model', 'assets/tiny-gemma', '--corpus', curve, '--tokens', '100', '--out', evaluated],
  ];
  for (const words of commands) {
    refusedUsage(await run(...logged([...words, '--overwrite'])), 'disk/out-is-input', words.at(-1)!);
    assert.deepEqual(filesBelow(root), before, words.join(' '));
  }
});
