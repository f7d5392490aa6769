import assert from 'node:assert/strict';
import { test } from 'node:test';
import { commandWords } from '../../src/config/command-words.js';
import { evalSchema } from '../../src/config/stages.js';
import { commandsOf, shellWord, trainCommand } from '../../src/report/provenance.js';
import { entries, evalRecord } from './sample.js';

test('words are quoted where a shell would read them otherwise', () => {
  assert.equal(shellWord('runs/a-b_c.1'), 'runs/a-b_c.1');
  assert.equal(shellWord("it's; rm"), `'it'\\''s; rm'`);
  assert.equal(shellWord(''), "''");
  assert.equal(shellWord('$HOME'), "'$HOME'");
});

test('where the command of eval was not recorded, it is told as far as the files go, and said not to be whole', () => {
  const told = commandsOf(entries({ sae: 'runs/b', tokens: 500 }, { sae: 'runs/a', tokens: 500, ce_mean: 3 }), {
    evaluation: 'runs/eval',
    out: 'p.html',
  });
  assert.equal(
    told.text,
    'sae-pipe eval \\\n    --sae runs/a \\\n    --sae runs/b \\\n    --model tiny-gemma --corpus … --tokens 500 --mean-ablation --out runs/eval\nsae-pipe report runs/eval --out p.html',
  );
  assert.equal(told.complete, false);
  const unlike = commandsOf(entries({ tokens: 1 }, { tokens: 2, model: 'other' }), { evaluation: 'e', out: 'o' });
  assert.match(unlike.text, /--model … --corpus … --tokens … --out e\n/);
});

test('a recorded command of eval is told whole, from its directory; other paths are seen from there', () => {
  const command = { directory: "/home/it's me", words: ['--sae', 'runs/a b', '--tokens', '50'] };
  const all = entries({ command }, { sae: 'b', command });
  const source = { evaluation: 'e', out: 'o.html', title: 'A title', reference: 'paper-gemma-7b' };
  const begin = (out: string) =>
    `cd '/home/it'\\''s me'\nsae-pipe eval \\\n    --sae 'runs/a b' \\\n    --tokens 50 \\\n    --out ${out} \\\n    --overwrite\n`;
  assert.deepEqual(commandsOf(all, { ...source, directory: command.directory }), {
    text: `${begin('e')}sae-pipe report e --title 'A title' --reference paper-gemma-7b --out o.html --overwrite`,
    complete: true,
  });
  assert.equal(
    commandsOf(all, { evaluation: '../e', out: 'o.html', directory: '/x/y' }).text,
    `${begin('/x/e')}sae-pipe report /x/e --out /x/y/o.html --overwrite`,
  );
});

test('the words of a command are what is not its default', () => {
  const config = {
    sae: ['a', '-b'],
    model: 'm',
    corpus: 'c',
    tokens: 9,
    batch: 8,
    meanAblation: true,
    overwrite: true,
  };
  assert.deepEqual(commandWords(evalSchema, { ...config, out: 'e', offline: false }), [
    ...['--sae', 'a', '--sae=-b', '--model', 'm', '--corpus', 'c', '--tokens', '9', '--mean-ablation'],
  ]);
});

test('the command of train has the recorded settings that are not the defaults', () => {
  const sae_pipe = {
    arch: 'standard',
    d_sae: 2304,
    l1: 4,
    l1_warmup: 20,
    steps: 100,
    batch: 1024,
    init: null,
    seed: 0,
    activations: { hook: 'h' },
  };
  const record = evalRecord({ sae: 'runs/s', hook: 'blocks.2.hook_resid_post', cfg: { metadata: { sae_pipe } } });
  assert.equal(
    trainCommand(record),
    'sae-pipe train --arch standard --activations …/blocks.2.hook_resid_post --d-sae 2304 --l1-warmup 20 --steps 100 --batch 1024 --out runs/s',
  );
  assert.equal(trainCommand(evalRecord()), null);
  assert.equal(trainCommand({ ...record, architecture: 'jumprelu' }), null, 'it was exported');
});

test('what a run records beside its settings makes no flag, what is on makes one alone', () => {
  const of = (sae_pipe: Record<string, unknown>) => trainCommand(evalRecord({ cfg: { metadata: { sae_pipe } } }));
  const [begin, end] = ['sae-pipe train --activations …/blocks.1.hook_resid_post', '--out runs/a'];
  assert.equal(of({ steps: 10, tokens: 5120 }), `${begin} --steps 10 ${end}`);
  assert.equal(of({ tokens: 5120 }), `${begin} --tokens 5120 ${end}`);
  assert.equal(of({ lr_decay: 'constant', decay_steps: 0 }), `${begin} ${end}`);
  assert.equal(of({ lr_decay: 'linear', decay_steps: 8 }), `${begin} --lr-decay linear --decay-steps 8 ${end}`);
  assert.equal(
    of({ l2_normalise: true, resample_at: [5, 9] }),
    `${begin} --l2-normalise --resample-at 5 --resample-at 9 ${end}`,
  );
  assert.equal(of({ l2_normalise: false, train: null, activation_scale: 0.2 }), `${begin} ${end}`);
});
