import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { basename, dirname, join, normalize, sep } from 'node:path';
import { test } from 'node:test';

/** Rooms in the order of the data: a room may use itself, those before it, and the side rooms. */
const PIPELINE = [
  'sae',
  'config',
  'lm',
  'corpus',
  'activations',
  'harvest',
  'train',
  'eval',
  'generate',
  'features',
  'report',
  'inspect',
  'publish',
  'sweep',
  'status',
  'watch',
  'explore',
  'doctor',
  'submit',
  'library',
];
/** Rooms that any other may use; they use one another only. */
const SIDE = ['errors', 'disk', 'progress', 'random', 'safetensors', 'onnx', 'hub', 'http', 'tensorboard', 'machine'];
/** An SAE is read and evaluated the same way whoever trained it: these rooms import nothing about training. */
const APART: Readonly<Record<string, readonly string[]>> = {
  sae: ['activations', 'harvest', 'train'],
  eval: ['activations', 'harvest', 'train'],
  generate: ['activations', 'harvest', 'train'],
};
/** May use every room; nothing uses it. */
const TOP = 'cli';

const FILES = readdirSync('src', { recursive: true, encoding: 'utf8' }).filter((path) => path.endsWith('.ts'));
const roomOf = (file: string) => file.split(sep)[0]!;

/** Files of src that `text`, the source of `file`, imports in any way: statically, for types, dynamically, by re-export. */
function importsOf(file: string, text: string): string[] {
  const code = text.replace(/\/\*[\s\S]*?\*\//g, '').replace(/^\s*\/\/.*$/gm, '');
  const specifier = /(?:\bfrom\s*|\bimport\s*\(?\s*|\brequire\s*\(\s*)(['"`])([^'"`]+)\1/g;
  const relative = [...code.matchAll(specifier)].map((match) => match[2]!).filter((name) => name.startsWith('.'));
  // AssemblyScript names files without an extension.
  return relative.map((name) => `${normalize(join(dirname(file), name)).replace(/\.js$/, '')}.ts`);
}

function mayImport(from: string, to: string): boolean {
  if (from === to || from === TOP) return true;
  if (SIDE.includes(to)) return true;
  if (APART[from]?.includes(to)) return false;
  return PIPELINE.includes(from) && PIPELINE.includes(to) && PIPELINE.indexOf(to) < PIPELINE.indexOf(from);
}

test('every kind of import is seen', () => {
  const text = [
    "import { a } from './a.js';",
    "import type { B } from '../disk/b.js';",
    "import {\n  c,\n  d,\n} from '../disk/c.js';",
    "import '../disk/d.js';",
    "export { e } from '../disk/e.js';",
    "export * from '../disk/f.js';",
    "const g = await import('../disk/g.js');",
    "type H = import('../disk/h.js').H;",
    "// import { no } from '../disk/no.js';",
    "/** import('../disk/no.js') */",
    "import { join } from 'node:path';",
  ].join('\n');
  const names = ['lm/a.ts', ...[...'bcdefgh'].map((letter) => `disk/${letter}.ts`)];
  assert.deepEqual(importsOf(join('lm', 'x.ts'), text).sort(), names.map(normalize).sort());
});

test('the rule allows imports in one direction only', () => {
  assert.ok(mayImport('train', 'activations') && mayImport('train', 'train') && mayImport('train', 'disk'));
  assert.ok(mayImport('cli', 'report') && mayImport('disk', 'errors'));
  assert.ok(!mayImport('activations', 'train') && !mayImport('disk', 'lm') && !mayImport('report', 'cli'));
  for (const room of ['activations', 'harvest', 'train']) {
    assert.ok(!mayImport('eval', room) && !mayImport('sae', room), room);
  }
  assert.ok(!mayImport('nowhere', 'lm') && !mayImport('lm', 'nowhere'));
});

test('every source file is in a room of the pipeline or a side room', () => {
  const rooms = [...PIPELINE, ...SIDE, TOP];
  assert.deepEqual(
    FILES.filter((file) => !file.includes(sep) || !rooms.includes(roomOf(file))),
    [],
  );
  assert.deepEqual(
    rooms.filter((room) => !existsSync(join('src', room))),
    [],
  );
});

test('imports go to earlier rooms of the pipeline and to side rooms, never back up', () => {
  const wrong: string[] = [];
  let seen = 0;
  for (const file of FILES) {
    for (const target of importsOf(file, readFileSync(join('src', file), 'utf8'))) {
      seen++;
      if (!FILES.includes(target)) wrong.push(`${file} imports ${target}, which is no source file`);
      else if (!mayImport(roomOf(file), roomOf(target))) wrong.push(`${file} imports ${target}`);
    }
  }
  assert.deepEqual(wrong, []);
  assert.ok(seen > 2 * FILES.length, 'too few imports were found for the search to have worked');
});

test('a family is imported by the registry alone: the rest of the program knows the interface', () => {
  const families = FILES.filter((file) => dirname(file) === join('lm', 'families') && basename(file) !== 'registry.ts');
  assert.ok(families.length > 0);
  for (const file of FILES) {
    const imported = importsOf(file, readFileSync(join('src', file), 'utf8')).filter((path) => families.includes(path));
    if (file !== join('lm', 'families', 'registry.ts')) assert.deepEqual(imported, [], file);
  }
});

test('nothing in src is called util, common or helpers', () => {
  const everything = readdirSync('src', { recursive: true, encoding: 'utf8' });
  const stem = (path: string) => basename(path).replace(/\..*$/, '').toLowerCase();
  assert.deepEqual(
    everything.filter((path) => /^(utils?|common|helpers?)$/.test(stem(path))),
    [],
  );
});

/** Files that import one another in a circle, types included. */
function cycles(imports: ReadonlyMap<string, readonly string[]>): string[][] {
  const reach = (from: string) => {
    const seen = new Set<string>();
    const open = [from];
    for (let file = open.pop(); file !== undefined; file = open.pop()) {
      const fresh = (imports.get(file) ?? []).filter((next) => !seen.has(next));
      open.push(...fresh);
      for (const next of fresh) seen.add(next);
    }
    return seen;
  };
  const reached = new Map([...imports.keys()].map((file) => [file, reach(file)]));
  const found = new Set<string>();
  for (const [file, to] of reached) {
    if (to.has(file))
      found.add(
        [...to]
          .filter((other) => reached.get(other)?.has(file))
          .sort()
          .join(' '),
      );
  }
  return [...found].map((files) => files.split(' '));
}

test('no files import one another in a circle', () => {
  assert.deepEqual(
    cycles(
      new Map([
        ['a', ['b']],
        ['b', ['c', 'd']],
        ['c', ['a']],
        ['d', []],
      ]),
    ),
    [['a', 'b', 'c']],
  );
  const imports = FILES.map((file) => [file, importsOf(file, readFileSync(join('src', file), 'utf8'))] as const);
  assert.deepEqual(cycles(new Map(imports)), []);
});

/** Packages that a file loads before it runs, itself and through our other files. */
function packagesOf(file: string, seen = new Set<string>()): Set<string> {
  const packages = new Set<string>();
  seen.add(file);
  const text = readFileSync(join('src', file), 'utf8');
  for (const [, name] of text.matchAll(/^(?:import\s(?!type\b)|export\s[^;=]*?\bfrom\s)[^;]*?'([^']+)';/gm)) {
    if (name!.startsWith('node:')) continue;
    const ours = `${normalize(join(dirname(file), name!)).replace(/\.js$/, '')}.ts`;
    if (!name!.startsWith('.')) packages.add(name!);
    else if (!seen.has(ours)) for (const one of packagesOf(ours, seen)) packages.add(one);
  }
  return packages;
}

test('threads that most runs start load few packages: to load Arrow takes longer than what a small run does', () => {
  assert.ok(packagesOf(join('inspect', 'row-worker.ts')).has('apache-arrow'), 'what is loaded is seen');
  // ONNX Runtime is loaded when it is used.
  assert.deepEqual([...packagesOf(join('train', 'engines', 'sparse', 'worker.ts'))], []);
  assert.deepEqual([...packagesOf(join('activations', 'shard-check-worker.ts'))], ['zod']);
  assert.deepEqual([...packagesOf(join('corpus', 'text-worker.ts'))].sort(), ['csv-parse', 'fzstd', 'zod']);
});

test('no file asks Node to make directories with their parents: on /proc it never ends', () => {
  for (const file of FILES) {
    const text = readFileSync(join('src', file), 'utf8');
    assert.doesNotMatch(text, /\bmkdir(Sync)?\([^)]*recursive/, `${file}: use disk/durable.ts`);
  }
});

const SOURCES = FILES.map((file) => ({ file, text: readFileSync(join('src', file), 'utf8') }));

/** Names that a file exports where it declares them. */
function exportsOf(text: string): string[] {
  const declared =
    /^export (?:declare )?(?:abstract )?(?:async )?(?:function\*?|const|let|class|interface|type|enum)\s+([\w$]+)/gm;
  return [...new Set([...text.matchAll(declared)].map((match) => match[1]!))];
}

test('no two files export one name for two things', () => {
  assert.deepEqual(exportsOf('export const a = 1;\nexport async function b() {}\nexport type a = 1;\nconst c = 2;'), [
    'a',
    'b',
  ]);
  const files = new Map<string, string[]>();
  // Generated, of another language, or texts of CUDA that are called like the functions in them.
  const others = /onnx_pb\.ts$|[\\/]kernels[\\/]/;
  for (const { file, text } of SOURCES.filter(({ file }) => !others.test(file))) {
    for (const name of exportsOf(text)) files.set(name, [...(files.get(name) ?? []), file]);
  }
  assert.deepEqual(
    [...files].filter(([, declaredIn]) => declaredIn.length > 1),
    [],
  );
});

/** Parameters and lines of the functions of AssemblyScript, which Biome does not parse. */
function functionsOf(text: string): { name: string; parameters: number; lines: number }[] {
  const heads = text.matchAll(/^(?:export )?function (\w+)(?:<[^>\n]*>)?\(([^)]*)\)[^{\n]*\{\n/gm);
  return [...heads].map(({ 0: head, 1: name, 2: list, index }) => {
    const body = text.slice(index + head.length, text.indexOf('\n}', index));
    const parameters = list!.split(',').filter((one) => one.trim() !== '').length;
    return { name: name!, parameters, lines: body.split('\n').length };
  });
}

test('a function of the kernels has at most 60 lines and 6 parameters, as Biome asks of the others', () => {
  const two = functionsOf(
    '@inline\nfunction a(b: f32,\n  c: f32): void {\n  d();\n  e();\n}\nexport function f(): i32 {\n  1;\n}',
  );
  assert.deepEqual(
    two.map(({ parameters, lines }) => [parameters, lines]),
    [
      [2, 2],
      [0, 1],
    ],
  );
  const kernels = SOURCES.filter(({ file }) => /^(activations|inspect|train.engines.sparse).kernels/.test(file));
  const found = kernels.flatMap(({ file, text }) => functionsOf(text).map((one) => ({ file, ...one })));
  assert.ok(found.length > 20, 'too few functions were found for the search to have worked');
  assert.deepEqual(
    found.filter(({ parameters, lines }) => parameters > 6 || lines > 60),
    [],
  );
});
