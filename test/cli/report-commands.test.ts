import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { type TestContext, test } from 'node:test';
import { elements } from '../report/sample.js';
import { temporaryDirectory } from '../temporary.js';

const onDemand = { skip: process.env.SAE_PIPE_LONG === '1' ? false : 'with SAE_PIPE_LONG=1' };

const PROGRAM = resolve('bin/sae-pipe.js');
const HOOK = 'blocks.2.hook_resid_post';

/** A directory with a model and a text, under names that a shell would take apart. */
function place(t: TestContext): string {
  const root = join(temporaryDirectory(t), "it's $HOME");
  mkdirSync(root, { recursive: true });
  cpSync('assets/tiny-gemma', join(root, 'my model'), { recursive: true });
  cpSync('assets/corpus/train.jsonl.gz', join(root, 'a text.jsonl.gz'));
  return root;
}

const shell = (script: string, cwd: string) =>
  execFileSync('bash', ['-euc', `sae-pipe() { '${process.execPath}' '${PROGRAM}' "$@"; }\n${script}`], {
    cwd,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  });
const shown = (html: string, selector: string) => elements(html, selector).map(({ textContent }) => textContent);

test('the commands of a page run when they are pasted, and make the same SAEs and the same page', onDemand, (t) => {
  const root = place(t);
  shell(
    `sae-pipe harvest --model 'my model' --corpus 'a text.jsonl.gz' --hook ${HOOK} --context 64 --tokens 2000 --out acts
for l1 in 1 4; do
  sae-pipe train --activations acts/${HOOK} --d-sae 32 --steps 10 --batch 64 --lr 1e-3 --warmup 0 --l1 $l1 --out "sae $l1"
done
sae-pipe eval --sae 'sae 1' --sae 'sae 4' --model 'my model' --corpus 'a text.jsonl.gz' --tokens 500 --context 64 --mean-ablation --out ev
sae-pipe report ev --title "it's it" --out p.html`,
    root,
  );
  const html = readFileSync(join(root, 'p.html'), 'utf8');
  const training = shown(html, 'pre.training');
  const weights = () => ['sae 1', 'sae 4'].map((sae) => readFileSync(join(root, sae, 'sae_weights.safetensors')));
  const before = weights();
  for (const path of ['sae 1', 'sae 4', 'ev', 'p.html']) rmSync(join(root, path), { recursive: true });
  assert.equal(training.length, 2);
  // Once in their own place, and once over existing results.
  for (const command of [...training, training[0]!]) shell(command, '/');
  assert.deepEqual(weights(), before);
  const [commands] = shown(html, '#commands pre');
  shell(commands!, '/');
  assert.equal(readFileSync(join(root, 'p.html'), 'utf8'), html);
  for (const command of [...training, commands!, ...shown(html, 'code')]) assert.doesNotMatch(command, /…/);
});

test("a sweep's page has the command of the sweep for that of the training", onDemand, (t) => {
  const root = place(t);
  writeFileSync(
    join(root, 'my sweep.yaml'),
    `harvest: {model: my model, corpus: a text.jsonl.gz, hook: ${HOOK}, tokens: 2000, context: 64}
train: {d-sae: 32, steps: 10, batch: 64, lr: 0.001, warmup: 0}
sweep: {arch: [gated], l1: [1, 4]}
eval: {model: my model, corpus: a text.jsonl.gz, tokens: 500, context: 64}
`,
  );
  shell("sae-pipe sweep --config 'my sweep.yaml' --out 'the sweep'", root);
  const page = join(root, 'the sweep', 'report.html');
  const html = readFileSync(page, 'utf8');
  assert.deepEqual(shown(html, 'pre.training'), []);
  const commands = shown(html, 'pre.sweep');
  assert.equal(commands.length, 1);
  rmSync(join(root, 'the sweep'), { recursive: true });
  shell(commands[0]!, '/');
  assert.deepEqual(shown(readFileSync(page, 'utf8'), 'pre.sweep'), commands);
  assert.match(shown(html, '.path code')[0]!, /^--d-sae 32 --l1 \d /);
});
