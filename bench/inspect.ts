/**
 * Speed of `inspect`'s reading of a store against a plain read of the same files by `dd`, rounds in turn: from the page
 * cache, and after the files were dropped from it. Writes no page.
 *
 *     npm run bench:inspect -- [STORE] [--rows 400000] [--d 640] [--rounds 3] [--threads 0]
 *
 * Without a STORE, one of random float32 activations is made in the directory for temporary files.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { openStore } from '../src/activations/store.js';
import { surveyStore } from '../src/inspect/survey.js';
import { silent } from '../src/progress/progress.js';
import { markdownTable } from './markdown.js';
import { makeStore } from './random-store.js';
import { circumstances, spread } from './section.js';

const { values: flags, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rows: { type: 'string', default: '400000' },
    d: { type: 'string', default: '640' },
    rounds: { type: 'string', default: '3' },
    threads: { type: 'string', default: '0' },
  },
});
const made = positionals[0] === undefined ? mkdtempSync(join(tmpdir(), 'bench-inspect-')) : undefined;
try {
  if (made) await makeStore(made, Number(flags.d), Number(flags.rows), { dtype: 'float32' });
  const store = await openStore(positionals[0] ?? made!);
  const files = Array.from(store.shards, ({ file }) => join(store.directory, file));
  const megabytes = files.reduce((sum, file) => sum + statSync(file).size, 0) / 1e6;
  const dd = (words: (file: string) => string[]) => {
    for (const file of files)
      execFileSync('dd', [...words(file), 'status=none'], { stdio: ['ignore', 'ignore', 'inherit'] });
  };
  const contenders = {
    dd: async () => dd((file) => [`if=${file}`, 'of=/dev/null', 'bs=8M']),
    inspect: async () => void (await surveyStore(store, Number(flags.threads), silent, { signal: undefined })),
  };
  /** Written pages leave the cache only once they are on the disk. */
  const drop = () => {
    execFileSync('sync');
    dd((file) => [`if=${file}`, 'iflag=nocache', 'count=0']);
  };
  const rows: string[][] = [];
  const processor: number[] = [];
  for (const cached of [true, false]) {
    const speeds = { dd: [] as number[], inspect: [] as number[] };
    const ratios: number[] = [];
    for (let round = 0; round < Number(flags.rounds); round++) {
      for (const name of ['dd', 'inspect'] as const) {
        if (cached) await contenders.dd();
        else drop();
        const [began, used] = [performance.now(), process.cpuUsage()];
        await contenders[name]();
        const { user, system } = process.cpuUsage(used);
        if (name === 'inspect') processor.push((user + system) / 1e6 / (megabytes / 1000));
        speeds[name].push((1000 * megabytes) / (performance.now() - began));
      }
      ratios.push(speeds.inspect.at(-1)! / speeds.dd.at(-1)!);
    }
    const told = (values: number[], digits: number) => {
      const { median, least, most } = spread(values);
      return `${median.toFixed(digits)} (${least.toFixed(digits)}–${most.toFixed(digits)})`;
    };
    rows.push([cached ? 'page cache' : 'disk', told(speeds.dd, 0), told(speeds.inspect, 0), told(ratios, 2)]);
  }
  console.log(`${store.manifest.rows} rows of ${store.manifest.d_in} dimensions, ${megabytes.toFixed(0)} MB\n`);
  console.log(markdownTable(['read from', 'dd, MB/s', 'inspect, MB/s', 'inspect / dd'], rows));
  console.log(
    `\n${circumstances()}. Median of ${flags.rounds} rounds (least–most). inspect: ${spread(processor).median.toFixed(2)} s of processor time for each GB.`,
  );
} finally {
  if (made) rmSync(made, { recursive: true });
}
