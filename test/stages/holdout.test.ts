import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Manifest } from '../../src/activations/manifest.js';
import { run } from '../cli/run-program.js';
import { temporaryDirectory } from '../temporary.js';

const onDemand = { skip: process.env.SAE_PIPE_LONG === '1' ? false : 'with SAE_PIPE_LONG=1' };

const HOOK = 'blocks.1.hook_mlp_out';
const CORPUS = 'assets/corpus/train.jsonl.gz';
const SEEN = 'seen in training';

test(
  'harvest, train and eval with --holdout have no text in common; without it, a message says so',
  onDemand,
  async (t) => {
    const root = temporaryDirectory(t);
    const at = (name: string) => join(root, name);
    const model = ['--model', 'assets/tiny-gemma', '--corpus', CORPUS, '--context', '64'];
    const succeeds = async (...words: string[]) => {
      const { code, stderr } = await run(...words);
      assert.equal(code, 0, stderr);
      return stderr;
    };
    const harvest = ['harvest', ...model, '--hook', HOOK, '--tokens', '3000'];
    await succeeds(...harvest, '--holdout', '10%', '--out', at('acts'));
    const manifest = JSON.parse(readFileSync(at(`acts/${HOOK}/manifest.json`), 'utf8')) as Manifest;
    assert.deepEqual(manifest.documents, { holdout: '10%' });
    const other = await run(...harvest, '--holdout', '5%', '--out', at('acts'), '--resume');
    assert.equal(other.code, 1);
    assert.match(other.stderr, /10%/);

    await succeeds(
      ...['train', '--activations', at('acts'), '--d-sae', '64', '--batch', '100', '--steps', '20', '--out', at('sae')],
    );
    const evaluate = ['eval', '--sae', at('sae'), ...model, '--tokens', '300', '--overwrite', '--out', at('eval')];
    assert.ok(!(await succeeds(...evaluate, '--holdout', '10%')).includes(SEEN));
    assert.ok((await succeeds(...evaluate)).includes(SEEN));
    const [{ settings }] = JSON.parse(readFileSync(at('eval/eval.json'), 'utf8')) as [
      { settings: { documents?: unknown } },
    ];
    assert.equal(settings.documents, undefined);
  },
);
