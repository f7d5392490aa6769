import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { LiveView } from '../../src/watch/live-view.js';
import { serve } from '../../src/watch/watch.js';
import { WatchedRuns } from '../../src/watch/watched-runs.js';
import { refuses } from '../config/refuses.js';
import { ask } from '../http/request.js';
import { curve, occurrences } from '../report/sample.js';
import { temporaryDirectory } from '../temporary.js';
import { append, begin, finish, runIn, textOf } from './runs.js';

/** A server on a directory with one run, whose clock can be moved so that new runs are looked for. */
async function served(t: TestContext, name = 'gated') {
  const root = temporaryDirectory(t);
  const directory = runIn(root, name, 20);
  const clock = { ms: Date.now() };
  const view = new LiveView(new WatchedRuns(root, () => clock.ms), root, 0);
  const server = await serve(view, 'sweep', 0);
  t.after(() => server.close());
  return { root, directory, clock, url: server.url, host: new URL(server.url).host };
}

/** Asks until the answer is another than `tag`: what is drawn is kept for a moment. */
async function changed(url: string, tag: string | undefined) {
  for (const end = Date.now() + 10_000; ; ) {
    const answer = await ask(url, '/runs', { headers: { 'If-None-Match': tag ?? '' } });
    if (answer.status !== 304) return answer;
    assert.ok(Date.now() < end, 'nothing changed');
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

test('the page holds the runs and their curves, and is allowed its own script and nothing from elsewhere', async (t) => {
  const { url } = await served(t);
  const { status, headers, body } = await ask(url, '/');
  assert.equal(status, 200);
  assert.equal(headers['content-type'], 'text/html; charset=utf-8');
  assert.equal(headers['x-content-type-options'], 'nosniff');
  assert.equal(headers['cache-control'], 'no-store');
  assert.match(body, /^<!doctype html>\n<html lang="en">/);
  assert.match(body, /<title>sweep<\/title>/);
  assert.match(body, /One run, running\./);
  assert.match(body, /<figure><div class="scroll"[^>]*><svg /);
  const { body: fragment } = await ask(url, '/runs');
  assert.ok(body.includes(fragment), 'the page can be read before its script has run');
  const policy = headers['content-security-policy'] as string;
  assert.match(policy, /^default-src 'none';/);
  assert.match(policy, /; connect-src 'self';/);
  assert.doesNotMatch(policy, /https?:|\*|unsafe-eval/);
  assert.doesNotMatch(policy.replace("style-src 'unsafe-inline'", ''), /unsafe/);
  const [script, ...others] = [...body.matchAll(/<script>([\s\S]*?)<\/script>/g)].map(([, text]) => text!);
  assert.deepEqual(others, []);
  assert.ok(policy.includes(`'sha256-${createHash('sha256').update(script!).digest('base64')}'`));
  assert.doesNotMatch(body, /(?:src|href)="(?!#|data:,)/);
});

test('only the names of this address are answered to, the port included', async (t) => {
  const { url, host } = await served(t);
  const port = host.split(':')[1];
  for (const good of [host, `localhost:${port}`]) {
    assert.equal((await ask(url, '/', { headers: { Host: good } })).status, 200, good);
  }
  for (const wrong of ['evil.example', `evil.example:${port}`, '127.0.0.1', 'localhost', `localhost:${port}.evil`]) {
    for (const path of ['/', '/runs', '/nothing']) {
      const { status, headers, body } = await ask(url, path, { headers: { Host: wrong } });
      assert.equal(status, 403, `${wrong}${path}`);
      assert.equal(headers['content-type'], 'text/plain; charset=utf-8');
      assert.equal(body, `Open http://${host}/ instead; through ssh -L, use the same port on both sides.\n`);
    }
  }
});

test('GET and HEAD alone are allowed, and no body', async (t) => {
  const { url } = await served(t);
  for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS', 'PATCH']) {
    const { status, headers } = await ask(url, '/', { method });
    assert.deepEqual([status, headers.allow], [405, 'GET, HEAD'], method);
  }
  const [get, head] = [await ask(url, '/'), await ask(url, '/', { method: 'HEAD' })];
  assert.deepEqual([head.status, head.body], [200, '']);
  assert.equal(head.headers['content-length'], get.headers['content-length']);
  assert.equal(Number(get.headers['content-length']), Buffer.byteLength(get.body));
  assert.equal((await ask(url, '/', { headers: { 'Content-Length': '4' }, body: 'body' })).status, 413);
  const chunked = await ask(url, '/', { headers: { 'Transfer-Encoding': 'chunked' }, body: 'body' });
  assert.equal(chunked.status, 413);
});

test('there are only two paths, however others are written', async (t) => {
  const { url, root } = await served(t);
  writeFileSync(join(root, 'secret'), 'never to be served');
  for (const path of [
    '/secret',
    '/gated/metrics.jsonl',
    '/metrics.jsonl',
    '/../secret',
    '/..%2f..%2fetc%2fpasswd',
    '/%2e%2e/secret',
    '//etc/passwd',
    '/runs/../secret',
    '/runs/',
    '/runs/gated',
    '/?x',
    '/index.html',
    `http://evil.example/`,
    `${url}secret`,
    '*',
  ]) {
    const { status, body, headers } = await ask(url, path);
    assert.equal(status, 404, path);
    assert.equal(body, 'Not found; the page is at /.\n');
    assert.equal(headers['x-content-type-options'], 'nosniff');
  }
});

test('requests larger than they can be are refused before they are read', async (t) => {
  const { url, host } = await served(t);
  assert.equal((await ask(url, '/', { headers: { 'X-Long': 'x'.repeat(20_000) } })).status, 431);
  const garbage = await new Promise<string>((resolve, reject) => {
    const socket = connect(Number(host.split(':')[1]), '127.0.0.1', () => socket.write('no HTTP at all\r\n\r\n'));
    let text = '';
    socket.on('data', (data) => {
      text += data;
    });
    socket.on('error', reject);
    socket.on('close', () => resolve(text));
  });
  assert.match(garbage, /^HTTP\/1\.1 400 /);
});

test('the changing part changes when a curve grows, and an answer without news is empty', async (t) => {
  const { url, directory } = await served(t);
  const first = await ask(url, '/runs');
  assert.match(first.body, /<td class="number"[^>]*>20<\/td>/);
  const same = await ask(url, '/runs', { headers: { 'If-None-Match': first.headers.etag! } });
  assert.deepEqual([same.status, same.body, same.headers.etag], [304, '', first.headers.etag]);
  append(directory, textOf(curve(30).slice(20)));
  const second = await changed(url, first.headers.etag);
  assert.equal(second.status, 200);
  assert.match(second.body, /<td class="number"[^>]*>30<\/td>/);
  const figureOf = (html: string) => html.slice(html.indexOf('<figure>'));
  assert.notEqual(figureOf(first.body), figureOf(second.body), 'its curve is drawn again');
});

test('a torn last line is left out until it is complete', async (t) => {
  const { url, directory } = await served(t);
  const first = await ask(url, '/runs');
  const [line] = curve(21, { loss: 12_345 }).slice(20);
  const text = textOf([line!]);
  append(directory, text.slice(0, 40));
  await new Promise((resolve) => setTimeout(resolve, 50));
  const torn = await ask(url, '/runs');
  assert.equal(torn.body, first.body);
  append(directory, text.slice(40));
  const whole = await changed(url, first.headers.etag);
  assert.match(whole.body, /<td class="number"[^>]*>21<\/td>/);
  assert.match(whole.body, />12\.3k</);
});

test('runs appear, show their settings, and finish', async (t) => {
  const { url, root, clock } = await served(t);
  const first = await ask(url, '/runs');
  assert.equal(occurrences(first.body, '<tr data-sae='), 1);
  const second = runIn(root, 'standard', 5);
  begin(second, { arch: 'standard', steps: 1000 });
  clock.ms += 6000;
  const appeared = await changed(url, first.headers.etag);
  assert.equal(occurrences(appeared.body, '<tr data-sae='), 2);
  assert.match(appeared.body, /2 runs at blocks\.1\.hook_resid_post: 2 running\./);
  assert.match(appeared.body, /standard, λ\u00a04<span class="kind">standard · 512 features<\/span>/);
  assert.match(appeared.body, /5 of 1,000<progress max="1000" value="5">/);
  // 995 steps of 1000 activations at 100,000 a second.
  assert.match(appeared.body, /<td class="number"[^>]*>100k<\/td><td class="number"[^>]*>10 s<\/td>/);
  finish(second, { arch: 'standard', steps: 5 });
  const finished = await changed(url, appeared.headers.etag);
  assert.match(finished.body, /1 running, 1 finished\./);
  assert.match(finished.body, /<td class="state finished">finished<\/td><td class="number"[^>]*>5 of 5</);
});

test('names are shown as text wherever they come from', async (t) => {
  const evil = '<img src=x onerror=alert(1)>"\'&';
  const { url, directory } = await served(t, evil);
  begin(directory, { arch: '<b>arch</b>', steps: 40 });
  writeFileSync(
    join(directory, 'run.json'),
    JSON.stringify({ model_name: '<i>', hook_name: '</svg><script>', sae_pipe: { arch: '<b>arch</b>' } }),
  );
  const { body } = await ask(url, '/');
  assert.equal(occurrences(body, '<script'), 1);
  for (const raw of ['<img', '<b>', '<i>', '</svg><script>']) assert.equal(occurrences(body, raw), 0, raw);
  assert.ok(body.includes('&lt;img src=x onerror=alert(1)&gt;&quot;&#39;&amp;'));
  assert.ok(body.includes('&lt;b&gt;arch&lt;/b&gt;'));
});

test('a port in use is refused in one sentence; a closed server is gone, its connections with it', async (t) => {
  const { root } = await served(t);
  const view = () => new LiveView(new WatchedRuns(root), root);
  const server = await serve(view(), 'a', 0);
  const { port } = new URL(server.url);
  await refuses(
    () => serve(view(), 'b', Number(port)),
    'watch/port-in-use',
    `Port ${port} of 127.0.0.1 is in use.`,
    '--port',
  );
  const idle = connect(Number(port), '127.0.0.1');
  await new Promise((resolve) => idle.once('connect', resolve));
  idle.on('error', () => {});
  const closed = new Promise((resolve) => idle.once('close', resolve));
  await server.close();
  await closed;
  await assert.rejects(ask(server.url, '/'), { code: 'ECONNREFUSED' });
});
