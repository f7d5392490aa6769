import assert from 'node:assert/strict';
import { execFile, spawnSync } from 'node:child_process';
import { promisify } from 'node:util';

/** A Chromium on this machine, or undefined. */
const browser = [process.env.CHROMIUM, 'chromium', 'chromium-browser', 'google-chrome'].find(
  (name) => name !== undefined && spawnSync(name, ['--version'], { stdio: 'ignore' }).status === 0,
);

/** Why tests in a browser cannot run here; false where they can. */
export const skip = browser === undefined && 'no Chromium is installed (Debian: apt-get install chromium)';

const QUIET = [
  ...['--headless', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--no-first-run', '--disable-sync'],
  ...['--disable-background-networking', '--disable-component-update'],
  '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1',
];

/**
 * A page in a headless browser that has no network: what the page's own probe left in `data-probe` of its body, and
 * what was printed on the console.
 *
 * @param profile a directory for the browser
 */
export async function visited<T>(
  url: string,
  profile: string,
  ...flags: string[]
): Promise<{ probe: T; console: string[] }> {
  const own = [`--user-data-dir=${profile}`, '--window-size=1280,1000', '--enable-logging=stderr'];
  const { stdout, stderr } = await promisify(execFile)(browser!, [...QUIET, ...own, ...flags, '--dump-dom', url], {
    maxBuffer: 2 ** 28,
  });
  const probe = /data-probe="([^"]*)"/
    .exec(stdout)?.[1]
    ?.replaceAll('&quot;', '"')
    .replaceAll('&lt;', '<')
    .replaceAll('&gt;', '>')
    .replaceAll('&amp;', '&');
  assert.ok(probe, `the page's script ran to its end: ${stderr.slice(-2000)}`);
  return { probe: JSON.parse(probe) as T, console: stderr.split('\n').filter((line) => /CONSOLE/.test(line)) };
}
