import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';

interface Locked {
  readonly version: string;
  readonly license?: string;
  readonly integrity?: string;
  readonly resolved?: string;
  readonly link?: boolean;
  readonly hasInstallScript?: boolean;
}
type Versions = Readonly<Record<string, string>>;

const json = (path: string) => JSON.parse(readFileSync(path, 'utf8'));
const project = json('package.json') as { dependencies: Versions; devDependencies: Versions };
const lock = json('package-lock.json') as { packages: Record<string, Locked> };
const page = readFileSync('docs/explanation/dependencies.md', 'utf8');

/** Everything that is installed, by its place in node_modules. */
const locked = Object.entries(lock.packages).filter(([place]) => place !== '');
const nameOf = (place: string) => place.split('node_modules/').at(-1)!;

/** Rows of the tables below a heading of the page, cells apart. */
function rowsBelow(heading: string): string[][] {
  const text = page.split(`## ${heading}\n`)[1]?.split('\n## ')[0] ?? assert.fail(`no section ${heading}`);
  const rows = text.split('\n').filter((line) => line.startsWith('| '));
  return rows.slice(1).map((row) => row.slice(2, -2).split(' | '));
}

test('no install script runs, and the packages that have one are known to work without', () => {
  assert.match(readFileSync('.npmrc', 'utf8'), /^ignore-scripts=true$/m);
  const have = locked.filter(([, { hasInstallScript }]) => hasInstallScript).map(([place]) => nameOf(place));
  const known = rowsBelow('Install scripts');
  assert.deepEqual(have.sort(), known.map(([name]) => name).sort());
  assert.ok(known.every(([, script, why]) => script && why));
});

test('every direct dependency is pinned exactly, locked so, and explained with its licence', () => {
  const tools = json('tools/package.json') as { devDependencies: Versions };
  const toolsLock = json('tools/package-lock.json') as typeof lock;
  for (const [heading, versions, { packages }] of [
    ['For running', project.dependencies, lock],
    ['For development', project.devDependencies, lock],
    ['Tools', tools.devDependencies, toolsLock],
  ] as const) {
    const rows = rowsBelow(heading);
    assert.deepEqual(rows.map(([name]) => name).sort(), Object.keys(versions).sort());
    for (const [name, licence, why] of rows) {
      assert.match(versions[name!]!, /^\d+\.\d+\.\d+$/, name);
      const { version, license } = packages[`node_modules/${name}`]!;
      assert.equal(version, versions[name!]);
      assert.equal(licence, license, name);
      assert.ok(why!.length > 4, name);
    }
  }
});

test('everything that is installed comes from the registry and has its hash', () => {
  for (const [place, { integrity, resolved, link }] of locked) {
    assert.match(integrity ?? '', /^sha512-[A-Za-z0-9+/]{86}==$/, place);
    // Without `resolved` npm asks the registry that it is set to.
    assert.ok(resolved === undefined || resolved.startsWith('https://registry.npmjs.org/'), place);
    assert.notEqual(link, true, place);
  }
});

test('licences are those that the page names; LGPL is for the builds of sharp alone', () => {
  const text = page.split('## Licences\n')[1]!.split('\n## ')[0]!;
  const allowed = text.split('with one exception')[0]!;
  for (const [place, { license }] of locked) {
    for (const licence of (license ?? 'none').split(/ AND | OR |[()]/).filter((word) => word !== '')) {
      if (licence === 'LGPL-3.0-or-later') assert.match(place, /^node_modules\/@img\/sharp-/);
      else assert.match(allowed, new RegExp(`\\b${licence.replaceAll('.', '\\.')}\\b`), `${place}: ${licence}`);
    }
  }
});

test('the program imports what package.json names for running, and nothing else', () => {
  const builtIn = /^(node:|\.)/;
  const imported = new Set<string>();
  for (const path of readdirSync('src', { recursive: true, encoding: 'utf8' })) {
    // AssemblyScript is compiled by itself.
    if (!path.endsWith('.ts') || path.includes('kernels/')) continue;
    const code = readFileSync(`src/${path}`, 'utf8').replace(/\/\*[\s\S]*?\*\//g, '');
    for (const [, , name] of code.matchAll(/(?:\bfrom\s*|\bimport\s*\(?\s*)(['"])([^'"\s]+)\1/g)) {
      if (!builtIn.test(name!))
        imported.add(
          name!
            .split('/')
            .slice(0, name!.startsWith('@') ? 2 : 1)
            .join('/'),
        );
    }
  }
  const named = Object.keys(project.dependencies);
  assert.deepEqual(
    [...imported].filter((name) => !named.includes(name)),
    [],
  );
});
