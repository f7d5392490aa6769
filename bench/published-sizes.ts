// npm run bench:published-sizes: time and memory of ls and convert on SAEs of published sizes, with random weights.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Generator } from '../src/random/generator.js';
import { saveSae } from '../src/sae/saelens.js';
import { markdownTable } from './markdown.js';
import { watchMemory } from './peak-memory.js';
import { circumstances, writeSection } from './section.js';

/** d_in of Gemma 2 2B, and two of the widths that Gemma Scope has. */
const D_IN = 2304;
const WIDTHS = [16_384, 65_536];

/** A random JumpReLU SAE. */
async function made(directory: string, dSae: number): Promise<string> {
  mkdirSync(directory);
  const random = new Generator(dSae);
  const numbers = (length: number) => Float32Array.from({ length }, () => random.uniform() - 0.5);
  const parameters = {
    W_enc: numbers(D_IN * dSae),
    W_dec: numbers(D_IN * dSae),
    ...{ b_enc: numbers(dSae), b_dec: numbers(D_IN), threshold: numbers(dSae).map(Math.abs) },
  };
  await saveSae(
    directory,
    { architecture: 'jumprelu', dIn: D_IN, dOut: D_IN, dSae, parameters },
    { hook_name: 'blocks.20.hook_resid_post', model_name: 'google/gemma-2-2b' },
  );
  return directory;
}

/** Seconds, and the most resident memory, of a command. */
async function measured(...words: string[]): Promise<string[]> {
  const begun = performance.now();
  // The copies that are made of other layouts go with the rest.
  const env = { ...process.env, XDG_CACHE_HOME: join(root, 'cache') };
  const stdio = ['ignore', 'ignore', 'inherit'] as const;
  const child = spawn(process.execPath, ['bin/sae-pipe.js', ...words], { env, stdio: [...stdio] });
  const memory = watchMemory(child, 'cpu');
  const [code] = (await once(child, 'exit')) as [number | null];
  const peak = memory.end();
  if (code !== 0) throw new Error(`${words.join(' ')} ended with ${code}`);
  const seconds = `${((performance.now() - begun) / 1000).toFixed(1)} s`;
  return [seconds, peak === null ? '' : `${Math.round(peak / 2 ** 20)} MiB`];
}

const root = mkdtempSync(join(tmpdir(), 'sae-pipe-sizes-'));
try {
  const rows: string[][] = [];
  for (const width of WIDTHS) {
    const own = await made(join(root, `saelens-${width}`), width);
    const scope = join(root, `scope-${width}`);
    const size = `${D_IN} × ${width.toLocaleString('en')}`;
    rows.push(['`ls`', size, ...(await measured('ls', own))]);
    const there = await measured('convert', own, '--as', 'gemma-scope', '--out', scope);
    rows.push(['`convert --as gemma-scope`, from SAELens', size, ...there]);
    const back = await measured('convert', scope, '--as', 'saelens', '--out', join(root, `back-${width}`));
    rows.push(['`convert --as saelens`, from Gemma Scope', size, ...back]);
  }
  const table = markdownTable(['command', 'SAE', 'time', 'memory, at most'], rows);
  const about = 'JumpReLU SAEs with random weights; each command once, files in the page cache.';
  writeSection('sizes', 'Sizes', `${about}\n\n${table}\n\n${circumstances()}.`, 'docs/how-to/published-saes.md');
} finally {
  rmSync(root, { recursive: true, force: true });
}
