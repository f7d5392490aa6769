import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import type { Page } from 'playwright-core';
import type { ExploreIndex, TextReply, TextRequest } from '../../src/explore/api.js';
import { exploreFolder } from '../../src/explore/explorer.js';
import { EXPLORE_POLICY_HEADER, pageFiles, selfContainedPage } from '../../src/explore/page.js';
import { type Steering, serveFeatures, type TextTrial } from '../../src/explore/site.js';

import { silent } from '../../src/progress/progress.js';
import { sampleFeature, writeSampleFolder } from '../explore/sample-folder.js';
import { temporaryDirectory } from '../temporary.js';
import { assertAccessible, driven, overflowOf } from './driver.js';
import { skip } from './headless.js';

const WORDS = [
  '<bos>',
  ' the',
  ' cat',
  ' dog',
  '<b>bold</b>',
  '<script>alert(1)</script>',
  ' "sat"',
  '\n',
  ' sea',
  ' on',
];
const FEATURES = 200;
const STORED = Array.from({ length: FEATURES }, (_, j) => sampleFeature(j, FEATURES, WORDS.length));
/** Features in the order of a list: equal ones by number. */
const inOrder = (key: 'frequency' | 'max', stored = STORED) =>
  [...stored].sort((a, b) => b[key] - a[key] || a.feature - b.feature).map(({ feature }) => feature);

/** A stand-in for a model's answer to a text: its words, and at word i the features i and i + 1. */
function tried({ text, saes, feature }: TextRequest): TextReply {
  const tokens = ['<bos>', ...(text.match(/ ?[^ ]+/g) ?? [])];
  const top = tokens.map((_, i) =>
    i === 0 ? [] : [i, i + 1].map((j, k) => ({ feature: j, value: 4 * i - k, label: null, tokens: [' cat'] })),
  );
  return {
    ...{ tokens, counted: tokens.map((_, i) => i > 0), cut: false },
    saes: (saes ?? ['gated']).map((sae) => ({ sae, long: [], top })),
    heat: feature ? tokens.map((_, i) => (i === feature.feature ? 8 : 0)) : null,
  };
}

const READY: TextTrial = {
  status: () => ({ model: 'ready', waiting: 1, seconds: 0 }),
  tryText: async (request) => tried(request),
};

/** A stand-in for a model's text, one word at a time up to `tokens`; the 500th never comes. */
const STEERING: Steering = {
  steer:
    ({ changes, tokens }) =>
    async (tell, gone) => {
      await tell({ kind: 'queued', ahead: 1, says: 'Waiting for the model: 1 other request comes first.' });
      for (let i = 1; i <= tokens && !gone.aborted; i++) {
        if (i === 500) await new Promise((resolve) => gone.addEventListener('abort', resolve));
        await tell({ kind: 'text', tokens: i, unsteered: ' word', steered: ` <b>${changes[0]!.strength}</b>` });
      }
      await tell({ kind: 'ended', unsteered: 'length', steered: 'end' });
    },
  attribute:
    ({ at, token }) =>
    async (tell, gone) => {
      const likely = [5, 8].map((id) => ({ id, token: WORDS[id]!, probability: 1 / id }));
      await tell({ kind: 'next', likely, token: token ?? 5, logit: 12.5 });
      await tell({ kind: 'ablated', done: 1, of: 2 });
      // After the third token it takes forever.
      if (at === 3) await new Promise((resolve) => gone.addEventListener('abort', resolve));
      const features = [2, 17].map((feature, i) => ({
        ...{ feature, position: i + 1, at: ' cat', activation: 4, label: null, tokens: [' dog'] },
        ...{ direct: i === 0 ? null : -0.5, effect: (token ?? 5) - 2 * i },
      }));
      const more = { features, examined: 2 };
      await tell(
        token === null
          ? { kind: 'attributed', method: 'gradient', remark: null, leftOut: 0, ...more }
          : { kind: 'attributed', method: 'ablation', remark: 'It has no gradient here.', leftOut: 3, ...more },
      );
    },
};

async function served(t: TestContext, trial: TextTrial = READY, steering = STEERING) {
  const directory = temporaryDirectory(t);
  const saes = ['gated', 'topk-32'];
  await writeSampleFolder(directory, { features: FEATURES, vocabulary: WORDS, saes, top: 4, perBand: 2 });
  const files = new Map(pageFiles('features').map(({ path, body, type }) => [path, { body, type }]));
  const explorer = await exploreFolder(directory, silent);
  const parts = { explorer, files, readOnly: null, trial, steering };
  const server = await serveFeatures(parts, EXPLORE_POLICY_HEADER, 0);
  t.after(() => server.close());
  return server;
}

const features = async (page: Page) => (await page.locator('#list tbody th').allTextContents()).map(Number);
const current = (page: Page) => new URL(page.url()).hash;
const heading = (page: Page, text: string) =>
  page.getByRole('heading', { level: 1, name: text, exact: true }).waitFor();
/** Waits until the list has the total that its summary says. */
const total = (page: Page, text: string) => page.locator('#list .summary', { hasText: text }).waitFor();

test('a list is sorted, filtered, searched and reversed, and its address leads back to it', { skip }, async (t) => {
  const { url } = await served(t);
  const { page, problems } = await driven(t, url);
  await total(page, '200 features');
  assert.deepEqual(await features(page), inOrder('frequency').slice(0, 50));
  await page.getByRole('button', { name: 'Max', exact: true }).click();
  await page.locator('th[aria-sort=descending]', { hasText: 'Max' }).waitFor();
  assert.deepEqual(await features(page), inOrder('max').slice(0, 50));
  await page.getByRole('link', { name: 'Next page' }).click();
  await page.locator('.pager', { hasText: '51–100' }).waitFor();
  assert.deepEqual(await features(page), inOrder('max').slice(50, 100));
  await page.getByLabel('Activity').selectOption('fires');
  const alive = STORED.filter(({ max }) => max > 0);
  await total(page, `${alive.length} of 200`);
  await page.getByLabel('Maximum, at least').fill('1');
  await page.getByLabel('Maximum, at least').press('Enter');
  const strong = alive.filter(({ max }) => max >= 1);
  await total(page, `${strong.length} of 200`);
  assert.deepEqual(await features(page), inOrder('max', strong).slice(0, 50));
  await page.getByLabel('Search features').fill('sea');
  const fits = strong.filter(({ peak_tokens: peaks, top_logit_tokens: logits }) => [...peaks, ...logits].includes(8));
  await total(page, `${fits.length} of 200`);
  const address = page.url();
  assert.deepEqual(await features(page), inOrder('max', fits).slice(0, 50));
  // The address alone gives the same list, and going back steps through filters, not keystrokes.
  const again = await driven(t, address);
  await total(again.page, `${fits.length} of 200`);
  assert.deepEqual(await features(again.page), await features(page));
  assert.equal(await again.page.getByLabel('Search features').inputValue(), 'sea');
  await page.goBack();
  await total(page, `${alive.length} of 200`);
  await page.getByRole('button', { name: /^fires/ }).click();
  await total(page, '200 features');
  assert.deepEqual([...problems, ...again.problems], []);
});

test('a feature shows its examples with values on hover, and links to others', { skip }, async (t) => {
  const { url } = await served(t);
  const { page, problems } = await driven(t, `${url}#/feature/gated/1?sort=feature&order=asc`);
  await heading(page, 'Feature 1');
  assert.equal(await page.locator('.lines > li').count(), 4 + 5 * 2);
  const peak = page.locator('.lines .peak').first();
  assert.match((await peak.getAttribute('class')) ?? '', /\bh9\b/, 'the strongest has the last colour');
  await peak.hover();
  const value = await page.locator('.lines .value').first().textContent();
  await page.locator('.tip b', { hasText: value! }).waitFor();
  assert.equal(await page.locator('.histogram .bar').count(), 3);
  assert.equal(await page.locator('.logits li').count(), 20);
  // The list next to it is at the feature, and leads to the next.
  assert.equal(await page.locator('#list tr.chosen th').textContent(), '1');
  await page.getByRole('button', { name: '→' }).click();
  await heading(page, 'Feature 2');
  const near = STORED[2]!.decoder_neighbours[0]!;
  await page
    .locator('.related a', { hasText: String(near) })
    .first()
    .click();
  await heading(page, `Feature ${near}`);
  assert.equal(current(page), `#/feature/gated/${near}?sort=feature&order=asc`);
  await page.goBack();
  await heading(page, 'Feature 2');
  // Dead: it says so instead of showing nothing.
  await page.goto(`${url}#/feature/gated/3`);
  await page.getByText('It never fires on the 1,000,000 tokens').waitFor();
  // It does not exist: the server's own message.
  await page.goto(`${url}#/feature/gated/200`);
  await page.getByRole('alert').getByText('gated has features 0 to 199.').waitFor();
  assert.deepEqual(
    problems.splice(0).filter((one) => !one.includes('404')),
    [],
  );
});

test('HTML in tokens, labels and searches shows as text', { skip }, async (t) => {
  const { url } = await served(t);
  const { page, problems } = await driven(t, `${url}#/feature/gated/1`);
  await heading(page, 'Feature 1');
  const hostile = '<img src=x onerror=alert(1)><b>label</b>';
  await page.getByLabel('Label', { exact: true }).fill(hostile);
  await page.getByLabel('Label', { exact: true }).press('Enter');
  await page.getByText('Saved', { exact: true }).waitFor();
  await page.goto(`${url}#/list/gated?q=${encodeURIComponent('<b>label')}`);
  await total(page, '1 of 200');
  assert.equal(await page.locator('#list .given').textContent(), hostile);
  await page.goto(`${url}#/list/gated?q=${encodeURIComponent('<script>')}`);
  await page.getByText('<script>alert(1)</script>').first().waitFor();
  assert.equal(await page.locator('main :is(img, script, b)').count(), 0);
  assert.deepEqual(problems, []);
});

test('labels and notes are saved, come back, and what could not be saved is kept', { skip }, async (t) => {
  const server = await served(t);
  const { page } = await driven(t, `${server.url}#/feature/gated/5?sort=feature&order=asc`);
  const label = page.getByLabel('Label', { exact: true });
  await label.fill('numbers of years');
  await page.getByLabel('Note').fill('two\nlines');
  await page.getByLabel('Note').press('Control+Enter');
  await page.getByText('Saved', { exact: true }).waitFor();
  const row = page.locator('#list tr[data-feature="5"]', { hasText: 'numbers of years' });
  await row.waitFor();
  await page.reload();
  await heading(page, 'Feature 5');
  assert.equal(await label.inputValue(), 'numbers of years');
  assert.equal(await page.getByLabel('Note').inputValue(), 'two\nlines');
  await label.fill('not this');
  await label.press('Escape');
  assert.equal(await label.inputValue(), 'numbers of years');
  await row.waitFor();
  await server.close();
  await label.fill('years');
  await label.press('Enter');
  await page.locator('.saved.failed', { hasText: 'Not saved' }).waitFor();
  assert.equal(await label.inputValue(), 'years');
  // A list that fails to load says so, and can be requested again.
  await page.getByRole('link', { name: 'Features' }).click();
  await page.getByRole('button', { name: 'Max', exact: true }).click();
  await page.locator('#list').getByRole('button', { name: 'Try again' }).waitFor();
});

test('a text shows the features of each token, and where one of them fires', { skip }, async (t) => {
  const { url } = await served(t);
  const { page, problems } = await driven(t, url);
  await page.getByRole('link', { name: 'Text' }).click();
  await page.getByLabel('Text', { exact: true }).fill('a cat sat <b>down</b>');
  await page.keyboard.press('Control+Enter');
  const strip = page.getByRole('toolbar', { name: 'Tokens of the text' });
  await strip.getByRole('button', { name: '<b>down</b>' }).waitFor();
  assert.equal(await strip.getByRole('button').count(), 5);
  await strip.getByRole('button', { name: 'sat', exact: false }).click();
  await page.getByRole('heading', { name: 'At ·sat' }).waitFor();
  await page.keyboard.press('ArrowLeft');
  await page.getByRole('heading', { name: 'At ·cat' }).waitFor();
  await page.getByRole('link', { name: 'Colour the text by feature 3' }).first().click();
  await page.getByText('Coloured by feature 3').waitFor();
  assert.deepEqual(await strip.locator('.h9').allTextContents(), [' sat']);
  await page.reload();
  await page.getByText('Coloured by feature 3').waitFor();
  await page.getByRole('heading', { name: 'At ·cat' }).waitFor();
  assert.deepEqual(problems, []);
});

test('while a model opens, the page shows for how long', { skip }, async (t) => {
  let open = () => {};
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  const { url } = await served(t, {
    status: () => ({ model: 'opening', waiting: 1, seconds: 7 }),
    tryText: async (request) => {
      await opened;
      return tried(request);
    },
  });
  const { page } = await driven(t, `${url}#/text/gated?text=a%20cat`);
  const state = page.locator('#top .progress');
  await state.getByText('Opening the model, 7 s').waitFor();
  assert.equal(await page.getByRole('button', { name: 'Run' }).isDisabled(), true);
  open();
  await page.getByRole('heading', { name: 'Anywhere in the text' }).waitFor();
  await state.waitFor({ state: 'hidden' });
});

test('a sentence is steered by sliders and numbers, and the address contains all settings', { skip }, async (t) => {
  const { url } = await served(t);
  const { page, problems } = await driven(t, `${url}#/text/gated?text=a%20cat%20sat`);
  await page.getByRole('button', { name: 'Steer with feature 2' }).first().click();
  const strength = page.getByLabel('Strength of feature 2', { exact: true });
  await strength.waitFor();
  const before = await strength.inputValue();
  await page.getByLabel('Strength of feature 2, slider').press('ArrowRight');
  const after = await strength.inputValue();
  assert.ok(Number(after) > Number(before), `${before}, then ${after}`);
  await page.getByLabel('Feature to change').fill('17');
  await page.keyboard.press('Enter');
  await page.getByLabel('Operation on feature 17').selectOption('ablate');
  await page.getByLabel('Tokens', { exact: true }).fill('3');
  await page.getByLabel('Tokens', { exact: true }).press('Enter');
  await page.getByText('3 tokens; the steered text ended by itself').waitFor();
  const grown = page.locator('.continued');
  const texts = ['a cat sat word word word', `a cat sat${` <b>${after}</b>`.repeat(3)}`];
  assert.deepEqual(await grown.allTextContents(), texts);
  assert.equal(current(page), `#/text/gated?text=a+cat+sat&set=2_${after}&ablate=17&tokens=3`);
  // Opening an address with changes steers.
  const again = await driven(t, page.url());
  await again.page.getByText('3 tokens;').waitFor();
  assert.deepEqual(await again.page.locator('.continued').allTextContents(), texts);
  // What is not a number, or not a feature, gives a message, and nothing is sent.
  await strength.fill('NaN');
  await page.getByRole('button', { name: 'Steer', exact: true }).click();
  await page.getByText('A strength is not a number.').waitFor();
  await page.getByLabel('Feature to change').fill('200');
  await page.keyboard.press('Enter');
  await page.getByText('gated has features 0 to 199.').waitFor();
  await page.getByRole('button', { name: 'Stop changing feature 2' }).click();
  await page.getByText('since the last change').waitFor();
  assert.match(current(page), /sat&ablate=17&tokens=3$/);
  // Nothing is shown about a text that is no longer shown.
  await page.getByRole('button', { name: 'Stop changing feature 17' }).click();
  await grown.first().waitFor({ state: 'detached' });
  assert.equal(await page.locator('.steer p.state').textContent(), '');
  assert.deepEqual([...problems, ...again.problems], []);
});

test('the features behind a next token are listed, for the token that is clicked', { skip }, async (t) => {
  const { url } = await served(t);
  const { page, problems } = await driven(t, `${url}#/text/gated?text=a%20cat%20sat&at=2`);
  await page.getByRole('button', { name: 'What comes next' }).click();
  const effects = page.locator('.attribution tbody tr');
  await effects.first().waitFor();
  assert.equal(await page.locator('.likely a[aria-current]').textContent(), '<script>alert(1)</script>20.0%');
  await page.getByText('activation × gradient (f · ∂logit/∂f), computed for all 2 activations').waitFor();
  await page.locator('.likely a', { hasText: 'sea' }).click();
  await page.locator('.attribution td', { hasText: '+8.00' }).waitFor();
  assert.match(current(page), /&at=2&next=8$/);
  const rows = await effects.locator('td.number').allTextContents();
  assert.deepEqual(rows, ['4.00', '–', '+8.00', '4.00', '−0.50', '+6.00']);
  await page.getByText('no gradient here. Each of 2 activations was ablated separately').waitFor();
  const again = await driven(t, page.url());
  await again.page.locator('.attribution td', { hasText: '+8.00' }).waitFor();
  await effects.first().locator('th a').click();
  await heading(page, 'Feature 2');
  assert.deepEqual([...problems, ...again.problems], []);
});

test('features behind a next token are computed only while they are shown', { skip }, async (t) => {
  const asked: number[] = [];
  let end = () => {};
  const steering: Steering = {
    ...STEERING,
    attribute: (request) => async (tell, gone) => {
      asked.push(request.at);
      await STEERING.attribute(request)(tell, gone);
      end();
    },
  };
  let answer = () => {};
  const held = new Promise<void>((resolve) => {
    answer = resolve;
  });
  const trial: TextTrial = {
    ...READY,
    tryText: async (request) => {
      if (request.text === 'a held text') await held;
      return tried(request);
    },
  };
  const { url } = await served(t, trial, steering);
  const there = (text: string, at: number) => `${url}#/text/gated?text=${encodeURIComponent(text)}&at=${at}&next=8`;
  const empty = async () => {
    await page.goto(there('', 2));
    await page.getByText('Runs a text through').waitFor();
  };
  // Neither beyond the tokens of a text, nor where there is none, even when the answer of an earlier one comes.
  const { page, problems } = await driven(t, there('a cat sat', 9));
  await page.getByText('Choose a token').waitFor();
  await page.goto(there('a held text', 2));
  await page.getByRole('button', { name: 'Run' }).and(page.locator(':disabled')).waitFor();
  await empty();
  answer();
  assert.equal(await page.getByRole('button', { name: 'Run' }).isDisabled(), false);
  for (let i = 0; i < 2; i++) {
    await page.goto(there('a cat sat', 3));
    await page.getByText('1 of 2 activations ablated').waitFor();
    const ended = new Promise<void>((resolve) => {
      end = resolve;
    });
    await empty();
    await ended;
  }
  assert.deepEqual(asked, [3, 3]);
  assert.deepEqual(problems, []);
});

test('steering is cancelled by its button, by another request, and by leaving', { skip }, async (t) => {
  let running = 0;
  const waiting: (() => void)[] = [];
  const steering: Steering = {
    steer: (request) => async (tell, gone) => {
      running++;
      await STEERING.steer(request)(tell, gone);
      running--;
      for (const end of waiting.splice(0)) end();
    },
    attribute: (request) => async (tell, gone) => {
      await STEERING.attribute(request)(tell, gone);
      for (const end of waiting.splice(0)) end();
    },
  };
  const { url } = await served(t, READY, steering);
  const { page, problems } = await driven(t, `${url}#/text/gated?text=a&set=1_2&tokens=512`);
  const steer = page.getByRole('button', { name: 'Steer', exact: true });
  const runs = async () => {
    await page.getByText('499 of 512 tokens').waitFor();
    assert.equal(running, 1);
  };
  const ends = () => new Promise<void>((resolve) => waiting.push(resolve));
  await runs();
  let ended = ends();
  await page.getByRole('button', { name: 'Cancel' }).click();
  await ended;
  await page.getByText('Cancelled.').waitFor();
  await steer.click();
  await runs();
  ended = ends();
  await steer.click();
  await ended;
  await runs();
  ended = ends();
  await page.getByRole('link', { name: 'Features' }).click();
  await ended;
  await page.goBack();
  await runs();
  ended = ends();
  await page.goto(`${url}#/text/gated?text=a%20cat%20sat&at=3&next=likeliest`);
  await ended;
  await page.getByText('1 of 2 activations ablated').waitFor();
  ended = ends();
  await page.getByRole('button', { name: 'Cancel' }).click();
  await ended;
  await page.getByRole('button', { name: 'What comes next' }).click();
  await page.getByText('1 of 2 activations ablated').waitFor();
  ended = ends();
  await page.close();
  await ended;
  assert.equal(running, 0);
  assert.deepEqual(problems, []);
});

test('two features, or two SAEs, are shown side by side', { skip }, async (t) => {
  const { url } = await served(t);
  const { page, problems } = await driven(t, `${url}#/feature/gated/1`);
  await heading(page, 'Feature 1');
  const near = STORED[1]!.decoder_neighbours.find((feature) => feature !== 1 && STORED[feature]!.max > 0)!;
  await page.locator(`[aria-label="Compare with ${near}"]`).first().click({ force: true });
  await heading(page, 'Compare features');
  await page.getByText('cosine of decoders').waitFor();
  assert.equal(await page.locator('.compare .histogram').count(), 2);
  await page.getByLabel('Right SAE').selectOption('topk-32');
  await page.getByRole('heading', { name: `topk-32 ${near}` }).waitFor();
  assert.equal(current(page), `#/compare?a=gated/1&b=topk-32/${near}`);
  await page.getByLabel('Left feature').fill('');
  await page.getByLabel('Left feature').press('Enter');
  await heading(page, 'Compare SAEs');
  assert.equal(await page.locator('.compare .scatter').count(), 2);
  assert.deepEqual(problems, []);
});

test('the scatter picks by pointer and by keyboard, and bounds the list', { skip }, async (t) => {
  const { url } = await served(t);
  const { page, problems } = await driven(t, url);
  const scatter = page.getByRole('application');
  await page.getByText('features that fire.').waitFor();
  await scatter.focus();
  await page.keyboard.press('ArrowRight');
  await page.keyboard.press('ArrowLeft');
  const [, picked] = (await page.locator('.tip b').textContent())!.split(' ');
  const box = (await page.locator('.tip').boundingBox())!;
  await page.keyboard.press('Enter');
  await heading(page, `Feature ${picked}`);
  await page.goBack();
  await page.getByText('features that fire.').waitFor();
  // The tooltip stands above or below the middle of its point.
  const area = (await scatter.boundingBox())!;
  await page.mouse.move(area.x + 40, area.y + 20);
  await page.mouse.down();
  await page.mouse.move(area.x + area.width / 2, area.y + area.height - 30, { steps: 4 });
  await page.mouse.up();
  await page.getByRole('button', { name: /frequency/ }).waitFor();
  assert.match(current(page), /frequency=.*max=/);
  const shown = await features(page);
  assert.ok(shown.length > 0 && !shown.some((feature) => STORED[feature]!.max === 0));
  assert.ok(box.width > 0);
  assert.deepEqual(problems, []);
});

test('everything can be done with the keyboard', { skip }, async (t) => {
  const { url } = await served(t);
  const { page, problems } = await driven(t, url);
  await total(page, '200 features');
  await page.keyboard.press('/');
  await page.keyboard.type('dog');
  const found = inOrder(
    'frequency',
    STORED.filter(({ peak_tokens: peaks, top_logit_tokens: logits }) => [...peaks, ...logits].includes(3)),
  );
  await total(page, `${found.length} of 200`);
  await page.keyboard.press('Enter');
  await page.locator('#list tbody tr:first-child a:focus').waitFor();
  await page.keyboard.press('j');
  await page.keyboard.press('Enter');
  await heading(page, `Feature ${found[1]}`);
  await page.keyboard.press('j');
  await heading(page, `Feature ${found[2]}`);
  await page.keyboard.press('k');
  await page.keyboard.press('k');
  await heading(page, `Feature ${found[0]}`);
  await page.keyboard.press('e');
  await page.keyboard.press('ArrowRight');
  await page.locator('.lines .at').waitFor();
  await page.keyboard.press('ArrowDown');
  await page.locator('.lines li:nth-child(2) .text:focus').waitFor();
  await page.keyboard.press('w');
  await page.locator('.bands.wrapped').waitFor();
  await page.keyboard.press('l');
  await page.keyboard.type('jk/?');
  assert.equal(await page.getByLabel('Label', { exact: true }).inputValue(), 'jk/?', 'keys are text in a field');
  await page.keyboard.press('Escape');
  await page.keyboard.press('?');
  await page.getByRole('dialog').waitFor();
  await page.keyboard.press('Escape');
  await page.getByRole('dialog').waitFor({ state: 'hidden' });
  await page.keyboard.press('/');
  // At once: between slow keystrokes, "#" alone would be searched for.
  await page.keyboard.insertText('#42');
  await page.keyboard.press('Enter');
  await heading(page, 'Feature 42');
  await page.keyboard.press('u');
  await page.locator('body[data-view=list]').waitFor();
  assert.equal(current(page), '#/list/gated?q=dog');
  await page.keyboard.press('f');
  await page.getByLabel('Activity').and(page.locator(':focus')).waitFor();
  await page.keyboard.press('Escape');
  await page.keyboard.press('j');
  await page.locator('#list tbody a:focus').waitFor();
  // From the last row of a page to the first of the next, and back.
  const all = inOrder('frequency');
  await page.goto(`${url}#/feature/gated/${all[49]}`);
  await heading(page, `Feature ${all[49]}`);
  await page.keyboard.press('j');
  await heading(page, `Feature ${all[50]}`);
  assert.equal(current(page), `#/feature/gated/${all[50]}?from=50`);
  await page.keyboard.press('k');
  await heading(page, `Feature ${all[49]}`);
  // Keys that follow fast are not lost, however long features take to come.
  for (let i = 0; i < 12; i++) await page.keyboard.press('k');
  await heading(page, `Feature ${all[37]}`);
  assert.deepEqual(problems, []);
});

test('a self-contained page shows its features from a file, without a server', { skip }, async (t) => {
  const { url } = await served(t);
  const json = async (path: string) => (await fetch(url + path)).json();
  const chosen = [1, 2, 5, 9];
  const index = (await json('data/index.json')) as ExploreIndex;
  const data: Record<string, unknown> = {
    'data/index.json': {
      ...index,
      saes: index.saes.slice(0, 1),
      live: { list: false, labels: false, text: false },
      only: { gated: chosen },
    },
  };
  for (const j of chosen) data[`data/gated/features/${j}.json`] = await json(`data/gated/features/${j}.json`);
  const file = join(temporaryDirectory(t), 'page.html');
  writeFileSync(file, selfContainedPage('</title><script>alert(1)</script>', data));
  const { page, problems } = await driven(t, pathToFileURL(file).href);
  await total(page, '4 of 200');
  const own = STORED.filter(({ feature }) => chosen.includes(feature));
  assert.deepEqual(await features(page), inOrder('frequency', own));
  await page.getByRole('button', { name: 'Max', exact: true }).click();
  await page.locator('th[aria-sort=descending]', { hasText: 'Max' }).waitFor();
  assert.deepEqual(await features(page), inOrder('max', own));
  const [first, second] = inOrder('max', own);
  await page.locator('#list tbody a').first().click();
  await heading(page, `Feature ${first}`);
  await page.keyboard.press('j');
  await heading(page, `Feature ${second}`);
  assert.equal((await page.locator('.lines .h9').count()) > 0, true, 'its style is in it, too');
  assert.equal(await page.locator('input.label').count(), 0, 'nothing that only a server can do');
  await assertAccessible(page, 'self-contained');
  assert.deepEqual(problems, []);
});

/** Each view, and what is on it once it is complete. */
const VIEWS = {
  list: ['#/list/gated?alive=1&max=0.1..', '#list tbody tr'],
  feature: ['#/feature/gated/1', '.bands.aligned'],
  wrapped: ['#/feature/gated/1?lines=wrapped', '.bands.wrapped'],
  text: ['#/text/gated?text=a%20cat%20sat&at=1', '.strip .t'],
  steered: ['#/text/gated?text=a%20cat%20sat&set=2_3&ablate=1&scale=5_-1&tokens=40', '.state:has-text("ended")'],
  attributed: ['#/text/gated?text=a%20cat%20sat&at=2&next=8', '.attribution tbody tr'],
  features: ['#/compare?a=gated/1&b=topk-32/2', '.compare .bands'],
  SAEs: ['#/compare?a=gated&b=topk-32', '.compare .scatter'],
} as const;

/** Opens a view and waits until all of it has come. */
async function view(page: Page, url: string, [hash, whole]: readonly [string, string]): Promise<void> {
  await page.goto(url + hash);
  await page.locator(whole).first().waitFor();
  await page.locator('.waiting').first().waitFor({ state: 'detached' });
}

for (const colorScheme of process.env.SAE_PIPE_LONG === '1' ? (['light', 'dark'] as const) : (['dark'] as const)) {
  test(`every view passes the accessibility checks, in the ${colorScheme} colours`, { skip }, async (t) => {
    const { url } = await served(t);
    const { page, problems } = await driven(t, url, { colorScheme });
    const paper = await page.evaluate('getComputedStyle(document.body).backgroundColor');
    assert.equal(paper, colorScheme === 'light' ? 'rgb(255, 255, 255)' : 'rgb(21, 23, 26)');
    for (const [name, place] of Object.entries(VIEWS)) {
      await view(page, url, place);
      await assertAccessible(page, `${name}, ${colorScheme}`);
    }
    await page.keyboard.press('?');
    await assertAccessible(page, `help, ${colorScheme}`);
    assert.deepEqual(problems, []);
  });
}

test('a phone shows every view without scrolling sideways', { skip }, async (t) => {
  const { url } = await served(t);
  const { page } = await driven(t, url, { viewport: { width: 380, height: 800 }, hasTouch: true, isMobile: true });
  for (const [name, place] of Object.entries(VIEWS)) {
    await view(page, url, place);
    assert.ok((await overflowOf(page)) <= 0, name);
  }
  await page.goto(`${url}#/feature/gated/1`);
  await page.getByRole('button', { name: '→' }).tap();
  await page.getByRole('link', { name: 'Features' }).tap();
  await page.locator('#list tbody a').first().tap();
  await heading(page, `Feature ${inOrder('frequency')[0]}`);
});
