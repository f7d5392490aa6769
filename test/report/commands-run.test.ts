import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { test } from 'node:test';
import { temporaryDirectory } from '../temporary.js';
import { elements } from './sample.js';

const PROGRAM = resolve('bin/sae-pipe.js');

test('the commands of a page run when they are pasted, and make the same page', (t) => {
  // Names that a shell would take apart.
  const root = join(temporaryDirectory(t), "it's $HOME");
  mkdirSync(root, { recursive: true });
  cpSync('assets/tiny-gemma', join(root, 'my model'), { recursive: true });
  cpSync('assets/corpus/train.jsonl.gz', join(root, 'a text.jsonl.gz'));
  const shell = (script: string, cwd: string) =>
    execFileSync('bash', ['-euc', `sae-pipe() { '${process.execPath}' '${PROGRAM}' "$@"; }\n${script}`], {
      cwd,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    });
  const hook = 'blocks.2.hook_resid_post';
  shell(
    `sae-pipe harvest --model 'my model' --corpus 'a text.jsonl.gz' --hook ${hook} --context 64 --tokens 2000 --out acts
for l1 in 1 4; do
  sae-pipe train --activations acts/${hook} --d-sae 32 --steps 10 --batch 64 --lr 1e-3 --warmup 0 --l1 $l1 --out "sae $l1"
done
sae-pipe eval --sae 'sae 1' --sae 'sae 4' --model 'my model' --corpus 'a text.jsonl.gz' --tokens 500 --context 64 --mean-ablation --out ev
sae-pipe report ev --title "it's it" --out p.html`,
    root,
  );
  const html = readFileSync(join(root, 'p.html'), 'utf8');
  const commands = elements(html, '#commands pre')[0]!.textContent;
  rmSync(join(root, 'p.html'));
  shell(commands, '/');
  assert.equal(readFileSync(join(root, 'p.html'), 'utf8'), html);
  // SAEs do not record where their store lay: the files of a sweep are equal wherever it is run.
  for (const { textContent } of elements(html, '.path code')) {
    const command = textContent.replace('…', 'acts').replace(/--out .*/, '--out again --overwrite');
    shell(command, root);
  }
  const weights = (sae: string) => readFileSync(join(root, sae, 'sae_weights.safetensors'));
  assert.deepEqual(weights('again'), weights('sae 4'));
});
