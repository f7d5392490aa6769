import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import type { TextReply } from '../../src/explore/api.js';
import { exploreFolder } from '../../src/explore/explorer.js';
import { type Steering, serveFeatures, type TextTrial } from '../../src/explore/site.js';
import { silent } from '../../src/progress/progress.js';
import { Generator } from '../../src/random/generator.js';
import { ask } from '../http/request.js';
import { answerTo, HASTY, openSocket } from '../http/sockets.js';
import { temporaryDirectory } from '../temporary.js';
import { writeSampleFolder } from './sample-folder.js';

async function served(t: TestContext, trial: TextTrial | null = null, steering: Steering | null = null) {
  const directory = temporaryDirectory(t);
  await writeSampleFolder(directory, { features: 100, top: 2, perBand: 1 });
  const explorer = await exploreFolder(directory, silent);
  const files = new Map([['index.html', { body: Buffer.from('page'), type: 'text/html' }]]);
  const server = await serveFeatures(
    { explorer, files, readOnly: null, trial, steering },
    "default-src 'none'",
    0,
    HASTY,
  );
  t.after(() => server.close());
  const { host, port } = new URL(server.url);
  return { url: server.url, host, port: Number(port) };
}

const isServed = async (url: string) => assert.equal((await ask(url, '/data/index.json')).status, 200);

test('garbage in paths, parameters and bodies is answered with a sentence, and pages are served after it', async (t) => {
  const { url, host, port } = await served(t);
  const random = new Generator(3);
  const noise = (length: number) => Uint8Array.from({ length }, () => random.below(256));
  const post = (path: string, body: string, more = '') =>
    `POST ${path} HTTP/1.1\r\nHost: ${host}\r\nContent-Type: application/json\r\nConnection: close\r\n${more}Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`;
  const get = (path: string) => `GET ${path} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`;
  for (const bytes of [
    ...[10, 10_000].map(noise),
    post('/api/labels', '{"sae":"gated","feature":1e400,"label":null,"note":null}'),
    post('/api/labels', '{"__proto__":{"sae":"gated"},"feature":1}'),
    post('/api/labels', '\u0000'),
    post('/api/labels', '"'.repeat(1000)),
    post('/api/text', '{"text":""}'),
    post('/data/index.json', '{}'),
    post('/api/labels', '{}', 'Transfer-Encoding: chunked\r\n'),
    get(`/data/gated/list?q=${'%00'.repeat(100)}&count=500`),
    get(`/data/gated/list?${'max=1..2&'.repeat(500)}`),
    get('/data/gated/list?max=NaN..NaN'),
    get('/data/gated/list?q=%F0%9F&in=tokens'),
    get('/data/gated/list?from=99999999999999999999'),
    get('/data/gated/list?__proto__=1'),
    get('/data/gated/features/0.json/../../../../etc/passwd'),
    get(`/data/${'a'.repeat(3000)}/list`),
  ]) {
    const answer = await answerTo(port, t, bytes);
    assert.match(answer, /^(HTTP\/1\.1 (200|400|403|404|405|409|413|415|431) |$)/, String(bytes).slice(0, 120));
    assert.doesNotMatch(answer, /node:internal|\n\s+at |\.ts:/);
  }
  await isServed(url);
});

test('bodies that come slowly, not at all, or are cut short do not occupy connections', async (t) => {
  const { url, host, port } = await served(t);
  const head = `POST /api/labels HTTP/1.1\r\nHost: ${host}\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n`;
  const sockets: Socket[] = [];
  for (let i = 0; i < HASTY.connections; i++) sockets.push(await openSocket(port, t));
  const closed = sockets.map((socket) => new Promise((resolve) => socket.once('close', resolve)));
  for (const socket of sockets) socket.resume().write(head);
  for (const socket of sockets.slice(12)) socket.end('{"sae"');
  const drip = setInterval(() => {
    for (const socket of sockets.slice(0, 6)) socket.write(' ');
  }, 20);
  t.after(() => clearInterval(drip));
  await Promise.all(closed);
  await isServed(url);
  assert.deepEqual(JSON.parse((await ask(url, '/data/gated/labels.json')).body), []);
});

test('an answer may take longer than a connection may be idle', async (t) => {
  let answer: ((reply: TextReply) => void) | undefined;
  const trial: TextTrial = {
    status: () => ({ model: 'opening', waiting: 1, seconds: 1 }),
    tryText: () => new Promise((resolve) => (answer = resolve)),
  };
  const { url } = await served(t, trial);
  const headers = { 'Content-Type': 'application/json' };
  const asked = ask(url, '/api/text', { method: 'POST', headers, body: '{"text":"a"}' });
  // Other requests are served meanwhile, for longer than any connection may be idle.
  for (const end = performance.now() + 3 * HASTY.idle; performance.now() < end; ) {
    assert.equal(JSON.parse((await ask(url, '/api/status')).body).model, 'opening');
  }
  answer!({ tokens: ['a'], counted: [true], cut: false, saes: [], heat: null });
  assert.equal((await asked).status, 200);
});

test('many labels at once are all saved, the last one of a feature counts', async (t) => {
  const { url, host } = await served(t);
  const headers = { 'Content-Type': 'application/json', Origin: `http://${host}` };
  const save = (feature: number, label: string) =>
    ask(url, '/api/labels', {
      method: 'POST',
      headers,
      body: JSON.stringify({ sae: 'gated', feature, label, note: null }),
    });
  for (let round = 0; round < 5; round++) {
    const answers = await Promise.all(Array.from({ length: 10 }, (_, i) => save(i, `${round} of ${i}`)));
    assert.ok(answers.every(({ status }) => status === 200));
  }
  const labels = JSON.parse((await ask(url, '/data/gated/labels.json')).body) as { label: string }[];
  assert.deepEqual(
    labels.map(({ label }) => label),
    Array.from({ length: 10 }, (_, i) => `4 of ${i}`),
  );
});

const STEER = JSON.stringify({
  ...{ text: 'a', sae: 'gated', tokens: 4, temperature: 0, seed: 0 },
  changes: [{ feature: 1, operation: 'ablate', strength: 0 }],
});
const steerRequest = (host: string) =>
  `POST /api/steer HTTP/1.1\r\nHost: ${host}\r\nContent-Type: application/json\r\nContent-Length: ${STEER.length}\r\n\r\n${STEER}`;

/** What `work` makes of one request after another, and a promise for each that it has ended. */
function steeringBy(work: ReturnType<Steering['steer']>) {
  const ended: (() => void)[] = [];
  const ends = Array.from({ length: 20 }, () => new Promise<void>((resolve) => ended.push(resolve)));
  let asked = 0;
  const steering: Steering = {
    steer() {
      const end = ended[asked++]!;
      return (tell, gone) => work(tell, gone).finally(end);
    },
    attribute: () => assert.fail('nothing is attributed'),
  };
  return { steering, ends };
}

test('closing the connection cancels a request, waiting or being read', async (t) => {
  const aborted = (gone: AbortSignal) =>
    new Promise<void>((resolve) => (gone.aborted ? resolve() : gone.addEventListener('abort', () => resolve())));
  const { steering, ends } = steeringBy(async (tell, gone) => {
    void tell({ kind: 'reading' });
    await aborted(gone);
  });
  const { url, host, port } = await served(t, null, steering);
  for (const leave of ['end', 'destroy', 'resetAndDestroy'] as const) {
    const socket = await openSocket(port, t);
    const read = new Promise((resolve) => socket.once('data', resolve));
    socket.write(steerRequest(host));
    await read;
    socket[leave]();
  }
  // Several on one connection.
  const socket = await openSocket(port, t);
  const read = new Promise((resolve) => socket.once('data', resolve));
  socket.write(steerRequest(host).repeat(3));
  await read;
  socket.destroy();
  await Promise.all(ends.slice(0, 6));
  await isServed(url);
});

test('events may be far apart, and a client that does not read them is disconnected', async (t) => {
  const piece = 'x'.repeat(2 ** 20);
  const { steering, ends } = steeringBy(async (tell, gone) => {
    while (!gone.aborted) await tell({ kind: 'text', tokens: 1, unsteered: piece, steered: piece });
  });
  const { host, port } = await served(t, null, steering);
  const deaf = await openSocket(port, t);
  deaf.pause().write(steerRequest(host));
  await ends[0];

  let finish = () => {};
  const slow = steeringBy(async (tell) => {
    await tell({ kind: 'opening' });
    await new Promise<void>((resolve) => {
      finish = resolve;
    });
    await tell({ kind: 'ended', unsteered: 'end', steered: 'end' });
  });
  const { url } = await served(t, null, slow.steering);
  const headers = { 'Content-Type': 'application/json' };
  const asked = ask(url, '/api/steer', { method: 'POST', headers, body: STEER });
  for (const end = performance.now() + 3 * HASTY.idle; performance.now() < end; ) await isServed(url);
  finish();
  assert.match((await asked).body, /"kind":"ended"/);
});
