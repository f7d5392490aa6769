import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { after, type TestContext } from 'node:test';
import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core';

/** Where a Chromium lies on this machine, or undefined. */
const executable = [process.env.CHROMIUM, 'chromium', 'chromium-browser', 'google-chrome']
  .filter((name) => name !== undefined)
  .map((name) => spawnSync('which', [name], { encoding: 'utf8' }).stdout.trim())
  .find((path) => path !== '');

let browser: Promise<Browser> | undefined;

/** The browser of this file's tests: one process, which ends with them. */
function launched(): Promise<Browser> {
  browser ??= chromium.launch({ executablePath: executable!, args: ['--no-sandbox', '--disable-gpu'] });
  return browser;
}
after(async () => (await browser)?.close());

/** Milliseconds that anything on a page may take, on a loaded machine too. */
const PATIENCE = 30_000;

/** A page, and what went wrong on it. */
export interface Driven {
  readonly page: Page;
  /** Messages of the console, errors, and requests that left the server: all of them should be none. */
  readonly problems: string[];
}

/** Opens a separate page, without the cookies and caches of any other. */
export async function driven(t: TestContext, url: string, options: BrowserContextOptions = {}): Promise<Driven> {
  const context = await (await launched()).newContext({ viewport: { width: 1280, height: 900 }, ...options });
  t.after(() => context.close());
  context.setDefaultTimeout(PATIENCE);
  const page = await context.newPage();
  const problems: string[] = [];
  page.on('console', (message) => problems.push(`${message.type()}: ${message.text()}`));
  page.on('pageerror', (error) => problems.push(String(error)));
  const { origin, protocol } = new URL(url);
  // A page that is a file has no server: it may request only itself.
  const own = protocol === 'file:' ? url : origin;
  page.on('request', (request) => {
    if (!request.url().startsWith(own) && !request.url().startsWith('data:')) problems.push(request.url());
  });
  await page.goto(url);
  return { page, problems };
}

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

/** Asserts that axe-core finds no accessibility problem on the page as it is now. */
export async function assertAccessible(page: Page, name: string): Promise<void> {
  await page.evaluate(AXE);
  const found = await page.evaluate(async () => {
    const { axe } = globalThis as unknown as { axe: { run(): Promise<{ violations: AxeViolation[] }> } };
    return (await axe.run()).violations;
  });
  const grave = found.filter(({ impact }) => impact === 'serious' || impact === 'critical');
  assert.deepEqual(
    grave.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(' ')}`),
    [],
    name,
  );
}

interface AxeViolation {
  readonly id: string;
  readonly impact: string;
  readonly nodes: readonly { readonly html: string }[];
}

/** How far the page reaches beyond the window's right edge (CSS pixels). */
export function overflowOf(page: Page): Promise<number> {
  return page.evaluate('document.documentElement.scrollWidth - document.documentElement.clientWidth');
}
