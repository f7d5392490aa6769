import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import { exploreSchema } from '../../src/config/stages/features.js';
import type { ExploreIndex, FeaturePage } from '../../src/explore/api.js';
import { explore } from '../../src/explore/explore.js';
import { exploreFolder } from '../../src/explore/explorer.js';
import { FeatureLists, TokenTexts } from '../../src/explore/query.js';
import { columnsFromFiles, packPath } from '../../src/explore/static-data.js';
import { silent } from '../../src/progress/progress.js';
import { refuses, refusesUsage } from '../config/refuses.js';
import { temporaryDirectory } from '../temporary.js';
import { writeSampleFolder } from './sample-folder.js';

async function sample(t: TestContext, saes = ['gated']) {
  const root = temporaryDirectory(t);
  const folder = join(root, 'features');
  await writeSampleFolder(folder, { features: 150, saes, top: 3, perBand: 1 });
  writeFileSync(join(folder, saes[0]!, 'labels.jsonl'), '{"feature":7,"label":"</script><b>seven","note":null}\n');
  const run = (more: object) => {
    const printed: string[] = [];
    const terminal = { progress: silent, stop: { signal: undefined }, print: (line: string) => printed.push(line) };
    return explore(exploreSchema.parse({ folder, ...more }), terminal).then(() => printed);
  };
  return { root, folder, run };
}

test('static pages list and show what the server would', async (t) => {
  const { root, folder, run } = await sample(t);
  const out = join(root, 'pages');
  assert.deepEqual(await run({ static: out }), [join(out, 'index.html')]);
  const json = <T>(path: string) => JSON.parse(readFileSync(join(out, path), 'utf8')) as T;
  const index = json<ExploreIndex>('data/index.json');
  assert.deepEqual([index.live.list, index.live.labels, index.packed], [false, false, 64]);
  const explorer = await exploreFolder(folder, silent);
  const { lists, labels, pages } = explorer.saes.get('gated')!;
  const columns = await columnsFromFiles(
    index.saes[0]!,
    async (path) => new Uint8Array(readFileSync(join(out, path))).buffer,
  );
  const own = new FeatureLists(columns, new TokenTexts(json('data/vocabulary.json')), () => labels);
  for (const query of [{}, { sort: 'max', order: 'asc', q: 'cat' } as const])
    assert.deepEqual(own.list(query), lists.list(query));
  for (const feature of [0, 63, 64, 149]) {
    const pack = JSON.parse(
      gunzipSync(readFileSync(join(out, packPath('gated', feature)))).toString(),
    ) as FeaturePage[];
    assert.deepEqual(pack[feature % 64], await pages.page(feature));
  }
  assert.deepEqual(json('data/gated/labels.json'), labels.all());
  assert.deepEqual(json('data/gated/scatter.json'), lists.scatter());
});

test('static pages are the same bytes each time, and replace only such pages', async (t) => {
  const { root, run } = await sample(t);
  const [a, b] = [join(root, 'a'), join(root, 'b')];
  await run({ static: a });
  await run({ static: b });
  const files = readdirSync(a, { recursive: true, encoding: 'utf8', withFileTypes: true }).filter((entry) =>
    entry.isFile(),
  );
  assert.ok(files.length > 15);
  for (const { parentPath, path, name } of files) {
    const file = join(parentPath ?? path, name);
    assert.deepEqual(readFileSync(file), readFileSync(join(b, file.slice(a.length))), file);
  }
  await refuses(() => run({ static: a }), 'disk/out-exists', a);
  await run({ static: a, overwrite: true });
  const site = join(root, 'site');
  mkdirSync(join(site, 'data'), { recursive: true });
  writeFileSync(join(site, 'index.html'), 'my own');
  writeFileSync(join(site, 'data', 'thesis.txt'), 'years of work');
  await refuses(() => run({ static: site, overwrite: true }), 'disk/foreign-files', site);
  assert.equal(readFileSync(join(site, 'data', 'thesis.txt'), 'utf8'), 'years of work');
  writeFileSync(join(a, 'notes.txt'), 'mine');
  await refuses(() => run({ static: a, overwrite: true }), 'disk/foreign-files', 'notes.txt');
  assert.ok(existsSync(join(a, 'index.html')));
});

test('one page holds the requested features, and text in them stays text', async (t) => {
  const { root, run } = await sample(t);
  const html = join(root, 'page.html');
  await run({ html, features: [7, 1, 7] });
  const page = readFileSync(html, 'utf8');
  const [, data] = /<script type="application\/json" id="data">([\s\S]*?)<\/script>/.exec(page)!;
  const values = JSON.parse(data!) as Record<string, FeaturePage>;
  assert.deepEqual(Object.keys(values), [
    'data/index.json',
    'data/gated/features/7.json',
    'data/gated/features/1.json',
  ]);
  assert.equal(values['data/gated/features/7.json']!.label, '</script><b>seven');
  assert.ok(!page.includes('<b>seven'));
  assert.doesNotMatch(page, /(?:src|href)="(?!#|data:)/);
  await refuses(() => run({ html, features: [2] }), 'disk/out-exists', html);
  await refuses(() => run({ html: join(root, 'b.html'), features: [150] }), 'explore/no-feature', '150');
});

test('flags that do not go together are refused', async (t) => {
  const { root, run } = await sample(t, ['a', 'b']);
  const html = join(root, 'x.html');
  for (const wrong of [
    { html },
    { features: [1] },
    { html, features: [1], static: root },
    { static: join(root, 'y'), model: 'm' },
    { html, features: [1] },
  ])
    await refusesUsage(() => run(wrong), 'config/wrong-together');
  await refuses(() => run({ html, features: [1], sae: ['c'] }), 'explore/no-sae', '"c"');
  // By the path that features was given, too.
  await run({ html, features: [1], sae: ['runs/b'] });
});
