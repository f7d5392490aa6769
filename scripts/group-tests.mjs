// Lets test files of one directory share a process, because loading the program takes longer than running most of them.
//
//     find dist/test -name '*.test.js' | node scripts/group-tests.mjs 8
//
// reads file names, writes modules to dist/test/together that load at most 8 files each, and prints what to run: these
// modules, and the files that run alone. Each file becomes a suite, so its hooks concern only its tests. It is loaded by
// require, which refuses modules with a top-level await: while one file waited, Node would start the tests of another and
// end the hooks of the first. Files run alone
//
// - if they, or a module they import, have a top-level await;
// - if they change or measure the process, or a helper they import registers a hook at its top level;
// - if Node cannot require ES modules (before 20.19).

import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { posix } from 'node:path';
import { transformSync } from 'esbuild';

const { dirname, join, relative } = posix;
const TESTS = 'dist/test';
const TOGETHER = 'dist/test/together';
/** What concerns the whole process. */
const OF_THE_PROCESS =
  /\bprocess\.(argv|chdir|cpuUsage|exitCode|kill|memoryUsage|on|once|resourceUsage|umask)\b|Object\.assign\(process\.|import \{[^}]*\bmock\b[^}]*\} from 'node:test'/;
/** Hooks of a helper, which would end with the first file that loads it. */
const OF_THE_FILE =
  /^(?:after|afterEach|before|beforeEach)\(|^(?!export (?:async )?function)\S.*\btemporaryDirectory\(/m;

const texts = new Map();
function textOf(file) {
  if (!texts.has(file)) texts.set(file, readFileSync(file, 'utf8'));
  return texts.get(file);
}

/** The file and the files of ours it imports, dynamic imports left out. */
function closureOf(file, seen = new Set([file])) {
  for (const [, specifier] of textOf(file).matchAll(/^(?:import|export)\b[^;]*?['"](\.[^'"]+)['"];/gm)) {
    const imported = join(dirname(file), specifier);
    if (seen.has(imported) || !existsSync(imported)) continue;
    seen.add(imported);
    closureOf(imported, seen);
  }
  return seen;
}

const waiting = new Map();
/** Is there an await outside of all functions? A CommonJS module cannot have one. */
function waits(file) {
  if (!waiting.has(file)) {
    try {
      if (/\bawait\b/.test(textOf(file))) transformSync(textOf(file), { format: 'cjs', logLevel: 'silent' });
      waiting.set(file, false);
    } catch {
      waiting.set(file, true);
    }
  }
  return waiting.get(file);
}

function staysAlone(file) {
  if (OF_THE_PROCESS.test(textOf(file))) return true;
  return [...closureOf(file)].some(
    (one) => waits(one) || (one !== file && one.startsWith(`${TESTS}/`) && OF_THE_FILE.test(textOf(one))),
  );
}

/** Writes a module that runs the files one after another, each as a suite. */
function written(files, number) {
  const room = relative(TESTS, dirname(files[0])).replaceAll('/', '-') || 'all';
  const module = `${TOGETHER}/${String(number).padStart(3, '0')}-${room}.js`;
  const suites = files.map((file) => {
    const name = JSON.stringify(relative(TESTS, file));
    return `describe(${name}, () => void load(${JSON.stringify(relative(TOGETHER, file))}));\n`;
  });
  writeFileSync(
    module,
    `import { createRequire } from 'node:module';\nimport { describe } from 'node:test';\n\nconst load = createRequire(import.meta.url);\n${suites.join('')}`,
  );
  return module;
}

const most = Number(process.argv[2]);
const files = readFileSync(0, 'utf8').split('\n').filter(Boolean);
const rooms = new Map();
for (const file of files) {
  if (!process.features.require_module || staysAlone(file)) console.log(file);
  else rooms.set(dirname(file), [...(rooms.get(dirname(file)) ?? []), file]);
}
mkdirSync(TOGETHER, { recursive: true });
let number = readdirSync(TOGETHER).length;
for (const room of rooms.values()) {
  const parts = Math.ceil(room.length / most);
  for (let i = 0; i < parts; i++) {
    const part = room.slice(Math.round((i * room.length) / parts), Math.round(((i + 1) * room.length) / parts));
    console.log(part.length === 1 ? part[0] : written(part, number++));
  }
}
