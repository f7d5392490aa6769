import assert from 'node:assert/strict';
import { connect, type Socket } from 'node:net';
import { networkInterfaces } from 'node:os';
import { type TestContext, test } from 'node:test';
import { Generator } from '../../src/random/generator.js';
import { LiveView } from '../../src/watch/live-view.js';
import { serve } from '../../src/watch/watch.js';
import { WatchedRuns } from '../../src/watch/watched-runs.js';
import { ask } from '../http/request.js';
import { answerTo, HASTY, openSocket } from '../http/sockets.js';
import { temporaryDirectory } from '../temporary.js';
import { runIn } from './runs.js';

async function served(t: TestContext, limits?: typeof HASTY) {
  const root = temporaryDirectory(t);
  runIn(root, 'run', 20);
  const server = await serve(new LiveView(new WatchedRuns(root), root), 'runs', 0, limits);
  t.after(() => server.close());
  const { host, port } = new URL(server.url);
  return { url: server.url, host, port: Number(port) };
}

const isServed = async (url: string) => assert.equal((await ask(url, '/')).status, 200);

test('the server listens on 127.0.0.1 only', async (t) => {
  const { port } = await served(t);
  const addresses = Object.values(networkInterfaces()).flatMap((all) => all ?? []);
  const others = addresses.filter(({ address, internal, family }) => !internal && family === 'IPv4' && address);
  for (const { address } of others) {
    const code = await new Promise((resolve) => {
      const socket = connect(port, address);
      t.after(() => socket.destroy());
      socket.once('connect', () => resolve('connected'));
      socket.once('error', ({ code }: NodeJS.ErrnoException) => resolve(code));
    });
    assert.equal(code, 'ECONNREFUSED', address);
  }
  const own = await new Promise((resolve) => {
    const socket = connect(port, '127.0.0.2');
    socket.once('connect', () => resolve('connected'));
    socket.once('error', ({ code }: NodeJS.ErrnoException) => resolve(code));
  });
  assert.notEqual(own, 'connected');
});

test('long paths find nothing, longer ones are not read', async (t) => {
  const { url } = await served(t);
  assert.equal((await ask(url, `/${'a'.repeat(4000)}`)).status, 404);
  assert.equal((await ask(url, `/${'../'.repeat(1000)}etc/passwd`)).status, 404);
  for (const length of [9000, 1_000_000]) {
    const status = await ask(url, `/${'a'.repeat(length)}`).then(
      (answer) => answer.status,
      ({ code }: NodeJS.ErrnoException) => code,
    );
    // A client that is still writing may see the end of the connection before the answer.
    assert.ok([431, 'ECONNRESET', 'EPIPE'].includes(status!), String(status));
  }
  await isServed(url);
});

test('garbage of any kind is answered with an error or nothing, and the page is served after it', async (t) => {
  const { url, host, port } = await served(t);
  const random = new Generator(3);
  const noise = (length: number) => Uint8Array.from({ length }, () => random.below(256));
  const get = (more: string, method = 'GET', path = '/') =>
    `${method} ${path} HTTP/1.1\r\nHost: ${host}\r\n${more}\r\n`;
  for (const bytes of [
    ...[1, 10, 100, 10_000].map(noise),
    '\r\n\r\n\r\n',
    'GET / HTTP/1.1\r\n\r\n',
    'GET / HTTP/9.9\r\n\r\n',
    `GET / HTTP/1.1\r\nHost: ${host}\r\nHost: evil.example\r\n\r\n`,
    get('X: a\0b\r\n'),
    get('Transfer-Encoding: chunked\r\nContent-Length: 5\r\n'),
    get('Content-Length: 99999999999999999999\r\n'),
    get('Content-Length: -1\r\n'),
    get('Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n'),
    get('', 'CONNECT', 'evil.example:443'),
    get('', 'TRACE'),
    get('', 'BREW'),
    get('Expect: nothing good\r\n'),
    '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03',
  ]) {
    const answer = await answerTo(port, t, bytes);
    assert.match(answer, /^(HTTP\/1\.1 (400|403|405|413|417|431|505) |$)/, JSON.stringify(String(bytes).slice(0, 80)));
    assert.doesNotMatch(answer, /<table|node:internal|\n\s+at /);
  }
  await isServed(url);
});

test('clients that send slowly, nothing at all, or do not read are closed, and others are served', async (t) => {
  const { url, host, port } = await served(t, HASTY);
  const sockets: Socket[] = [];
  for (let i = 0; i < HASTY.connections; i++) sockets.push(await openSocket(port, t));
  const closed = sockets.map((socket) => new Promise((resolve) => socket.once('close', resolve)));
  const drip = setInterval(() => {
    for (const socket of sockets.slice(0, 8)) socket.write('X: y\r\n');
  }, 20);
  t.after(() => clearInterval(drip));
  for (const socket of sockets.slice(0, 8)) socket.write('GET / HTTP/1.1\r\n');
  for (const socket of sockets.slice(8, 12)) {
    // Much more is requested than fits into the buffers of a connection, and none of it is read.
    socket.pause();
    socket.write(`GET / HTTP/1.1\r\nHost: ${host}\r\n\r\n`.repeat(500));
  }
  for (const socket of [...sockets.slice(0, 8), ...sockets.slice(12)]) socket.resume();
  // All places are taken: one more is closed at once.
  await assert.rejects(ask(url, '/'), { code: 'ECONNRESET' });
  await Promise.all(closed.filter((_, i) => i < 8 || i >= 12));
  await isServed(url);
  for (const socket of sockets.slice(8, 12)) socket.resume();
  await Promise.all(closed);
});

test('clients that request much and read nothing do not occupy connections', async (t) => {
  const { url, host, port } = await served(t, HASTY);
  for (let i = 0; i < HASTY.connections; i++) {
    const socket = await openSocket(port, t);
    socket.pause();
    socket.write(`GET / HTTP/1.1\r\nHost: ${host}\r\n\r\n`.repeat(500));
  }
  const refused = () =>
    ask(url, '/').then(
      () => false,
      () => true,
    );
  for (const end = Date.now() + 10_000; await refused(); ) assert.ok(Date.now() < end, 'no place was given back');
});

test('more requests than a client may leave unanswered end its connection, and few are answered in order', async (t) => {
  const { url, host, port } = await served(t);
  const get = (path: string, more = '') => `GET ${path} HTTP/1.1\r\nHost: ${host}\r\n${more}\r\n`;
  const few = await openSocket(port, t);
  let text = '';
  few.setEncoding('utf8').on('data', (data) => {
    text += data;
  });
  const closed = new Promise((resolve) => few.once('close', resolve));
  few.write(get('/') + get('/nothing') + get('/runs', 'Connection: close\r\n'));
  await closed;
  assert.deepEqual(
    [...text.matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, status]) => status),
    ['200', '404', '200'],
  );
  const many = await openSocket(port, t);
  const ended = new Promise((resolve) => many.once('close', resolve));
  many.resume().write(get('/').repeat(1400));
  await ended;
  await isServed(url);
});

test('requests whose answers are not read do not make copies of the page', async (t) => {
  const root = temporaryDirectory(t);
  const drawn = { html: 'x'.repeat(4_000_000), tag: '"1"' };
  const view = { current: async () => drawn } as unknown as LiveView;
  const server = await serve(view, root, 0);
  t.after(() => server.close());
  const { host, port } = new URL(server.url);
  const memory = () => process.memoryUsage().rss / 2 ** 20;
  await ask(server.url, '/');
  const before = memory();
  for (let i = 0; i < 32; i++) {
    const socket = await openSocket(Number(port), t);
    socket.pause();
    socket.write(`GET / HTTP/1.1\r\nHost: ${host}\r\n\r\n`.repeat(8));
  }
  // Connections are served in the order in which they came: this answer comes after theirs were made.
  await ask(server.url, '/');
  // 256 copies are a gigabyte.
  assert.ok(memory() - before < 300, `${memory() - before} MiB`);
});

test('a client that reads its answer very slowly is closed', async (t) => {
  const root = temporaryDirectory(t);
  const view = { current: async () => ({ html: 'x'.repeat(50_000_000), tag: '"1"' }) } as unknown as LiveView;
  const server = await serve(view, root, 0, { ...HASTY, answer: 300 });
  t.after(() => server.close());
  const { host, port } = new URL(server.url);
  const socket = await openSocket(Number(port), t);
  const closed = new Promise((resolve) => socket.once('close', resolve));
  socket.pause();
  socket.write(`GET / HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
  await new Promise((resolve) => socket.once('readable', resolve));
  const sip = setInterval(() => socket.read(1000), 20);
  // Later than the server's patience, whose timer was set before the answer began.
  await new Promise((resolve) => setTimeout(resolve, 600));
  clearInterval(sip);
  let bytes = 0;
  socket.on('data', (data: Uint8Array) => {
    bytes += data.length;
  });
  socket.resume();
  await closed;
  assert.ok(bytes < 50_000_000, 'the whole answer came');
});

test('many simultaneous clients are all answered, from one rendering', async (t) => {
  const { url } = await served(t);
  const answers = await Promise.all(Array.from({ length: 40 }, () => ask(url, '/runs')));
  assert.deepEqual([...new Set(answers.map(({ status }) => status))], [200]);
  assert.equal(new Set(answers.map(({ headers }) => headers.etag)).size, 1);
});
