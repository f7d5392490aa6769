/**
 * A while of `train` from a store, as a user runs it:
 *
 *     node dist/bench/gpu-train-minute.js SECONDS OUT FLAG...
 *
 * Runs `sae-pipe train --out OUT FLAG...`, ends it a number of seconds after its first step, and prints a line of JSON:
 * seconds until the first line of its curve, the last step, tokens/s and explained variance of the last lines.
 */
import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { MetricsRecord } from '../src/sae/training-curve.js';

const [seconds, out, ...flags] = process.argv.slice(2) as [string, string, ...string[]];
const PROGRAM = fileURLToPath(new URL('../../bin/sae-pipe.js', import.meta.url));

function curve(): MetricsRecord[] {
  const path = join(out, 'metrics.jsonl');
  if (!existsSync(path)) return [];
  // The last line may be half written.
  return readFileSync(path, 'utf8')
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line) as MetricsRecord);
}

const began = performance.now();
const child = spawn(process.execPath, [PROGRAM, 'train', '--out', out, ...flags], {
  stdio: ['ignore', 'inherit', 'inherit'],
});
let first: number | undefined;
const timer = setInterval(() => {
  const since = (performance.now() - began) / 1000;
  if (first === undefined && curve().length > 0) first = since;
  if (first !== undefined && since - first > Number(seconds)) child.kill('SIGTERM');
}, 200);
const code = await new Promise((resolve) => child.on('close', (code, signal) => resolve(signal ?? code)));
clearInterval(timer);
const lines = curve();
const last = lines.at(-1);
console.log(
  JSON.stringify({
    ...(lines.length === 0 && { error: `train ended with ${code} before its first line` }),
    first_line_after: first ?? null,
    step: last?.step ?? 0,
    tokens_per_second: lines
      .slice(-10)
      .map((line) => (line as unknown as { tokens_per_second: number }).tokens_per_second),
    last: last ?? null,
  }),
);
