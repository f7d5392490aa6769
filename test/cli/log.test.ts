import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { temporaryDirectory } from '../temporary.js';
import { refusedUsage } from './refused.js';
import { run, sleep, start } from './run-program.js';

const root = temporaryDirectory();
const HOOK = 'blocks.2.hook_resid_post';

interface Line {
  time: string;
  event: string;
  [field: string]: unknown;
}

/** What was written on standard error: every line a JSON object. */
function linesOf(stderr: string): Line[] {
  assert.ok(stderr.endsWith('\n'), stderr);
  const lines = stderr
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Line);
  for (const { time, event } of lines) assert.ok(!Number.isNaN(Date.parse(time)) && event.length > 0);
  return lines;
}

const harvest = (out: string, ...more: string[]) =>
  ['harvest', '--config', 'configs/tiny-gemma.yaml', '--out', out, '--log', 'json', ...more] as const;

test('--log json: tasks of a stage on standard error, results on standard output as without it', async () => {
  const out = join(root, 'acts');
  const { code, stdout, stderr } = await run(...harvest(out, '--tokens', '4000'));
  assert.equal(code, 0, stderr);
  assert.equal(stdout, `${join(out, HOOK)}\n`);
  const lines = linesOf(stderr).filter(({ label }) => label === 'harvesting');
  assert.deepEqual([lines.at(0)!.event, lines.at(-1)!.event], ['begin', 'end']);
  const { done, total, unit, rate, seconds } = lines.at(-1)!;
  assert.deepEqual([done, total, unit], [4000, 4000, 'token']);
  assert.ok(Math.abs(((rate as number) * (seconds as number)) / 4000 - 1) < 0.01, 'the rate is that of the task');
  assert.ok(lines.some(({ event, left }) => event === 'update' && (left === null || (left as number) >= 0)));
});

test('--log json: a refusal is one line with cause, remedy and exit code, wherever it comes from', async () => {
  for (const [args, exit, code, cause, advice] of [
    [['report', root, '--out', 'x.html', '--log', 'json'], 1, 'eval/no-evaluation', 'eval.json', 'sae-pipe eval --out'],
    [['report', root, '--log=json'], 2, 'config/missing-flag', '--out', '--help'],
    [['trian', '--log', 'json'], 2, 'cli/unknown-command', '"trian"', 'train?'],
    [['report', root, '--outt', 'x', '--log', 'json'], 2, 'config/unknown-flag', '--outt', '--out?'],
  ] as const) {
    const outcome = await run(...args);
    const [line, ...others] = linesOf(outcome.stderr);
    assert.deepEqual(others, [], outcome.stderr);
    const { event, message, remedy } = line!;
    assert.deepEqual([outcome.code, event, line!.code, line!.exit, outcome.stdout], [exit, 'error', code, exit, '']);
    assert.ok((message as string).includes(cause) && (remedy as string).includes(advice), outcome.stderr);
    assert.ok(!('stack' in line!));
    // People read the same on one line.
    const words = args.filter((word) => !/^(--log(=json)?|json)$/.test(word));
    assert.equal((await run(...words)).stderr, `sae-pipe: ${message} ${remedy}\n`);
  }
  const verbose = await run('report', root, '--out', 'x.html', '--log', 'json', '--verbose');
  assert.match(linesOf(verbose.stderr)[0]!.stack as string, /\n\s+at /);
});

test('--log json: an interruption is a line, too, with its signal and exit code', async () => {
  const out = join(root, 'interrupted');
  const { child, outcome } = start(...harvest(out, '--tokens', '400000'));
  for (const end = Date.now() + 60_000; !existsSync(join(out, HOOK, 'manifest.json')) && Date.now() < end; )
    await sleep(20);
  child.kill('SIGINT');
  const { code, stderr } = await outcome;
  assert.equal(code, 130, stderr);
  const lines = linesOf(stderr);
  const said = lines.filter(({ event }) => event === 'say').map(({ message }) => message as string);
  assert.ok(
    said.some((text) => text.startsWith('SIGINT: finishing')) && said.some((text) => text.startsWith('Memory: ')),
  );
  const { event, signal, exit, message } = lines.at(-1)!;
  assert.deepEqual([event, signal, exit], ['interrupted', 'SIGINT', 130]);
  assert.match(message as string, /--resume/);
});

test('--log is text or json, once', async () => {
  const unknown = await run('report', root, '--log', 'xml');
  assert.equal(unknown.code, 2);
  assert.match(unknown.stderr, /^sae-pipe: --log does not accept "xml"\. Give text or json\.\n$/);
  refusedUsage(await run('report', root, '--log', 'text', '--log', 'json'), 'config/flag-twice', '--log');
  const text = await run('report', root, '--out', 'x.html', '--log', 'text');
  assert.equal(text.stderr, (await run('report', root, '--out', 'x.html')).stderr);
  const help = (await run('harvest', '--help')).stdout.replace(/\s+/g, ' ');
  assert.match(help, /--log <text> format of progress and errors .*\[choices: text, json\] \[default: text\]/);
});
