import assert from 'node:assert/strict';
import { once } from 'node:events';
import { cpSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { parseHTML } from 'linkedom';
import { start } from '../cli/run-program.js';
import { ask } from '../http/request.js';
import { temporaryDirectory } from '../temporary.js';
import { HOOK, succeeds, trainWords } from './commands.js';

const onDemand = { skip: process.env.SAE_PIPE_LONG === '1' ? false : 'with SAE_PIPE_LONG=1' };

const root = temporaryDirectory();
/** As directories: a slash ends one, so the first of these is two, one in the other. */
const RUNS = ['<script>alert(1)</script>', '"><img src=x onerror=alert(2)>', "'><svg onload=alert(3)>&amp;"];
const MODEL = join(root, '<b onmouseover=alert(4)>model');
const CORPUS = join(root, '"><iframe srcdoc=x>.jsonl.gz');
const runs = join(root, 'runs');

before(async () => {
  cpSync('assets/tiny-gemma', MODEL, { recursive: true });
  cpSync('assets/corpus/validation.jsonl.gz', CORPUS);
  const text = ['--model', MODEL, '--corpus', CORPUS];
  await succeeds([
    'harvest',
    ...text,
    '--hook',
    HOOK,
    '--tokens',
    '2000',
    '--context',
    '128',
    '--out',
    join(root, 'acts'),
  ]);
  for (const name of RUNS) await succeeds(trainWords(join(root, 'acts', HOOK), join(runs, name), { steps: 10 }));
  const saes = RUNS.flatMap((name) => ['--sae', join(runs, name)]);
  await succeeds(['eval', ...saes, ...text, '--tokens', '300', '--out', join(root, 'eval')]);
});

/** A document that holds the names as text, and no element or attribute that a browser would act on. */
function holdsNoMarkupOfOthers(html: string, place: string): void {
  const { document } = parseHTML(html);
  const elements = [...document.querySelectorAll('*')];
  const tags = elements.map(({ localName }) => localName as string);
  assert.equal(tags.filter((tag) => tag === 'script').length, 1, `${place}: its own script alone`);
  for (const tag of ['img', 'iframe', 'object', 'embed', 'base', 'form']) {
    assert.equal(document.querySelectorAll(tag).length, 0, `${place}: ${tag}`);
  }
  for (const element of elements) {
    for (const { name, value } of element.attributes) {
      assert.doesNotMatch(name, /^on|^srcdoc$/i, `${place}: ${element.localName}`);
      if (/^(xlink:)?href$|^src$/i.test(name)) assert.match(value, /^(#|data:,$)/, place);
    }
  }
  const text = document.body.textContent as string;
  assert.ok(text.includes('<img src=x onerror=alert(2)>'), `${place}: the name is to be read`);
}

test('report and figures show names as text', onDemand, async () => {
  const pages = {
    report: ['report', join(root, 'eval'), '--title', RUNS[1]!, '--out', join(root, 'report.html')],
    figure: ['figure', 'pareto', '--evaluation', join(root, 'eval'), '--out', join(root, `${RUNS[1]}.html`)],
  };
  for (const [name, words] of Object.entries(pages)) {
    await succeeds(words);
    holdsNoMarkupOfOthers(readFileSync(words.at(-1)!, 'utf8'), name);
  }
});

test('the live page shows names as text', async () => {
  const { child, outcome } = start('watch', runs, '--port', '0');
  const [line] = (await once(child.stdout!, 'data')) as [Buffer];
  const { body } = await ask(String(line).trim(), '/');
  child.kill('SIGINT');
  assert.equal((await outcome).code, 130);
  holdsNoMarkupOfOthers(body, 'watch');
});
