import { mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { after } from 'node:test';

/** A new empty directory, its path free of symbolic links; removed after the test `t`, or after the test file. */
export function temporaryDirectory(t: { after: (remove: () => void) => void } = { after }): string {
  const path = mkdtempSync(join(realpathSync(tmpdir()), 'sae-pipe-test-'));
  t.after(() => rmSync(path, { recursive: true, force: true }));
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
