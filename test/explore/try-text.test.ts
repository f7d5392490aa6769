import assert from 'node:assert/strict';
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { TextReply } from '../../src/explore/api.js';
import { type ExploredFolder, exploreFolder } from '../../src/explore/explorer.js';
import { ThreadedTrial } from '../../src/explore/text-trial.js';
import { silent } from '../../src/progress/progress.js';
import { saveSae } from '../../src/sae/saelens.js';
import { refuses } from '../config/refuses.js';
import { randomSae } from '../sae/random-sae.js';
import { temporaryDirectory } from '../temporary.js';
import { CONTEXT, collected, HOOKS, MODEL, TEXT } from './collected-folder.js';

function trialOf(t: TestContext, explorer: ExploredFolder, directory = MODEL): ThreadedTrial {
  const trial = new ThreadedTrial(explorer, { directory, device: 'cpu', precision: 'float32', threads: 1 });
  t.after(() => trial.close());
  return trial;
}

/** f of a feature at each position of the one context, as its strongest example has it. */
async function storedHeat(explorer: ExploredFolder, sae: string, feature: number): Promise<(number | undefined)[]> {
  const { bands } = await explorer.saes.get(sae)!.pages.page(feature);
  const [example] = bands[0]?.examples ?? [];
  return Array.from({ length: CONTEXT }, (_, i) => example?.activations[i - example.first]);
}

const near = (a: number, b: number) => Math.abs(a - b) <= 1e-4 * Math.max(1, Math.abs(b));

test('a text has the activations that features collected from it', async (t) => {
  const { folder } = await collected(temporaryDirectory(t));
  const explorer = await exploreFolder(folder, silent);
  const trial = trialOf(t, explorer);
  assert.equal(trial.status().model, 'closed');
  let compared = 0;
  for (const [sae, { record, columns }] of explorer.saes) {
    const feature = columns.numbers.max.indexOf(Math.max(...columns.numbers.max));
    const reply = await trial.tryText({ text: TEXT, feature: { sae, feature }, count: 20 });
    assert.equal(trial.status().model, 'ready');
    const shown = reply.saes.find((one) => one.sae === sae)!;
    assert.deepEqual(reply.counted.slice(0, 3), [false, true, true]);
    assert.equal(reply.tokens.length, reply.counted.length);
    const stored = await storedHeat(explorer, sae, feature);
    for (const [i, value] of stored.entries()) {
      if (value === undefined) continue;
      compared++;
      assert.ok(near(reply.heat![i]!, value), `${sae} at ${i}: ${reply.heat![i]} and ${value}`);
      const top = shown.top[i]!.find((one) => one.feature === feature);
      if (top) assert.equal(top.value, reply.heat![i]);
    }
    for (const top of shown.top)
      assert.deepEqual(
        [...top].sort((a, b) => b.value - a.value),
        top,
      );
    if (record.k !== undefined) assert.ok(shown.top.slice(1).every((top) => top.length === Math.min(20, record.k!)));
  }
  assert.ok(compared > 20, String(compared));
});

test('a text beyond a context is cut, and texts that come together are all answered', async (t) => {
  const { folder } = await collected(temporaryDirectory(t));
  const trial = trialOf(t, await exploreFolder(folder, silent, ['sae-1']));
  const [long, ...others] = await Promise.all([
    trial.tryText({ text: TEXT.repeat(5), count: 1 }),
    ...Array.from({ length: 5 }, (_, i) => trial.tryText({ text: TEXT.slice(i), count: 1 })),
  ]);
  assert.deepEqual([long!.cut, long!.tokens.length, long!.saes.map(({ sae }) => sae)], [true, CONTEXT, ['sae-1']]);
  const again: TextReply[] = [];
  for (let i = 0; i < 5; i++) again.push(await trial.tryText({ text: TEXT.slice(i), count: 1 }));
  assert.deepEqual(others, again);
  const waiting = Array.from({ length: 30 }, () =>
    trial.tryText({ text: 'a' }).then(
      () => 'tried',
      (error) => error.status,
    ),
  );
  const answers = await Promise.all(waiting);
  assert.deepEqual([...new Set(answers)].sort(), [503, 'tried']);
  assert.equal(answers.filter((answer) => answer === 'tried').length, 16);
});

test('another model, a missing SAE and a changed one are refused, and opened once fixed', async (t) => {
  const { root, folder } = await collected(temporaryDirectory(t));
  const explorer = await exploreFolder(folder, silent);
  const other = { ...explorer, record: { ...explorer.record, model: { ...explorer.record.model, fingerprint: 'x' } } };
  await refuses(() => trialOf(t, other).tryText({ text: 'a' }), 'explore/other-model', MODEL);
  const trial = trialOf(t, explorer);
  rmSync(join(root, 'sae-0'), { recursive: true });
  await refuses(() => trial.tryText({ text: 'a' }), 'explore/sae-missing', 'sae-0');
  mkdirSync(join(root, 'sae-0'));
  await saveSae(join(root, 'sae-0'), randomSae('gated', 192, 96, 99), { hook_name: HOOKS[0] });
  await refuses(() => trial.tryText({ text: 'a' }), 'explore/other-sae', 'sae-0');
  await saveSae(join(root, 'sae-0'), randomSae('gated', 192, 96, 1), { hook_name: HOOKS[0] });
  assert.equal((await trial.tryText({ text: 'a' })).saes.length, 2);
});
