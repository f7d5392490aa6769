import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { encodeShard } from '../../src/activations/arrow-rows.js';
import { writeManifest } from '../../src/activations/manifest.js';
import { type FigureConfig, figureSchema } from '../../src/config/stages/pages.js';
import { Refusal } from '../../src/errors/refusal.js';
import { silent } from '../../src/progress/progress.js';
import { drawFigure } from '../../src/report/draw-figure.js';
import { initialise } from '../../src/sae/registry.js';
import { PLAIN, square } from '../../src/sae/sae.js';
import { saveSae } from '../../src/sae/saelens.js';
import { emptyManifest, randomRows } from '../activations/synthetic.js';
import { temporaryDirectory } from '../temporary.js';
import { elements, fullSweep } from './sample.js';

const root = temporaryDirectory();
const D = 8;
const HOOK = 'blocks.0.hook_resid_post';
const draw = (config: Partial<FigureConfig>) =>
  drawFigure(figureSchema.parse({ out: join(root, 'a.svg'), ...config }), silent, { signal: undefined });

async function store(name: string, changes: Parameters<typeof emptyManifest>[1] = {}): Promise<string> {
  const directory = join(root, name);
  mkdirSync(directory);
  const bytes = encodeShard(randomRows(400, D, 'float32'), D, 'float32');
  writeFileSync(join(directory, 'shard-00000.arrow'), bytes);
  const shards = [
    { file: 'shard-00000.arrow', rows: 400, sha256: createHash('sha256').update(bytes).digest('hex'), window: 0 },
  ];
  await writeManifest(
    directory,
    emptyManifest(400, { d_in: D, hook: HOOK, rows: 400, complete: true, shards, ...changes }),
  );
  return directory;
}

/** An SAE whose feature 1 never fires. */
async function sae(name: string, metadata: Record<string, unknown> = {}, forward = PLAIN): Promise<string> {
  const directory = join(root, name);
  mkdirSync(directory);
  const made = initialise('gated', square(D, 4), 1);
  made.parameters.b_gate![1] = -1e6;
  await saveSae(
    directory,
    { ...made, forward },
    { hook_name: HOOK, model_name: 'm', model_fingerprint: 'f', ...metadata },
  );
  return directory;
}

const refused = async (config: Partial<FigureConfig>, message: RegExp, exitCode: 1 | 2) =>
  assert.rejects(draw(config), (error) => {
    assert.ok(error instanceof Refusal, `${error}`);
    assert.match(error.message, message);
    assert.equal(error.exitCode, exitCode);
    assert.ok(error.remedy);
    return true;
  });

test('an SVG file is self-contained: light, on white, without a variable', async () => {
  for (const name of ['jump-relu', 'paper-gemma-7b'] as const) {
    const out = await draw({ name, out: join(root, `${name}.svg`) });
    const svg = readFileSync(out, 'utf8');
    assert.match(svg, /^<svg xmlns="http:\/\/www\.w3\.org\/2000\/svg" width="\d+" height="\d+" color="#1c1d1f"/);
    assert.match(svg, /viewBox="-12 -12 \d+ \d+">\n<title/);
    assert.match(svg, /<rect x="-12" y="-12" width="\d+" height="\d+" fill="#ffffff"\/>/);
    assert.doesNotMatch(svg, /var\(|class=|style=|<script|undefined/);
    assert.ok(svg.includes('#0072b2'), 'the colour of gated SAEs');
  }
});

test('a page has the figure, its caption, its numbers and its command', async () => {
  const page = readFileSync(await draw({ name: 'paper-gemma-7b', out: join(root, 'paper.html') }), 'utf8');
  assert.equal(elements(page, '#figure-1 [data-mark="curve"]').length, 10);
  assert.equal(elements(page, 'table.firing tr.mean').length, 4);
  assert.match(page, /Drawn by <code>sae-pipe figure paper-gemma-7b --out .*paper\.html<\/code>/);
  const toy = readFileSync(await draw({ name: 'jump-relu', out: join(root, 'toy.html') }), 'utf8');
  assert.match(toy, /Expected squared error .* ReLU 0\.267/);
});

test('a trained feature is drawn from its SAE and a store of its hook', async () => {
  const flags = { name: 'jump-relu', sae: await sae('sae'), feature: 2, activations: await store('store') } as const;
  const page = readFileSync(await draw({ ...flags, out: join(root, 'new', 'feature.html') }), 'utf8');
  assert.match(page, /Feature 2 of .*sae \(gated\) at blocks\.0\.hook_resid_post, on 400 tokens/);
  assert.ok(elements(page, '[data-mark="token"]').length > 10);
  assert.match(page, /--feature 2 --activations .*store --tokens 200000/);
  await refused({ ...flags, feature: 1 }, /Feature 1 never fires on the 400 tokens/, 1);
  await refused({ ...flags, feature: 4 }, /--feature 4 is not among the 4 features/, 2);
  await refused(
    { ...flags, activations: await store('elsewhere', { hook: 'blocks.1.hook_mlp_out' }) },
    /at blocks\.1\.hook_mlp_out .* was not trained on/,
    1,
  );
  await refused({ ...flags, sae: await sae('other', { model_fingerprint: 'g' }) }, /was not trained on/, 1);
  const uncentred = await sae('uncentred', {}, { ...PLAIN, apply_b_dec_to_input: false });
  await refused({ ...flags, sae: uncentred }, /does not encode x − b_dec \(apply_b_dec_to_input false/, 1);
  assert.ok(!readdirSync(root).includes('a.svg'), 'nothing is written');
});

test('pareto and shrinkage are drawn from an evaluation, one mark per SAE and one panel per site', async () => {
  const evaluation = join(root, 'eval');
  mkdirSync(evaluation);
  const records = fullSweep().map(({ record }) => ({ ...record, training_curve: null }));
  writeFileSync(join(evaluation, 'eval.json'), JSON.stringify(records));
  for (const name of ['pareto', 'shrinkage'] as const) {
    const svg = readFileSync(await draw({ name, evaluation, out: join(root, `${name}.svg`) }), 'utf8');
    assert.equal(elements(svg, 'svg > svg:not(:first-of-type) [data-mark="point"]').length, records.length, name);
    for (const { hook } of records) assert.ok(svg.includes(hook), `${name}: ${hook}`);
    assert.ok(!svg.includes('var(--'), 'colours are written out');
    const html = readFileSync(await draw({ name, evaluation, out: join(root, `${name}.html`) }), 'utf8');
    assert.ok(html.includes(`sae-pipe figure ${name} --evaluation ${evaluation}`));
    assert.equal(html.includes('Firing features at equal loss recovered'), name === 'pareto');
  }
});

test('a figure is a PNG or a PDF by its ending', async () => {
  for (const [ending, begin] of [
    ['png', '\u0089PNG'],
    ['pdf', '%PDF-1.4'],
  ] as const) {
    const path = await draw({ name: 'jump-relu', out: join(root, `toy.${ending}`) });
    assert.ok(readFileSync(path, 'latin1').startsWith(begin), ending);
  }
});

test('flags that do not belong together are refused', async () => {
  await refused({ name: 'jump-relu', sae: 'x' }, /--feature and --activations missing/, 2);
  await refused({ name: 'paper-gemma-7b', feature: 3 }, /--feature does not apply to figure paper-gemma-7b/, 2);
  await refused({ name: 'jump-relu', evaluation: 'e' }, /--evaluation does not apply to figure jump-relu/, 2);
  await refused({ name: 'pareto' }, /--evaluation missing/, 2);
  await refused({ name: 'jump-relu', out: join(root, 'a.eps') }, /not \.svg/, 2);
  writeFileSync(join(root, 'there.svg'), 'mine');
  await refused({ name: 'jump-relu', out: join(root, 'there.svg') }, /there\.svg exists/, 1);
  assert.equal(readFileSync(join(root, 'there.svg'), 'utf8'), 'mine');
  await draw({ name: 'jump-relu', out: join(root, 'there.svg'), overwrite: true });
  const drawn = readFileSync(join(root, 'there.svg'), 'utf8');
  assert.match(drawn, /^<svg/);
  // Repeated, the command that drew it succeeds.
  await draw({ name: 'jump-relu', out: join(root, 'there.svg') });
  assert.equal(readFileSync(join(root, 'there.svg'), 'utf8'), drawn);
});
