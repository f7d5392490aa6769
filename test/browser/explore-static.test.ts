import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { exploreSchema } from '../../src/config/stages/features.js';
import { explore } from '../../src/explore/explore.js';
import { silent } from '../../src/progress/progress.js';
import { sampleFeature, writeSampleFolder } from '../explore/sample-folder.js';
import { temporaryDirectory } from '../temporary.js';
import { driven } from './driver.js';
import { skip } from './headless.js';

const FEATURES = 200;
const VOCABULARY = 12;

/** A server that gives files and nothing else, as plain ones do: no types that it does not know, no compression. */
async function plainServer(t: TestContext, root: string): Promise<string> {
  const types: Record<string, string> = { html: 'text/html', css: 'text/css', js: 'text/javascript' };
  const server = createServer(({ url }, response) => {
    const path = url === '/pages/' ? '/pages/index.html' : url!;
    const type = types[path.split('.').at(-1)!] ?? 'application/octet-stream';
    try {
      const body = readFileSync(join(root, ...path.split('/')));
      response.writeHead(200, { 'Content-Type': type }).end(body);
    } catch {
      response.writeHead(404).end();
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => server.close());
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/pages/`;
}

test('static pages list, search and show features below any path of a plain server', { skip }, async (t) => {
  const root = temporaryDirectory(t);
  const folder = join(root, 'features');
  await writeSampleFolder(folder, { features: FEATURES, top: 3, perBand: 1 });
  const terminal = { progress: silent, stop: { signal: undefined }, print: () => {} };
  await explore(exploreSchema.parse({ folder, static: join(root, 'pages') }), terminal);
  const stored = Array.from({ length: FEATURES }, (_, j) => sampleFeature(j, FEATURES, VOCABULARY));
  const [first] = [...stored].sort((a, b) => b.max - a.max || a.feature - b.feature);
  const { page, problems } = await driven(t, `${await plainServer(t, root)}#/list/gated?sort=max`);
  const row = page.locator('#list tbody th').first();
  await row.waitFor();
  assert.equal(Number(await row.textContent()), first!.feature);
  await page.goto(`${page.url().split('#')[0]}#/feature/gated/${first!.feature}`);
  await page.locator('.lines > li').first().waitFor();
  assert.equal(await page.locator('.lines > li').count(), 3 + 5);
  assert.deepEqual(problems, []);
});
