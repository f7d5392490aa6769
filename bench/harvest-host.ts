/**
 * Host time of a harvest at Gemma 7B's shapes, three hooks into bfloat16 stores: everything but the GPU's own
 * time, which stub libraries (bench/cuda-stubs/) leave out.
 *
 *     npm run bench:harvest-host -- [--record] [--directory DIR] [--out DIR] [--tokens N] [--rounds N]
 *
 * Needs what check:placement needs, and keeps it in the same DIR. --out, by default in memory (/dev/shm), takes 20 kB per
 * token; --record writes the table into docs/how-to/gpu.md.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { markdownTable } from './markdown.js';
import { circumstances, spread, writeSection } from './section.js';
import { obstacleToStubs, stubbedCudaOfRun } from './stubbed-cuda.js';

/** Microseconds per token. */
export interface HostTime {
  /** Everything on the main thread, or as `harvest` does it. */
  readonly form: 'here' | 'threads';
  readonly wall: number;
  /** Of all threads of the process. */
  readonly cpu: number;
  /** Of the main thread. */
  readonly main: number;
}

const FORMS = { here: 'all on one thread', threads: 'as `harvest` does it: model and hashes in threads' } as const;

function measured(form: HostTime['form'], env: NodeJS.ProcessEnv, out: string, tokens: number): HostTime {
  const program = fileURLToPath(new URL('harvest-host-run.js', import.meta.url));
  const directory = mkdtempSync(join(out, 'sae-pipe-host-'));
  try {
    const { stdout, stderr } = spawnSync(process.execPath, [program, form, directory, String(tokens)], {
      ...{ env, encoding: 'utf8' },
    });
    if (!stdout.startsWith('{')) throw new Error(stderr);
    return JSON.parse(stdout) as HostTime;
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

function main(): number {
  const { values: options } = parseArgs({
    options: {
      record: { type: 'boolean', default: false },
      directory: { type: 'string', default: join(tmpdir(), 'sae-pipe-check-placement') },
      out: { type: 'string', default: existsSync('/dev/shm') ? '/dev/shm' : tmpdir() },
      tokens: { type: 'string', default: '98208' },
      rounds: { type: 'string', default: '3' },
    },
  });
  const reason = obstacleToStubs();
  if (reason !== undefined) {
    console.error(`${reason}.`);
    return 3;
  }
  const { whole } = stubbedCudaOfRun(options.directory);
  const forms = Object.keys(FORMS) as HostTime['form'][];
  const times: HostTime[] = [];
  for (let round = 0; round < Number(options.rounds); round++) {
    for (const form of forms) times.push(measured(form, whole, options.out, Number(options.tokens)));
  }
  const rows = forms.map((form) => {
    const own = times.filter((one) => one.form === form);
    const cell = (name: 'wall' | 'cpu' | 'main') => {
      const { median, least, most } = spread(own.map((one) => one[name]));
      return `${median.toFixed(1)} (${least.toFixed(1)} to ${most.toFixed(1)})`;
    };
    return [FORMS[form], cell('wall'), cell('main'), cell('cpu')];
  });
  const text = [
    markdownTable(['µs per token, median of rounds (least to most)', 'wall', 'main thread', 'all threads'], rows),
    '',
    `${options.tokens} tokens, contexts of 1024, windows of 8184 rows; ${circumstances()}. \`npm run bench:harvest-host -- --record\`.`,
  ].join('\n');
  if (options.record) writeSection('harvest-host', 'Host time of a harvest', text, 'docs/how-to/gpu.md');
  else console.log(text);
  return 0;
}

process.exitCode = main();
