/**
 * Time of the pass in which `eval` takes the mean of a site, against the forward pass of a harvest from there: same
 * tokens, threads and precision (float32), rounds of all in turn. The mean is to take 1.2 times as long at most, also
 * where positions are left out for their norm. Writes no page.
 *
 *     npm run bench:mean -- MODEL [--hook blocks.9.hook_resid_post] [--tokens 15000] [--rounds 3]
 */
import { parseArgs } from 'node:util';
import { type Context, leftOutTokens } from '../src/corpus/contexts.js';
import { openSpliceIn } from '../src/eval/splice-in.js';
import { openForwardPass } from '../src/harvest/forward-pass.js';
import { openCheckpoint } from '../src/lm/checkpoint.js';
import { findHook } from '../src/lm/hooks.js';
import { Generator } from '../src/random/generator.js';
import { markdownTable } from './markdown.js';
import { circumstances, spread } from './section.js';

const [THREADS, CONTEXT, BATCH] = [2, 256, 8];
const { values: flags, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    hook: { type: 'string', default: 'blocks.9.hook_resid_post' },
    tokens: { type: 'string', default: '15000' },
    rounds: { type: 'string', default: '3' },
  },
});
const [model, rounds] = [positionals[0] ?? 'assets/tiny-gemma', Number(flags.rounds)];
const checkpoint = await openCheckpoint(model);
const hook = findHook(flags.hook, checkpoint.config);
const { bosTokenId, vocabulary } = checkpoint.config;
const leftOut = leftOutTokens(bosTokenId, []);
const random = new Generator(0, 0, 0);
const contexts = Array.from({ length: Math.ceil(Number(flags.tokens) / (CONTEXT - 1)) }, (_, index): Context => {
  const token = (t: number) => (t === 0 ? bosTokenId! : 3 + random.below(vocabulary - 3));
  const tokens = Int32Array.from({ length: CONTEXT }, (__, t) => token(t));
  return { index, tokens, documents: new Uint32Array(CONTEXT) };
});

const options = { device: 'cpu', threads: THREADS, precision: 'float32' } as const;
const harvest = await openForwardPass(checkpoint, [hook], CONTEXT, { ...options, dtype: 'float32' });
const mean = await openSpliceIn(checkpoint, hook, [], CONTEXT, options);
// With a median of 1 and no limit that anything is above, nothing is left out, and everything is read.
const normRule = { hook, multiple: Number.MAX_VALUE, median: 1 };
const ruled = await openSpliceIn(checkpoint, hook, [], CONTEXT, { ...options, normRule });

/** Positions without limit. */
const ALL = Number.POSITIVE_INFINITY;
const contenders = {
  'harvest, forward pass': (group: Context[]) => harvest.run(group, leftOut, ALL),
  'eval, mean of the site': (group: Context[]) => mean.addToMean(group, leftOut, ALL),
  'the same, with a norm rule': (group: Context[]) => ruled.addToMean(group, leftOut, ALL),
};
const batch = Math.min(BATCH, harvest.contexts);
const seconds = Object.entries(contenders).map(([label, run]) => ({
  label,
  run,
  wall: [] as number[],
  cpu: [] as number[],
}));
for (let round = -1; round < rounds; round++) {
  for (const { run, wall, cpu } of seconds) {
    // The first opens the sessions.
    const part = round < 0 ? contexts.slice(0, batch) : contexts;
    const [began, used] = [performance.now(), process.cpuUsage()];
    for (let i = 0; i < part.length; i += batch) await run(part.slice(i, i + batch));
    const { user, system } = process.cpuUsage(used);
    if (round < 0) continue;
    wall.push((performance.now() - began) / 1000);
    cpu.push((user + system) / 1e6);
  }
}
for (const one of [harvest, mean, ruled]) await one.release();

const positions = contexts.length * (CONTEXT - 1);
const rows = seconds.map(({ label, wall, cpu }) => {
  const [time, processor, first] = [spread(wall), spread(cpu), spread(seconds[0]!.cpu)];
  const ratio = (processor.median / first.median).toFixed(2);
  return [
    label,
    `${time.median.toFixed(1)} (${time.least.toFixed(1)} to ${time.most.toFixed(1)})`,
    processor.median.toFixed(1),
    ratio,
  ];
});
const head = [`${positions} tokens at ${hook.name} of ${checkpoint.name}`, 's', 's of processor', 'times harvest'];
console.log(`${markdownTable(head, rows)}\n\nMedian of ${rounds} rounds taken in turn. ${circumstances()}.`);
