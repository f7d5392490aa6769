import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  createReadStream,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { readManifest } from '../../src/activations/manifest.js';
import { readEvaluation } from '../../src/eval/record.js';
import { openSae } from '../../src/sae/saelens.js';
import { filesBelow, temporaryDirectory } from '../temporary.js';
import { plantCanary } from './fuzz/canary.js';
import { generatorOf, readFiles, writeCase } from './fuzz/case.js';
import { canTrace, openedBelow, traced } from './fuzz/opened.js';
import type { Target } from './fuzz/target.js';
import { TARGETS } from './fuzz/targets.js';

/** A sample of the cases of fuzz.test.ts on the command line; SAE_PIPE_LONG=1 is the long form here, too. */
const LONG = process.env.SAE_PIPE_LONG === '1';
const SEED = Number(process.env.SAE_PIPE_FUZZ_SEED ?? 1);
const CASES = LONG ? 25 : 1;

const root = temporaryDirectory();
const canary = plantCanary(root);

async function runTraced(args: readonly string[], stdin: string | undefined, trace: string) {
  const [program, ...words] = traced([process.execPath, 'bin/sae-pipe.js', ...args], trace);
  const child = spawn(program!, words, { stdio: ['pipe', 'pipe', 'pipe'] });
  let stderr = '';
  child.stderr.on('data', (data) => {
    stderr += data;
  });
  child.stdout.resume();
  child.stdin.on('error', () => {});
  if (stdin === undefined) child.stdin.end();
  else createReadStream(stdin).pipe(child.stdin);
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, stderr };
}

/** What a command that refused may leave: nothing that is half a file, and nothing that its reader refuses. */
async function checkLeft(out: string): Promise<void> {
  if (!existsSync(out)) return;
  for (const name of filesBelow(out).keys()) {
    assert.ok(!name.endsWith('.tmp'), `${name} is half written`);
    if (name.endsWith('cfg.json')) await openSae(join(out, name, '..'));
    if (name.endsWith('manifest.json')) await readManifest(join(out, name, '..'));
    if (name.endsWith('eval.json')) await readEvaluation(join(out, name, '..'));
  }
}

/** Where the links of a case lead: those are followed. */
function linkedFrom(directory: string): Set<string> {
  const paths = readdirSync(directory, { recursive: true, encoding: 'utf8' }).map((name) => join(directory, name));
  return new Set(
    paths.filter((path) => lstatSync(path).isSymbolicLink() && existsSync(path)).map((path) => realpathSync(path)),
  );
}

function assertNoSecret(path: string, said: string): void {
  assert.ok(!readFileSync(path).includes(canary.secret), `${said}: ${path} holds what lies elsewhere`);
}

async function runCase(target: Target, intact: string, index: number): Promise<void> {
  const [directory, out] = [join(root, target.name, 'case'), join(root, target.name, `out-${index}`)];
  writeCase(intact, readFiles(intact), directory, target, generatorOf(SEED, target, index), canary);
  const { args, stdin } = target.command!(directory, out);
  const trace = join(root, 'trace');
  const { code, stderr } = await runTraced(args, stdin, trace);
  const said = `case ${index} of seed ${SEED} exits ${code}: ${stderr}`;
  assert.ok(code === 0 || code === 1 || code === 2, said);
  if (code !== 0) {
    const lines = stderr.split('\n').filter((line) => line.startsWith('sae-pipe: '));
    assert.equal(lines.length, 1, said);
    assert.ok(stderr.endsWith(`${lines[0]}\n`), said);
    assert.doesNotMatch(stderr, /bug in sae-pipe|^\s+at /m, said);
  }
  assert.ok(!stderr.includes(canary.secret), said);
  const linked = linkedFrom(directory);
  assert.deepEqual(
    openedBelow(canary.directory, trace).filter((path) => !linked.has(path)),
    [],
    said,
  );
  if (existsSync(out)) for (const file of filesBelow(out).keys()) assertNoSecret(join(out, file), said);
  await checkLeft(out);
  rmSync(out, { recursive: true, force: true });
}

for (const target of TARGETS.filter(({ command }) => command)) {
  test(`${CASES} broken files on the command line: ${target.name} (seed ${SEED})`, async () => {
    const intact = join(root, target.name, 'intact');
    mkdirSync(intact, { recursive: true });
    await target.prepare(intact);
    for (let index = 0; index < CASES; index++) await runCase(target, intact, index);
  });
}

test('a program that opens what lies outside is seen', { skip: !canTrace && 'there is no strace here' }, async () => {
  const trace = join(root, 'trace-of-a-leak');
  const script = `fs.readFileSync(${JSON.stringify(join(canary.directory, 'outside'))})`;
  const [program, ...words] = traced([process.execPath, '-e', script], trace);
  await once(spawn(program!, words, { stdio: 'ignore' }), 'close');
  assert.deepEqual(openedBelow(canary.directory, trace), [join(canary.directory, 'outside')]);
});
