import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { after } from 'node:test';

/** A directory of this test file, removed when its tests are done. */
export function temporaryDirectory(): string {
  const path = mkdtempSync(join(tmpdir(), 'sae-pipe-test-'));
  after(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

/** Every file below a directory, by relative path. */
export function filesBelow(directory: string): Map<string, Buffer> {
  const files = new Map<string, Buffer>();
  const walk = (path: string) => {
    for (const name of readdirSync(path).sort()) {
      const child = join(path, name);
      if (statSync(child).isDirectory()) walk(child);
      else files.set(relative(directory, child), readFileSync(child));
    }
  };
  walk(directory);
  return files;
}
