import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { copyFileSync, cpSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { test } from 'node:test';
import { ARCHITECTURES, architectureFlags, trainable } from '../../src/sae/registry.js';
import { architectures } from '../../src/sae/sae.js';
import { temporaryDirectory } from '../temporary.js';

test('every architecture is under its name, and no two share a name in cfg.json, a flag or a colour', () => {
  const all = architectures.map((name) => ARCHITECTURES[name]);
  assert.deepEqual(
    all.map(({ name }) => name),
    [...architectures],
  );
  // A flag of several is the same flag.
  const said = trainable.flatMap((name) => Object.entries(ARCHITECTURES[name].training!.flags));
  for (const [key, schema] of said) assert.equal(architectureFlags[key], schema, key);
  const flags = Object.keys(architectureFlags);
  const colours = all.flatMap(({ look }) => look.colour ?? []);
  for (const names of [
    all.flatMap(({ saelens }) => [...saelens.names, ...(saelens.savedAs ? [saelens.savedAs.training] : [])]),
    flags,
    colours,
    all.map(({ look }) => look.label),
  ]) {
    assert.equal(new Set<unknown>(names).size, names.length, `${names}`);
  }
  for (const { parameters, proportional } of all) {
    for (const name of proportional) assert.ok(parameters.includes(name), name);
  }
});

/** What the compiler says of the sources of `sae` with one of them changed. */
function compiled(directory: string, file: string, change: (text: string) => string): string {
  const path = join(directory, 'src', file);
  const before = readFileSync(path, 'utf8');
  writeFileSync(path, change(before));
  const tsc = resolve('node_modules/typescript/bin/tsc');
  const options = { encoding: 'utf8', cwd: directory } as const;
  const { stdout, status } = spawnSync(process.execPath, [tsc, '-p', 'tsconfig.json', '--noEmit'], options);
  writeFileSync(path, before);
  return status === 0 ? '' : stdout;
}

test('a name without its descriptor, or a descriptor without a part, does not compile', (t) => {
  const directory = temporaryDirectory(t);
  for (const room of ['sae', 'onnx', 'errors', 'disk', 'progress', 'random', 'safetensors']) {
    cpSync(join('src', room), join(directory, 'src', room), { recursive: true });
  }
  copyFileSync('package.json', join(directory, 'package.json'));
  symlinkSync(resolve('node_modules'), join(directory, 'node_modules'));
  const { compilerOptions } = JSON.parse(readFileSync('tsconfig.json', 'utf8')) as { compilerOptions: object };
  const only = { compilerOptions: { ...compilerOptions, rootDir: '.' }, include: ['src/sae/registry.ts'] };
  writeFileSync(join(directory, 'tsconfig.json'), JSON.stringify(only));

  assert.equal(
    compiled(directory, 'sae/registry.ts', (text) => text),
    '',
  );
  const named = compiled(directory, 'sae/sae.ts', (text) => text.replace("'topk',", "'topk', 'toy',"));
  assert.match(named, /registry\.ts.*'toy' is missing/s);
  for (const part of ['encode(g, w,', 'saelens: {']) {
    const [name] = part.split(/[(:]/);
    const without = compiled(directory, 'sae/architectures/topk.ts', (text) => text.replace(part, `not_${part}`));
    assert.match(without, new RegExp(`'${name}' is missing|not_${name}`), part);
  }
  const training = compiled(directory, 'sae/architectures/topk.ts', (text) => text.replace('sparse: form,', ''));
  assert.match(training, /'sparse' is missing/);
});
