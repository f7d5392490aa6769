import assert from 'node:assert/strict';
import { existsSync, rmSync } from 'node:fs';
import type { ServerResponse } from 'node:http';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { Interrupted } from '../../src/errors/refusal.js';
import { boundedFetch, hubSettings, withoutSecrets } from '../../src/hub/request.js';
import { parseModelConfig } from '../../src/lm/families/registry.js';
import { silent } from '../../src/progress/progress.js';
import { refuses } from '../config/refuses.js';
import { COMMIT, MODEL } from './fake-hub.js';
import { tinyFiles, tinyHub } from './tiny-hub.js';

const ZEROS = Buffer.alloc(2 ** 20, '0');

/** Sends JSON text without end, until the other side hangs up. */
function endless(response: ServerResponse): boolean {
  response.writeHead(200, { 'content-type': 'application/json' });
  response.write('["');
  const more = () => {
    while (!response.destroyed && response.write(ZEROS));
    if (!response.destroyed) response.once('drain', more);
  };
  more();
  return true;
}

test('an answer without end is refused, wherever the hub gives it', async (t) => {
  for (const path of ['/revision/', '/tree/', '/config.json']) {
    const { hub, fetch, cache } = await tinyHub(t);
    hub.faults = { instead: (url, response) => url.pathname.includes(path) && endless(response) };
    const before = process.memoryUsage().rss;
    await refuses(() => fetch(), 'hub/not-a-hub', 'an answer is larger than 16.0 MiB', 'HF_ENDPOINT');
    assert.ok(process.memoryUsage().rss - before < 2 ** 28, path);
    assert.ok(!existsSync(cache));
  }
});

test('an answer is bounded as unpacked, however small it came', async (t) => {
  const { hub, fetch } = await tinyHub(t);
  const bomb = gzipSync(Buffer.alloc(2 ** 26, '0'), { level: 9 });
  assert.ok(bomb.length < 2 ** 17);
  hub.faults = {
    instead: (url, response) => {
      if (!url.pathname.includes('/tree/')) return false;
      response.writeHead(200, { 'content-encoding': 'gzip' }).end(bomb);
      return true;
    },
  };
  await refuses(() => fetch(), 'hub/not-a-hub', 'an answer is larger than 16.0 MiB');
});

test('pages that lead in a circle, and pages without end, are refused', async (t) => {
  const { hub, fetch } = await tinyHub(t);
  const page = (url: URL, response: ServerResponse, next: string) => {
    if (!url.pathname.includes('/tree/')) return false;
    response.writeHead(200, { link: `<${hub.endpoint}${url.pathname}?cursor=${next}>; rel="next"` }).end('[]');
    return true;
  };
  hub.faults = { instead: (url, response) => page(url, response, url.searchParams.get('cursor') === 'a' ? 'b' : 'a') };
  await refuses(() => fetch(), 'hub/not-a-hub', 'lead back', 'HF_ENDPOINT');
  hub.faults = {
    instead: (url, response) => page(url, response, `${Number(url.searchParams.get('cursor') ?? 0) + 1}`),
  };
  await refuses(() => fetch(), 'hub/not-a-hub', 'more than 200 pages', 'HF_ENDPOINT');
});

test('answers are bounded together, too', async () => {
  const answer: typeof globalThis.fetch = async () => new Response(new Uint8Array(100));
  const fetch = boundedFetch(answer, { answer: 1000, total: 250, requests: 100 });
  for (const i of [1, 2]) assert.equal((await (await fetch(`http://hub.invalid/${i}`)).arrayBuffer()).byteLength, 100);
  await refuses(() => fetch('http://hub.invalid/3'), 'hub/not-a-hub', 'answers together are larger than 250 B');
});

test('files too large for their names are refused before they are fetched', async (t) => {
  for (const name of ['config.json', 'tokenizer.json']) {
    const { hub, fetch } = await tinyHub(t);
    hub.faults = { lies: { [name]: { size: 2 ** 40 } } };
    await refuses(() => fetch(), 'hub/not-a-hub', `lists ${name} with 1.0 TiB`);
  }
});

test('a storage that sends a byte now and then is abandoned', async (t) => {
  const { hub, fetch } = await tinyHub(t);
  hub.faults = { trickle: 20 };
  await refuses(
    () => fetch({}, { patience: { attempts: 2, delay: 1, stall: 300, poll: 5 } }),
    'hub/download-cut-short',
  );
});

test('a stop is noticed while the hub does not answer', async (t) => {
  const { hub, fetch } = await tinyHub(t);
  hub.faults = { instead: () => true };
  const stop: { signal: 'SIGTERM' | undefined } = { signal: undefined };
  const fetching = fetch({}, { patience: { attempts: 2, delay: 1, stall: 60_000, poll: 5 } }, silent, stop);
  stop.signal = 'SIGTERM';
  await assert.rejects(fetching, Interrupted);
});

test('a model that is not supported is named with its architecture, before its weights are fetched', async (t) => {
  const files = tinyFiles();
  const config = { model_type: 'mamba', architectures: ['MambaForCausalLM'] };
  files.set('config.json', Buffer.from(JSON.stringify(config)));
  // Without safetensors, too: its architecture is the better reason.
  for (const weights of [true, false]) {
    if (!weights) files.delete('model.safetensors');
    const { hub, fetch, cache } = await tinyHub(t, files);
    await refuses(
      () => fetch({}, {}, silent, { signal: undefined }, parseModelConfig),
      'lm/unsupported-model',
      MODEL,
      '"mamba" (MambaForCausalLM)',
    );
    assert.ok(!hub.seen.some(({ server }) => server === 'cdn'));
    assert.ok(!existsSync(cache));
  }
  const { fetch } = await tinyHub(t, new Map([...files, ['config.json', Buffer.from('{')]]));
  await refuses(() => fetch(), 'hub/config-not-json', `${MODEL}/config.json is not JSON`);
});

test('a token or password never stands in a message', async () => {
  const secret = 'hf_notToBeRepeated';
  const environments = [
    { HF_TOKEN: `${secret}\nX-Header: 1` },
    { HF_TOKEN: `${secret} with words` },
    { HF_TOKEN: `${secret}é` },
    { HF_ENDPOINT: `http://user:${secret}@127.0.0.1:1` },
    { HF_ENDPOINT: `ftp://user:${secret}@127.0.0.1:1` },
    { HF_ENDPOINT: `http://127.0.0.1:1/?token=${secret}` },
  ];
  for (const environment of environments) {
    await assert.rejects(hubSettings({ HF_HOME: '/nowhere', ...environment }, false), (error: Error) => {
      assert.match(error.message, /HF_(TOKEN|ENDPOINT)/);
      assert.ok(!`${error.message} ${(error as { remedy?: string }).remedy}`.includes(secret), error.message);
      return true;
    });
  }
  assert.equal(
    withoutSecrets(`Bearer ${secret} is bad: ${secret}`, { token: secret }),
    'Bearer [HF_TOKEN] is bad: [HF_TOKEN]',
  );
});

test('a cache without refs names the commit that it has', async (t) => {
  const { hub, fetch, home } = await tinyHub(t);
  const path = await fetch();
  rmSync(`${home}/refs`, { recursive: true });
  await refuses(() => fetch({}, { offline: true }), 'hub/commit-unknown', COMMIT, `--revision ${COMMIT}`);
  hub.stop();
  await refuses(() => fetch(), 'hub/unreachable', `--revision ${COMMIT}`);
  assert.equal(await fetch({ revision: COMMIT }, { offline: true }), path);
});

test('without a home directory, a variable that names the cache suffices', async () => {
  assert.equal((await hubSettings({ HF_HUB_CACHE: '/cache', HF_TOKEN: 'x' }, false)).cache, '/cache');
});
