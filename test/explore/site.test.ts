import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import type { ExploreIndex, FeatureLabel, FeatureList, FeaturePage, FeatureScatter } from '../../src/explore/api.js';
import { exploreFolder } from '../../src/explore/explorer.js';
import { type SiteParts, type Steering, serveFeatures } from '../../src/explore/site.js';
import type { SteerRequest } from '../../src/explore/steering-api.js';
import { NotTaken } from '../../src/http/json-body.js';
import { silent } from '../../src/progress/progress.js';
import { ask } from '../http/request.js';
import { temporaryDirectory } from '../temporary.js';
import { sampleExamples, sampleFeature, writeSampleFolder } from './sample-folder.js';

const WORDS = ['<bos>', ' the', ' cat', '<b>bold</b>', '<script>alert(1)</script>', ' "sat"', ' on', '\n'];
const FEATURES = 200;
const POLICY = "default-src 'none'";

async function served(t: TestContext, more: Partial<SiteParts> = {}) {
  const directory = temporaryDirectory(t);
  await writeSampleFolder(directory, {
    features: FEATURES,
    vocabulary: WORDS,
    saes: ['gated', 'topk-32'],
    top: 4,
    perBand: 2,
  });
  const explorer = await exploreFolder(directory, silent);
  const files = new Map([
    ['index.html', { body: Buffer.from('<!doctype html>page'), type: 'text/html; charset=utf-8' }],
  ]);
  const server = await serveFeatures(
    { explorer, files, readOnly: null, trial: null, steering: null, ...more },
    POLICY,
    0,
  );
  t.after(() => server.close());
  const get = async <T>(path: string) => {
    const { status, body } = await ask(server.url, path);
    assert.equal(status, 200, `${path}: ${body}`);
    return JSON.parse(body) as T;
  };
  const post = async (path: string, value: unknown, headers: Record<string, string> = {}) => {
    const body = typeof value === 'string' ? value : JSON.stringify(value);
    const { host } = new URL(server.url);
    const usual = { 'Content-Type': 'application/json', Origin: `http://${host}` };
    const answer = await ask(server.url, path, { method: 'POST', headers: { ...usual, ...headers }, body });
    const isJson = answer.headers['content-type']?.startsWith('application/json');
    return { ...answer, json: (isJson ? JSON.parse(answer.body) : {}) as Record<string, unknown> };
  };
  return { directory, explorer, url: server.url, host: new URL(server.url).host, get, post };
}

test('the index lists the SAEs and the available actions', async (t) => {
  const { get, explorer } = await served(t);
  const index = await get<ExploreIndex>('/data/index.json');
  assert.deepEqual(
    index.saes.map(({ name, dSae, k, hookOut }) => [name, dSae, k, hookOut]),
    [
      ['gated', FEATURES, null, null],
      ['topk-32', FEATURES, null, null],
    ],
  );
  assert.deepEqual(index.live, { list: true, labels: true, text: false });
  assert.equal(index.saes[0]!.alive, explorer.record.saes[0]!.alive);
  assert.equal(index.tokens, 1_000_000);
});

test('a list has the requested rows', async (t) => {
  const { get } = await served(t);
  const stored = Array.from({ length: FEATURES }, (_, j) => sampleFeature(j, FEATURES, WORDS.length));
  const expected = stored.filter(({ max }) => max > 1).sort((a, b) => b.max - a.max || a.feature - b.feature);
  const { total, rows } = await get<FeatureList>('/data/gated/list?sort=max&order=desc&max=1.0000001..&from=2&count=5');
  assert.equal(total, expected.length);
  assert.deepEqual(
    rows.map(({ feature, max, tokens }) => [feature, max, tokens]),
    expected.slice(2, 7).map(({ feature, max, peak_tokens: tokens }) => [feature, max, tokens.map((id) => WORDS[id])]),
  );
  const scatter = await get<FeatureScatter>('/data/topk-32/scatter.json');
  assert.equal(scatter.of, stored.filter(({ max }) => max > 0).length);
});

test('a feature has its statistics, its examples by band, and texts as they are', async (t) => {
  const { get } = await served(t);
  const digits = (value: number) => Number(value.toPrecision(6));
  for (const feature of [0, 63, 64, 65, 198]) {
    const stored = sampleFeature(feature, FEATURES, WORDS.length);
    const page = await get<FeaturePage>(`/data/gated/features/${feature}.json`);
    assert.equal(page.activeTokens, stored.active_tokens);
    assert.equal(page.max, digits(stored.max));
    assert.deepEqual(page.histogram, { first: stored.histogram_first, counts: stored.histogram });
    assert.deepEqual(
      page.topLogits,
      stored.top_logit_tokens.map((id, i) => ({ id, token: WORDS[id], value: digits(stored.top_logits[i]!) })),
    );
    assert.deepEqual(
      page.cofiring.map(({ feature: other, value, together }) => [other, value, together]),
      stored.cofiring.map((other, i) => [other, digits(stored.cofiring_correlations[i]!), 100 - i]),
    );
    const examples = [...sampleExamples(stored, WORDS.length, 4, 2)];
    for (const { band, from, to, examples: found } of page.bands) {
      const expected = examples.filter((one) => one.band === band);
      assert.deepEqual(
        found.map(({ value, position, context, tokens, peak }) => [value, position, context, tokens, peak]),
        expected.map((one) => [
          digits(one.value),
          one.position,
          one.context,
          one.tokens.map((id) => WORDS[id]),
          one.position - one.first,
        ]),
      );
      for (const { value, activations, peak } of found) {
        assert.equal(activations[peak], value);
        assert.ok(band === 0 ? from <= value && value <= to : from <= value && value < to, `${from} ${value} ${to}`);
      }
    }
    assert.equal(page.bands.length, 6);
  }
  const dead = await get<FeaturePage>('/data/gated/features/3.json');
  assert.deepEqual([dead.max, dead.mean, dead.bands, dead.activeTokens], [0, null, [], 0]);
});

test('labels are saved, found, and shown wherever the feature is', async (t) => {
  const { get, post, directory } = await served(t);
  const label = '<img src=x onerror=alert(1)> "cats" & dogs';
  const saved = await post('/api/labels', { sae: 'gated', feature: 17, label: ` ${label} `, note: '' });
  assert.deepEqual(saved.json, { feature: 17, label, note: null, source: null });
  assert.equal((await get<FeaturePage>('/data/gated/features/17.json')).label, label);
  assert.deepEqual(await get<FeatureLabel[]>('/data/gated/labels.json'), [saved.json]);
  const found = await get<FeatureList>('/data/gated/list?q=dogs');
  assert.deepEqual(
    found.rows.map(({ feature, label: shown }) => [feature, shown]),
    [[17, label]],
  );
  assert.equal((await get<ExploreIndex>('/data/index.json')).saes[0]!.labelled, 1);
  const near = await get<FeaturePage>('/data/gated/features/17.json');
  const other = near.decoderNeighbours[0]!.feature;
  await post('/api/labels', { sae: 'gated', feature: other, label: 'near', note: null });
  assert.equal((await get<FeaturePage>('/data/gated/features/17.json')).decoderNeighbours[0]!.label, 'near');
  const again = await exploreFolder(directory, silent);
  assert.equal(again.saes.get('gated')!.labels.byFeature.get(17)!.label, label);
  await post('/api/labels', { sae: 'gated', feature: 17, label: null, note: null });
  assert.equal((await get<FeatureList>('/data/gated/list?labelled=1')).total, 1);
});

test('only the names of this address, and only its own pages, are answered to', async (t) => {
  const { url, host, post } = await served(t);
  const given = { sae: 'gated', feature: 1, label: 'x', note: null };
  for (const path of ['/', '/data/index.json', '/api/labels']) {
    const { status } = await ask(url, path, { headers: { Host: 'evil.example' } });
    assert.equal(status, 403, path);
  }
  assert.equal((await post('/api/labels', given, { Host: 'evil.example' })).status, 403);
  for (const origin of ['http://evil.example', 'null', `https://${host}`, `http://${host}.evil.example`])
    assert.equal((await post('/api/labels', given, { Origin: origin })).status, 403, origin);
  assert.equal((await post('/api/labels', given, { 'Sec-Fetch-Site': 'cross-site' })).status, 403);
  for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data'])
    assert.equal((await post('/api/labels', given, { 'Content-Type': type })).status, 415, type);
  assert.equal((await post('/api/labels', given)).status, 200);
  const page = await ask(url, '/');
  assert.equal(page.headers['content-security-policy'], POLICY);
  assert.equal(page.headers['x-content-type-options'], 'nosniff');
});

test('only the paths of the pages exist, however others are written', async (t) => {
  const { url } = await served(t);
  for (const path of [
    '/features.json',
    '/gated/labels.jsonl',
    '/data/gated/features-00000.parquet',
    '/data/gated/labels.jsonl',
    '/data/other/list',
    '/data/../features.json',
    '/data/gated/../index.json',
    '/data/%67ated/list',
    '/data/gated/features/017.json',
    '/data/gated/features/-1.json',
    '/data/gated/features/1e2.json',
    '/data/gated/features/200.json',
    '/data/gated/features/99999999999.json',
    '/data/gated/scatter.json?x=1',
    '/data/__proto__/list',
    '/data/constructor/list',
    '//etc/passwd',
    '/index.html/..',
    '*',
  ]) {
    const { status, body } = await ask(url, path);
    assert.equal(status, 404, path);
    assert.ok(JSON.parse(body).error, path);
  }
  for (const method of ['PUT', 'DELETE', 'OPTIONS', 'PATCH'])
    assert.equal((await ask(url, '/', { method })).status, 405);
  assert.equal((await ask(url, '/data/gated/list?sort=no')).status, 400);
  assert.equal((await ask(url, '/', { headers: { 'Content-Length': '4' }, body: 'body' })).status, 413);
});

test('bodies that are too long, not JSON, or of another form are refused, and change nothing', async (t) => {
  const { url, post, get } = await served(t);
  const good = { sae: 'gated', feature: 1, label: 'x', note: null };
  const wrong: [unknown, number][] = [
    ['{"sae":', 400],
    ['', 400],
    ['[]', 400],
    [`${'['.repeat(5000)}${']'.repeat(5000)}`, 400],
    [{ ...good, feature: -1 }, 400],
    [{ ...good, feature: 1.5 }, 400],
    [{ ...good, feature: '1' }, 400],
    [{ ...good, label: 'x'.repeat(501) }, 400],
    [{ ...good, more: 1 }, 400],
    [{ ...good, sae: 'other' }, 404],
    [{ ...good, sae: '__proto__' }, 404],
    [{ ...good, feature: 200 }, 404],
    [{ ...good, note: 'x'.repeat(200_000) }, 413],
  ];
  for (const [body, status] of wrong) {
    const answer = await post('/api/labels', body);
    assert.equal(answer.status, status, JSON.stringify(body).slice(0, 80));
    assert.ok(answer.json.error);
  }
  assert.equal((await post('/api/nothing', good)).status, 404);
  assert.equal((await post('/api/text', { text: 'a' })).status, 409);
  const chunked = await ask(url, '/api/labels', {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', 'Transfer-Encoding': 'chunked' },
    body: JSON.stringify({ ...good, note: 'x'.repeat(300_000) }),
  }).then(
    ({ status }) => status,
    ({ code }: NodeJS.ErrnoException) => code,
  );
  // A client that is still writing may see the end of the connection before the answer.
  assert.ok([413, 'ECONNRESET', 'EPIPE'].includes(chunked!), String(chunked));
  assert.deepEqual(await get('/data/gated/labels.json'), []);
});

test('where labels cannot be saved, the index and the answer say so', async (t) => {
  const { get, post } = await served(t, { readOnly: 'Another command has the folder.' });
  assert.equal((await get<ExploreIndex>('/data/index.json')).live.labels, false);
  const { status, json } = await post('/api/labels', { sae: 'gated', feature: 1, label: 'x', note: null });
  assert.deepEqual([status, json.error], [409, 'Another command has the folder.']);
});

const STEER: SteerRequest = {
  ...{ text: 'a', sae: 'gated', tokens: 4, temperature: 0, seed: 0 },
  changes: [{ feature: 1, operation: 'set', strength: 8 }],
};

test('a text is steered in lines of JSON, by pages of this server alone', async (t) => {
  const asked: SteerRequest[] = [];
  const steering: Steering = {
    steer(request) {
      if (asked.push(request) === 2) throw new NotTaken(503, 'Too many wait.');
      return async (tell) => {
        await tell({ kind: 'text', tokens: 1, unsteered: '\n', steered: '</script> "é"' });
        await tell({ kind: 'ended', unsteered: 'end', steered: 'length' });
      };
    },
    attribute: () => async (tell) => tell({ kind: 'failed', error: 'Not today.', remedy: null }),
  };
  const { post } = await served(t, { steering });
  const { status, headers, body } = await post('/api/steer', STEER);
  assert.deepEqual([status, headers['content-type']], [200, 'application/x-ndjson; charset=utf-8']);
  assert.deepEqual([headers['content-security-policy'], headers['cache-control']], [POLICY, 'no-store']);
  assert.deepEqual(
    body
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line)),
    [
      { kind: 'text', tokens: 1, unsteered: '\n', steered: '</script> "é"' },
      { kind: 'ended', unsteered: 'end', steered: 'length' },
    ],
  );
  const attribute = { text: 'a', sae: 'gated', at: 0, token: 7 };
  const attributed = await post('/api/attribute', attribute);
  assert.equal(attributed.body, '{"kind":"failed","error":"Not today.","remedy":null}\n');
  assert.equal((await post('/api/attribute', attribute, { Origin: 'http://evil.example' })).status, 403);
  assert.equal((await post('/api/steer', STEER)).status, 503);
  assert.deepEqual(asked, [STEER, STEER]);
  for (const [name, value] of [
    ['Origin', 'http://evil.example'],
    ['Host', 'evil.example'],
    ['Sec-Fetch-Site', 'same-site'],
  ] as const)
    assert.equal((await post('/api/steer', STEER, { [name]: value })).status, 403, name);
  assert.equal((await post('/api/steer', STEER, { 'Content-Type': 'text/plain' })).status, 415);
  assert.equal(asked.length, 2);
});

test('what cannot be steered is refused before anything is computed', async (t) => {
  const steering: Steering = {
    steer: () => assert.fail('nothing may be steered'),
    attribute: () => assert.fail('nothing may be attributed'),
  };
  const { post } = await served(t, { steering });
  const [change] = STEER.changes;
  const changed = (more: object) => ({ ...STEER, changes: [{ ...change, ...more }] });
  const body = JSON.stringify(STEER);
  const wrong: [unknown, number][] = [
    [changed({ feature: 200 }), 404],
    [changed({ feature: -1 }), 400],
    [changed({ strength: null }), 400],
    [changed({ strength: '8' }), 400],
    [changed({ strength: -1e39 }), 400],
    [body.replace('"strength":8', '"strength":1e400'), 400],
    [body.replace('"strength":8', '"strength":NaN'), 400],
    [changed({ operation: 'toString' }), 400],
    [{ ...STEER, changes: [change, { ...change, operation: 'ablate' }] }, 400],
    [{ ...STEER, changes: [] }, 400],
    [{ ...STEER, changes: Array.from({ length: 33 }, (_, feature) => ({ ...change, feature })) }, 400],
    [{ ...STEER, sae: 'other' }, 404],
    [{ ...STEER, sae: '__proto__' }, 404],
    [{ ...STEER, text: '' }, 400],
    [{ ...STEER, text: 'x'.repeat(10_001) }, 400],
    [{ ...STEER, tokens: 513 }, 400],
    [{ ...STEER, tokens: 0 }, 400],
    [{ ...STEER, temperature: -1 }, 400],
    [{ ...STEER, seed: 0.5 }, 400],
    [{ ...STEER, more: 1 }, 400],
    [{ ...STEER, text: 'x'.repeat(200_000) }, 413],
  ];
  for (const [sent, status] of wrong) {
    const answer = await post('/api/steer', sent);
    assert.equal(answer.status, status, JSON.stringify(sent).slice(0, 200));
    assert.match(String(answer.json.error), /^[^\n]+\.$/);
  }
  const attribute = { text: 'a', sae: 'gated', at: 0, token: null };
  for (const [more, status] of [
    [{ at: 512 }, 400],
    [{ at: -1 }, 400],
    [{ at: null }, 400],
    [{ token: 8 }, 404],
    [{ token: -1 }, 400],
    [{ token: 'a' }, 400],
    [{ sae: 'other' }, 404],
    [{ text: '' }, 400],
  ] as const) {
    const answer = await post('/api/attribute', { ...attribute, ...more });
    assert.deepEqual([answer.status, typeof answer.json.error], [status, 'string'], JSON.stringify(more));
  }
  for (const [path, sent] of [
    ['/api/steer', STEER],
    ['/api/attribute', attribute],
  ] as const)
    assert.equal((await (await served(t)).post(path, sent)).status, 409);
});
