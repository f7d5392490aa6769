import assert from 'node:assert/strict';
import { truncateSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { openRegular } from '../../src/disk/input-file.js';
import { OpenFileBlob } from '../../src/hub/open-file-blob.js';
import { sendingFetch } from '../../src/hub/upload-transfer.js';
import { temporaryDirectory } from '../temporary.js';

const SIZE = 2 ** 28;

test('a large file is read as it is sent, and never held in memory', async (t) => {
  let [received, most] = [0, 0];
  const before = process.memoryUsage().arrayBuffers;
  const server = createServer((request, response) => {
    request.on('data', (piece: Buffer) => {
      received += piece.length;
      most = Math.max(most, process.memoryUsage().arrayBuffers - before);
    });
    request.on('end', () => response.writeHead(200, { etag: '"1"' }).end());
  });
  await new Promise<void>((ready) => server.listen(0, '127.0.0.1', ready));
  t.after(() => server.close());
  const path = join(temporaryDirectory(t), 'zeros');
  writeFileSync(path, '');
  truncateSync(path, SIZE);
  const file = (await openRegular(path))!;
  t.after(() => file.handle.close());

  const endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const patience = { attempts: 1, delay: 1, stall: 60_000, poll: 20 };
  const settings = { endpoint, cache: '', offline: false, token: 'hf_writer', patience };
  const asked = { model: 'a/b', revision: 'main', pushed: true } as const;
  let told = 0;
  const send = sendingFetch(settings, asked, { signal: undefined }, (bytes) => {
    told = bytes;
  });
  const response = await send(`${endpoint}/upload`, { method: 'PUT', body: await OpenFileBlob.of(file) });
  assert.deepEqual([response.headers.get('etag'), received, told], ['"1"', SIZE, SIZE]);
  assert.ok(most < SIZE / 2, `${most} bytes were held`);
});
