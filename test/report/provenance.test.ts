import assert from 'node:assert/strict';
import { test } from 'node:test';
import { commandWords } from '../../src/config/flags.js';
import { shellWord } from '../../src/config/shell-word.js';
import { evalSchema } from '../../src/config/stages/eval.js';
import {
  commandsOf,
  configurationSection,
  featuresCommands,
  sweepCommands,
  trainCommand,
  trainFlags,
} from '../../src/report/provenance.js';
import { entries, evalRecord } from './sample.js';

test('words are quoted where a shell would read them differently', () => {
  assert.equal(shellWord('runs/a-b_c.1'), 'runs/a-b_c.1');
  assert.equal(shellWord("it's; rm"), `'it'\\''s; rm'`);
  assert.equal(shellWord(''), "''");
  assert.equal(shellWord('$HOME'), "'$HOME'");
});

test('if the command of eval was not recorded, only that of the page is shown', () => {
  const source = { evaluation: 'runs/eval', out: 'p.html' };
  const report = 'sae-pipe report runs/eval --out p.html --overwrite';
  assert.deepEqual(commandsOf(entries({ sae: 'runs/b' }, { sae: 'runs/a' }), source), { text: report, measure: false });
  const [one, other] = [['a'], ['b']].map((words) => ({ command: { directory: '/', words } }));
  assert.equal(commandsOf(entries(one!, other!), source).measure, false, 'of two evaluations');
});

test('a recorded command of eval is shown completely, from its directory, and other paths relative to it', () => {
  const command = { directory: "/home/it's me", words: ['--sae', 'runs/a b', '--tokens', '50'] };
  const all = entries({ command }, { sae: 'b', command });
  const source = { evaluation: 'e', out: 'o.html', title: 'A title', reference: 'paper-gemma-7b' };
  const begin = (out: string) =>
    `cd '/home/it'\\''s me'\nsae-pipe eval \\\n    --sae 'runs/a b' \\\n    --tokens 50 \\\n    --out ${out} \\\n    --overwrite\n`;
  assert.deepEqual(commandsOf(all, { ...source, directory: command.directory }), {
    text: `${begin('e')}sae-pipe report e --title 'A title' --reference paper-gemma-7b --out o.html --overwrite`,
    measure: true,
  });
  assert.equal(
    commandsOf(all, { evaluation: '../e', out: 'o.html', directory: '/x/y' }).text,
    `${begin('/x/e')}sae-pipe report /x/e --out /x/y/o.html --overwrite`,
  );
});

test('features are collected by the flags of eval that features has, next to the evaluation', () => {
  const words = ['--sae', 'a', '--sae=-b', '--model', 'm m', '--tokens', '50', '--mean-ablation', '--context', '128'];
  const command = { directory: '/x', words };
  const collect = (folder: string) =>
    `cd /x\nsae-pipe features \\\n    --sae a \\\n    --sae=-b \\\n    --model 'm m' \\\n    --tokens 50 \\\n    --context 128 \\\n    --out ${folder}\nsae-pipe explore ${folder} --model 'm m'`;
  const all = entries({ command });
  assert.equal(featuresCommands(all, { evaluation: 'runs/eval', out: 'o', directory: '/x' }), collect('runs/features'));
  assert.equal(featuresCommands(all, { evaluation: 'e', out: 'o', directory: '/y/z' }), collect('/y/z/features'));
  assert.equal(featuresCommands(entries({}), { evaluation: 'e', out: 'o' }), null);
});

test('the words of a command are its settings that are not defaults', () => {
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

test('the command of train is the recorded one, from its directory; a sweep has one for all of its SAEs', () => {
  const words = ['--activations', 'acts/a b', '--d-sae', '8', '--out', 'runs/s'];
  const training = { stage: 'train' as const, directory: '/x y', words };
  assert.equal(
    trainCommand(evalRecord({ training })),
    "cd '/x y'\nsae-pipe train \\\n    --activations 'acts/a b' \\\n    --d-sae 8 \\\n    --out runs/s \\\n    --overwrite",
  );
  const sweep = { stage: 'sweep' as const, directory: '/x', words: ['--config', 's.yaml', '--out', 'o'] };
  assert.equal(trainCommand(evalRecord({ training: sweep })), null);
  assert.deepEqual(sweepCommands(entries({ training: sweep }, { sae: 'b', training: sweep }, { training: null })), [
    'cd /x\nsae-pipe sweep \\\n    --config s.yaml \\\n    --out o',
  ]);
  assert.equal(trainCommand(evalRecord()), null);
});

test('settings are the recorded ones that are not defaults; a switch is one flag', () => {
  const of = (sae_pipe: Record<string, unknown>, changes = {}) =>
    trainFlags(evalRecord({ cfg: { metadata: { sae_pipe } }, ...changes }));
  const standard = { arch: 'standard', d_sae: 2304, l1: 4, l1_warmup: 20, init: null, seed: 0 };
  assert.equal(of({ ...standard, activations: { hook: 'h' } }), '--arch standard --d-sae 2304 --l1-warmup 20');
  assert.equal(of({ steps: 10, tokens: 5120 }), '--steps 10');
  assert.equal(of({ tokens: 5120 }), '--tokens 5120');
  assert.equal(of({ lr_decay: 'constant', decay_steps: 0 }), null);
  assert.equal(of({ lr_decay: 'linear', decay_steps: 8 }), '--lr-decay linear --decay-steps 8');
  assert.equal(of({ l2_normalise: true, resample_at: [5, 9] }), '--l2-normalise --resample-at 5 --resample-at 9');
  assert.equal(of({ l2_normalise: false, train: null, activation_scale: 0.2 }), null);
  assert.equal(trainFlags(evalRecord()), null);
  const exported = { metadata: { exported_from: { path: 'a', architecture: 'gated' }, sae_pipe: { steps: 10 } } };
  assert.equal(trainFlags(evalRecord({ architecture: 'jumprelu', cfg: exported })), null, 'it was exported');
});

test('what was read of each corpus is shown if recorded, and does not distinguish SAEs', () => {
  const one = { corpus: 'a.jsonl', documents: 12, tokens: 3456, duplicates: 2, truncated: 1 };
  const activations = (read: unknown) => ({
    ...{ model: 'm', hook: 'h', rows: 1, corpus: 'c', dtype: 'float32', sha256: '', read },
  });
  const cfg = (read: unknown) => ({ metadata: { sae_pipe: { activations: activations(read) } } });
  const all = entries({ cfg: cfg([one]) }, { sae: 'b', cfg: cfg([{ ...one, tokens: 7 }]) });
  const page = String(configurationSection(all));
  for (const words of ['a.jsonl: 3456 tokens of 12 documents', 'a.jsonl: 7 tokens']) assert.ok(page.includes(words));
  assert.ok(!page.includes('Differences between the SAEs'));
});
