import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { goldenSaes } from '../features/golden-folder.js';
import { temporaryDirectory } from '../temporary.js';
import { logged, refused, refusedUsage } from './refused.js';
import { run, sleep, start } from './run-program.js';

const onDemand = { skip: process.env.SAE_PIPE_LONG === '1' ? false : 'with SAE_PIPE_LONG=1' };

const MODEL = ['--model', 'assets/tiny-gemma'];
const PROMPT = 'Once upon a time';
const CORPUS = ['--corpus', 'assets/corpus/validation.jsonl.gz'];
const [gated, jumprelu] = (await goldenSaes()) as [string, string];

interface Texts {
  texts: { prompt: string; ids: number[]; text: string; ending: string }[];
}
const generated = async (...args: string[]): Promise<Texts['texts']> => {
  const { code, stdout, stderr } = await run('generate', ...MODEL, ...args, '--json');
  assert.equal(code, 0, stderr);
  return (JSON.parse(stdout) as Texts).texts;
};

test('generate continues a prompt, the same as text and as JSON', async () => {
  const { code, stdout, stderr } = await run('generate', ...MODEL, '--prompt', PROMPT, '--tokens', '12');
  assert.equal(code, 0, stderr);
  const [text] = await generated('--prompt', PROMPT, '--tokens', '12');
  assert.equal(stdout, `${PROMPT}${text!.text}\n`);
  assert.deepEqual([text!.prompt, text!.ids.length, text!.ending], [PROMPT, 12, 'length']);
  // A text that stops is cut before the stop text.
  const stop = text!.text.slice(8, 12);
  const [stopped] = await generated('--prompt', PROMPT, '--tokens', '12', '--stop', stop);
  assert.deepEqual([stopped!.text, stopped!.ending], [text!.text.slice(0, text!.text.indexOf(stop)), 'stop']);
});

test('prompts continued together give the same texts as each alone; a seed repeats the draws', async () => {
  const other = ['--prompt', 'The little dog was'];
  const one = ['--prompt', PROMPT, '--tokens', '10'];
  const together = await generated(...one, ...other);
  assert.deepEqual(together[0], (await generated(...one))[0]);
  assert.equal(together[1]!.ids.length, 10);
  const drawn = ['--temperature', '1', '--top-k', '20', '--top-p', '0.95'];
  const seeded = await generated(...one, ...drawn, '--seed', '3');
  assert.deepEqual(await generated(...one, ...drawn, '--seed', '3'), seeded);
  assert.notDeepEqual(await generated(...one, ...drawn, '--seed', '4'), seeded);
});

test('generate refuses requests without an answer', async () => {
  const generate = (...args: string[]) => run(...logged(['generate', ...MODEL, ...args]));
  refusedUsage(await generate('--prompt', PROMPT, '--tokens', '600'), 'generate/prompt-too-long', '512');
  refusedUsage(await generate('--prompt', 'word '.repeat(600)), 'generate/prompt-too-long', '512');
  refusedUsage(await generate('--prompt', PROMPT, '--top-k', '5'), 'generate/no-temperature', '--top-k');
  refusedUsage(await generate('--prompt', PROMPT, '--top-p', '1.5', '--temperature', '1'), 'config/wrong-value');
});

test('Ctrl-C ends a text where it stands', async () => {
  const { child, outcome } = start('generate', ...MODEL, '--prompt', PROMPT, '--tokens', '400', '--temperature', '1');
  let stdout = '';
  child.stdout!.on('data', (data) => {
    stdout += data;
  });
  for (const end = Date.now() + 30_000; stdout.length < 40 && child.exitCode === null && Date.now() < end; )
    await sleep(5);
  child.kill('SIGINT');
  const { code, stderr } = await outcome;
  // It may have ended by itself.
  assert.ok(code === 130 || code === 0, stderr);
  assert.ok(stdout.startsWith(PROMPT) && stdout.endsWith('\n'));
});

const steer = (...args: string[]) =>
  run('steer', '--sae', gated, ...MODEL, '--prompt', PROMPT, '--tokens', '8', ...args);

interface LossMean {
  strength?: number;
  loss: number;
  change: number;
  interval: [number, number];
}
interface Steered {
  error_term: boolean;
  texts: {
    unsteered: { text: string };
    steered: { strength?: number; text: string; next_tokens?: { likely: object[] } }[];
  }[];
  losses?: { tokens: number; unsteered: number; steered: LossMean[] };
}
const steered = async (...args: string[]): Promise<Steered> => {
  const { code, stdout, stderr } = await steer(...args, '--json');
  assert.equal(code, 0, stderr);
  return JSON.parse(stdout) as Steered;
};

test('steer shows a text without a change and with it, and what may follow the prompt', async () => {
  const json = await steered('--feature', '3,7', '--set', '40', '--logits');
  const { unsteered, steered: rows } = json.texts[0]!;
  assert.equal(unsteered.text, (await generated('--prompt', PROMPT, '--tokens', '8'))[0]!.text);
  assert.notEqual(rows[0]!.text, unsteered.text);
  assert.ok(json.error_term && rows[0]!.next_tokens!.likely.length >= 8);
  const { stdout } = await steer('--feature', '3,7', '--set', '40', '--logits');
  for (const shown of [PROMPT + unsteered.text, PROMPT + rows[0]!.text, 'next token', 'eature 3 = 40']) {
    assert.ok(stdout.includes(shown), `${shown}\n${stdout}`);
  }
  const alike = await steered('--feature', '3', '--scale', '1');
  assert.equal(alike.texts[0]!.steered[0]!.text, unsteered.text);
});

test('steer takes several SAEs, a file of changes, and positions', async () => {
  const changes = join(temporaryDirectory(), 'changes.json');
  writeFileSync(
    changes,
    JSON.stringify([
      { sae: gated, feature: 3, set: 40 },
      { sae: jumprelu, feature: 7, ablate: true },
    ]),
  );
  const both = await steered('--sae', jumprelu, '--changes', changes);
  const words = await steered('--sae', jumprelu, '--feature', 'gated:3,jumprelu:7', '--set', '40,0');
  assert.deepEqual(both.texts, words.texts);
  // After the last token there is nothing to change.
  const late = await steered('--feature', '3', '--set', '40', '--from', '12', '--logits');
  assert.equal(late.texts[0]!.steered[0]!.text, late.texts[0]!.unsteered.text);
  const decoded = await steered('--feature', '3', '--scale', '1', '--no-error-term');
  assert.equal(decoded.error_term, false);
});

test('a dose is a table over strengths, with losses of a text', onDemand, async () => {
  const args = ['--feature', '3', '--dose', '0,60', ...CORPUS, '--text-tokens', '600', '--context', '64'];
  const { texts, losses } = await steered(...args);
  assert.deepEqual(
    texts[0]!.steered.map(({ strength }) => strength),
    [0, 60],
  );
  assert.equal(losses!.tokens, 600);
  assert.ok(losses!.steered[1]!.loss > losses!.unsteered && losses!.steered[1]!.loss > losses!.steered[0]!.loss);
  const { stdout } = await steer(...args);
  assert.match(stdout, /strength +loss +change +95 % +continuation\nunsteered +\d/);
  for (const { loss, change, interval } of losses!.steered) {
    assert.ok(Math.abs(loss - losses!.unsteered - change) < 1e-9);
    assert.ok(interval[0] <= change && change <= interval[1]);
  }
  assert.ok(losses!.steered[1]!.interval[0] > 0);
  // Without a dose, of the one change; a scale of 1 changes no loss.
  const text = [...CORPUS, '--text-tokens', '600', '--context', '64'];
  const one = await steered('--feature', '3', '--set', '60', ...text);
  assert.deepEqual(
    one.losses!.steered,
    [{ ...losses!.steered[1]!, strength: undefined }].map(({ strength: _, ...loss }) => loss),
  );
  const none = await steered('--feature', '3', '--scale', '1', ...text);
  assert.deepEqual(none.losses!.steered, [{ loss: losses!.unsteered, change: 0, interval: [0, 0] }]);
  assert.match((await steer('--feature', '3', '--set', '60', ...text)).stdout, /Loss on 600 tokens/);
});

test('steer refuses requests without an answer', async () => {
  const refusing = (...args: string[]) =>
    run(...logged(['steer', '--sae', gated, ...MODEL, '--prompt', PROMPT, '--tokens', '8', ...args]));
  refused(await refusing('--feature', '48', '--set', '1'), 'generate/no-feature', '48');
  refused(await refusing('--feature', '3', '--set', '1e37'), 'generate/not-finite', 'feature 3');
  refusedUsage(await refusing('--feature', '3', '--set', '1e39'), 'generate/not-finite', 'feature 3');
  refusedUsage(
    await refusing('--sae', jumprelu, '--feature', 'gated:3,jumprelu:3', '--set', '1', '--no-error-term'),
    'generate/one-hook',
    'blocks.2',
  );
  refused(
    await refusing('--feature', '3', '--dose', '1', ...CORPUS, '--text-tokens', '100M'),
    'corpus/too-short',
    '--text-tokens',
  );
});

test('eval measures the effect of a set of features', async () => {
  const directory = temporaryDirectory();
  const [file, out] = [join(directory, 'features.txt'), join(directory, 'eval')];
  const evaluation = (...args: string[]) => {
    const text = [...CORPUS, '--tokens', '300', '--context', '64'];
    return run(...logged(['eval', '--sae', gated, ...MODEL, ...text, '--out', out, ...args]));
  };
  interface Worth {
    ce_clean: number;
    settings: { feature_changes: object[] };
    changed_features: { features: number; tokens: number; ce: number; delta_ce: number; intervals: object };
  }
  const written = () => (JSON.parse(readFileSync(join(out, 'eval.json'), 'utf8')) as Worth[])[0]!;
  writeFileSync(file, '3\n7\n');
  const first = await evaluation('--ablate-features', file);
  assert.equal(first.code, 0, first.stderr);
  assert.match(first.stdout, /2 features changed/);
  const { ce_clean, settings, changed_features: found } = written();
  assert.deepEqual(settings.feature_changes, [
    { feature: 3, ablate: true },
    { feature: 7, ablate: true },
  ]);
  assert.ok(found.features === 2 && found.tokens > 0 && found.tokens < 300);
  assert.ok(Math.abs(found.ce - ce_clean - found.delta_ce) < 1e-9);
  writeFileSync(file, '3 40\n');
  const second = await evaluation('--set-features', file, '--overwrite');
  assert.equal(second.code, 0, second.stderr);
  assert.ok(written().changed_features.tokens === 300 && written().changed_features.delta_ce > found.delta_ce);

  refused(await evaluation('--ablate-features', join(directory, 'none')), 'generate/no-changes-file', 'none');
  writeFileSync(file, '48');
  refused(await evaluation('--ablate-features', file), 'generate/no-feature', '48');
});

const attribute = (...args: string[]) => ['attribute', '--sae', gated, ...MODEL, '--prompt', PROMPT, ...args];

test('attribute shows what made a token likely, as a table and as JSON', async () => {
  const { code, stdout, stderr } = await run(...attribute('--top', '5', '--json'));
  assert.equal(code, 0, stderr);
  interface Attributions {
    token: string;
    method: string;
    left_out: number;
    features: { effect: number; direct: number; at: string }[];
  }
  const json = JSON.parse(stdout) as Attributions;
  assert.equal(json.method, 'gradient');
  assert.equal(json.features.length, 5);
  const sizes = json.features.map(({ effect }) => Math.abs(effect));
  assert.deepEqual(
    sizes,
    sizes.toSorted((a, b) => b - a),
  );
  assert.equal(json.left_out, 0);
  const few = await run(...attribute('--top', '5', '--method', 'ablation', '--candidates', '7', '--token', json.token));
  assert.equal(few.code, 0, few.stderr);
  assert.match(few.stdout, /effect +direct +f +feature/);
  assert.match(few.stdout, /weaker activations/);
  const direct = await run(...attribute('--method', 'direct', '--minus', ' the', '--json'));
  assert.equal(direct.code, 0, direct.stderr);
  for (const one of (JSON.parse(direct.stdout) as Attributions).features) assert.equal(one.effect, one.direct);
});

test('attribute writes a page with the text, bars, and links to pages of features', async () => {
  const page = join(temporaryDirectory(), 'attribution.html');
  const token = ['--token', ' the', '--top', '4', '--page', page];
  const written = (...args: string[]) => run(...logged(attribute(...token, ...args)));
  const { code, stderr } = await written('--feature-pages', 'http://localhost:5173/');
  assert.equal(code, 0, stderr);
  const html = readFileSync(page, 'utf8');
  // The token is in the title; nothing is loaded.
  assert.match(html, /<h1>Attribution of the logit of &quot; the&quot;<\/h1>/);
  assert.match(html, /class="last"[^>]*> time<\/span>/);
  assert.equal(html.match(/<td class="bar">/g)!.length, 4);
  assert.equal(html.match(/href="http:\/\/localhost:5173\/#\/feature\/gated\/\d+"/g)!.length, 4);
  assert.doesNotMatch(html, /(src|href)="(?!http:\/\/localhost)/);
  refused(await written(), 'disk/out-exists', '--page');
  refusedUsage(await run(...logged(attribute('--page', 'page.txt'))), 'report/unknown-ending', 'page.txt');
  refusedUsage(await written('--feature-pages', 'javascript:alert(1)'), 'config/wrong-value', '--feature-pages');
});

test('attribute refuses a token that the model does not have, and a position beyond the prompt', async () => {
  refusedUsage(await run(...logged(attribute('--token', 'no such token'))), 'generate/no-token', 'no such token');
  refusedUsage(await run(...logged(attribute('--position', '99'))), 'generate/positions', '99');
});
