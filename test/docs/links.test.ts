import assert from 'node:assert/strict';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { pages } from './commands.js';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));

/** The names that GitHub gives to the headings of a page. */
function anchors(markdown: string): Set<string> {
  const counts = new Map<string, number>();
  const names = [...markdown.matchAll(/^#+ +(.+)$/gm)].map(([, heading]) => {
    const text = heading!.replace(/\[([^\]]*)\]\([^)]*\)/g, '$1').toLowerCase();
    const name = text.replace(/[^\p{L}\p{N}\s_-]/gu, '').replace(/\s/g, '-');
    const before = counts.get(name) ?? 0;
    counts.set(name, before + 1);
    return before === 0 ? name : `${name}-${before}`;
  });
  return new Set(names);
}

test('every link between pages leads to a file and a heading', () => {
  const broken: string[] = [];
  let links = 0;
  for (const page of pages(ROOT)) {
    const text = readFileSync(join(ROOT, page), 'utf8').replace(/`[^`\n]*`/g, '');
    for (const [, path = '', anchor] of text.matchAll(/\]\(([^)#\s]*)(?:#([^)\s]+))?\)/g)) {
      if (/^[a-z]+:/.test(path)) continue;
      links++;
      const target = path ? join(ROOT, dirname(page), path) : join(ROOT, page);
      if (!existsSync(target)) broken.push(`${page}: ${path}`);
      else if (anchor && statSync(target).isFile() && !anchors(readFileSync(target, 'utf8')).has(decodeURI(anchor))) {
        broken.push(`${page}: ${path}#${anchor}`);
      }
    }
  }
  assert.ok(links > 100);
  assert.deepEqual(broken, []);
});
