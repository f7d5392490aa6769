import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { gunzipSync, gzipSync } from 'node:zlib';
import { exportFeaturesSchema, labelsSchema } from '../../src/config/stages/features.js';
import type { FeaturePage } from '../../src/explore/api.js';
import { exploreFolder } from '../../src/explore/explorer.js';
import { exportFeatures } from '../../src/explore/export-features.js';
import { labels } from '../../src/explore/label-import.js';
import { silent } from '../../src/progress/progress.js';
import { refuses, refusesUsage } from '../config/refuses.js';
import { temporaryDirectory } from '../temporary.js';
import { writeSampleFolder } from './sample-folder.js';

const stop = { signal: undefined };

async function sample(t: TestContext, saes = ['gated']) {
  const root = temporaryDirectory(t);
  const folder = join(root, 'features');
  await writeSampleFolder(folder, { features: 300, saes, top: 3, perBand: 1 });
  const label = async (more: object) => {
    const printed: string[] = [];
    await labels(labelsSchema.parse({ folder, ...more }), {
      progress: silent,
      stop,
      print: (line) => printed.push(line),
    });
    return printed;
  };
  const exported = (more: object) => exportFeatures(exportFeaturesSchema.parse({ folder, ...more }), silent, stop);
  return { root, folder, label, exported };
}

const explained = (index: number | string, description: string, more: object = {}) => ({
  ...{ modelId: 'gemma-2-2b', layer: '12-res-16k', index, description, authorId: 'x' },
  ...{ typeName: 'oai_token-act-pair', explanationModelName: 'gpt-4o-mini', ...more },
});
const linesOf = (values: readonly object[]) => values.map((value) => `${JSON.stringify(value)}\n`).join('');

test('explanations of Neuronpedia become labels, in every form in which they come', async (t) => {
  const { root, folder, label } = await sample(t);
  const long = `${'cats '.repeat(150)}end`;
  const list = [
    explained('7', ' <b>cats</b> '),
    explained(9, long),
    explained('7', 'a second one'),
    explained('11', ' '),
  ];
  const directory = join(root, 'explanations');
  mkdirSync(directory);
  writeFileSync(join(directory, 'batch-10.jsonl.gz'), gzipSync(linesOf(list.slice(2))));
  writeFileSync(join(directory, 'batch-9.jsonl.gz'), gzipSync(linesOf(list.slice(0, 2))));
  writeFileSync(join(root, 'list.json'), JSON.stringify(list, null, 1));
  writeFileSync(join(root, 'lines.jsonl'), linesOf(list));
  const expected = [
    { feature: 7, label: '<b>cats</b>', note: null, source: 'neuronpedia, oai_token-act-pair, gpt-4o-mini' },
    { feature: 9, label: `${long.slice(0, 499)}…`, note: long, source: 'neuronpedia, oai_token-act-pair, gpt-4o-mini' },
  ];
  for (const from of [directory, join(root, 'list.json'), join(root, 'lines.jsonl')]) {
    writeFileSync(join(folder, 'gated', 'labels.jsonl'), '');
    await label({ import: from });
    assert.deepEqual((await exploreFolder(folder, silent)).saes.get('gated')!.labels.all(), expected, from);
  }
  const printed = await label({});
  assert.deepEqual(
    printed.map((line) => JSON.parse(line)),
    expected.map((one) => ({ sae: 'gated', ...one })),
  );
});

test('a user’s labels stay, unless they are to be replaced', async (t) => {
  const { root, folder, label } = await sample(t);
  const own = '{"feature":7,"label":"mine","note":"a note"}\n';
  writeFileSync(join(folder, 'gated', 'labels.jsonl'), own);
  writeFileSync(join(root, 'e.jsonl'), linesOf([explained(7, 'theirs'), explained(8, 'eight')]));
  const all = async () =>
    (await exploreFolder(folder, silent)).saes
      .get('gated')!
      .labels.all()
      .map((one) => one.label);
  await label({ import: join(root, 'e.jsonl') });
  assert.deepEqual(await all(), ['mine', 'eight']);
  await label({ import: join(root, 'e.jsonl'), overwrite: true });
  assert.deepEqual(await all(), ['theirs', 'eight']);
  assert.ok(
    readFileSync(join(folder, 'gated', 'labels.jsonl'), 'utf8').includes('mine'),
    'what was replaced is still read',
  );
});

test('explanations that do not belong to the SAE are refused, and no label is written', async (t) => {
  const { root, folder, label } = await sample(t, ['a', 'b']);
  const path = join(root, 'e.jsonl');
  const given = (...list: object[]) => writeFileSync(path, linesOf(list));
  const importing = (more: object = { sae: 'a' }) => label({ import: path, ...more });
  given(explained(1, 'x'));
  await refusesUsage(() => importing({}), 'config/wrong-together', '--sae a');
  given(explained(1, 'x'), explained(2, 'y', { layer: '13-res-16k' }));
  await refuses(() => importing(), 'explore/several-sources', '12-res-16k', '13-res-16k');
  await refuses(() => importing({ sae: 'a', source: '9-other' }), 'explore/no-explanations', '9-other');
  given(explained(1, 'x'), explained(300, 'y'));
  await refuses(() => importing(), 'explore/other-sae-explained', '300');
  for (const text of ['', '{"index":1}\n', '[1]', 'x', '{"index":"-1","description":"x"}\n', '\u001f\u008bno gzip']) {
    writeFileSync(path, text, 'latin1');
    await refuses(() => importing(), 'explore/no-explanations', path);
  }
  await refuses(() => label({ import: `${path}.no`, sae: 'a' }), 'disk/no-file');
  assert.equal(existsSync(join(folder, 'a', 'labels.jsonl')), false);
  given(explained(1, 'x'), explained(2, 'y', { layer: '13-res-16k' }));
  await importing({ sae: 'b', source: '13-res-16k' });
  assert.deepEqual(
    (await exploreFolder(folder, silent)).saes
      .get('b')!
      .labels.all()
      .map(({ feature }) => feature),
    [2],
  );
});

test('an export for Neuronpedia has every feature that fires, its examples and its label, which can be read back', async (t) => {
  const { root, folder, label, exported } = await sample(t);
  writeFileSync(join(folder, 'gated', 'labels.jsonl'), '{"feature":6,"label":"six","note":null}\n');
  const out = join(root, 'neuronpedia');
  await exported({ as: 'neuronpedia', out });
  const lines = (path: string) => {
    const bytes = readFileSync(join(out, path));
    const text = (path.endsWith('.gz') ? gunzipSync(bytes) : bytes).toString();
    return text
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
  };
  const explorer = await exploreFolder(folder, silent);
  const { pages, record } = explorer.saes.get('gated')!;
  const features = [...lines('features/batch-0.jsonl.gz'), ...lines('features/batch-1.jsonl.gz')];
  assert.equal(features.length, record.alive);
  const [source] = lines('source.jsonl');
  assert.deepEqual([source!.id, source!.modelId, source!.setName], ['2-gated', 'tiny', 'gated']);
  const page: FeaturePage = await pages.page(6);
  const six = features.find(({ index }) => index === '6')!;
  assert.equal(six.frac_nonzero, page.frequency);
  assert.deepEqual(
    six.pos_str,
    page.topLogits.map(({ token }) => token),
  );
  assert.deepEqual(
    six.correlated_features_indices,
    page.cofiring.map(({ feature }) => feature),
  );
  const activations = lines('activations/batch-0.jsonl.gz').filter(({ index }) => index === '6');
  const examples = page.bands.flatMap((band) => band.examples.map((example) => ({ band, example })));
  assert.deepEqual(
    activations.map(({ tokens, values, qualifyingTokenIndex, binMin }) => [
      tokens,
      values,
      qualifyingTokenIndex,
      binMin,
    ]),
    examples.map(({ band, example }) => [
      example.tokens,
      example.activations,
      example.peak,
      band.band === 0 ? -1 : band.from,
    ]),
  );
  assert.deepEqual(
    lines('explanations/batch-0.jsonl.gz').map(({ description }) => description),
    ['six'],
  );
  writeFileSync(join(folder, 'gated', 'labels.jsonl'), '');
  await label({ import: join(out, 'explanations') });
  assert.equal((await exploreFolder(folder, silent)).saes.get('gated')!.labels.byFeature.get(6)!.label, 'six');
  await refuses(() => exported({ as: 'neuronpedia', out }), 'disk/out-exists');
  await exported({ as: 'neuronpedia', out, overwrite: true });
});

test('an export for sae-dashboard has batches of features, and names the dead ones', async (t) => {
  const { root, folder, exported } = await sample(t);
  const out = join(root, 'dashboard');
  await exported({ as: 'sae-dashboard', out, set: 'My Set' });
  const json = (name: string) => JSON.parse(readFileSync(join(out, name), 'utf8'));
  const batches = [json('batch-0.json'), json('batch-1.json')];
  assert.deepEqual([batches[0].model_id, batches[0].layer, batches[0].sae_set], ['tiny', 2, 'my-set']);
  const found = batches.flatMap(({ features }) => features) as { feature_index: number; activations: unknown[] }[];
  const dead = json('skipped_indexes.json').skipped_indexes as number[];
  assert.deepEqual(
    [...found.map((one) => one.feature_index), ...dead].sort((a, b) => a - b),
    Array.from({ length: 300 }, (_, j) => j),
  );
  const page = await (await exploreFolder(folder, silent)).saes.get('gated')!.pages.page(found[0]!.feature_index);
  assert.equal(found[0]!.activations.length, page.bands.flatMap(({ examples }) => examples).length);
});

test('an export replaces only what it wrote', async (t) => {
  const { root, exported } = await sample(t);
  const out = join(root, 'mine');
  mkdirSync(join(out, 'features'), { recursive: true });
  writeFileSync(join(out, 'features', 'thesis.txt'), 'years of work');
  writeFileSync(join(out, 'release.jsonl'), '{"name":"mine"}\n');
  await refuses(() => exported({ as: 'neuronpedia', out, overwrite: true }), 'disk/foreign-files');
  assert.equal(readFileSync(join(out, 'features', 'thesis.txt'), 'utf8'), 'years of work');
});
