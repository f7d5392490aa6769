import assert from 'node:assert/strict';
import { LiveView } from '../../../../src/watch/live-view.js';
import { WatchedRuns } from '../../../../src/watch/watched-runs.js';
import { begin, finish, runIn } from '../../../watch/runs.js';
import { linkOut } from '../canary.js';
import { pick } from '../chance.js';
import { mutateJson } from '../json.js';
import { bytesOf, type Target } from '../target.js';
import { mutateText } from '../text.js';

/** What `watch` reads: two runs, one finished. Files that do not belong to a run are skipped, never refused. */
export const watchedRun: Target = {
  name: 'watched run',
  share: 2,
  module: import.meta.url,
  async prepare(directory) {
    begin(runIn(directory, 'a', 20));
    finish(runIn(directory, 'b', 30));
  },
  mutate(files, random, elsewhere) {
    const name = pick(random, ['a/run.json', 'b/cfg.json', 'a/metrics.jsonl', 'b/metrics.jsonl']);
    const text = bytesOf(files, name);
    if (random.below(12) === 0) files.set(name, linkOut(random, elsewhere));
    else if (name.endsWith('.json')) files.set(name, mutateJson(String(text), random, elsewhere));
    else files.set(name, random.below(2) === 0 ? mutateText(text, random) : oneLine(text, random, elsewhere));
  },
  async read(directory) {
    const runs = new WatchedRuns(directory, () => 0);
    const first = await runs.look();
    assert.ok(first.runs.length >= 1);
    const view = await new LiveView(runs, directory).current();
    assert.ok(!/<script/.test(view.html));
    return first.runs.map(({ last, settings, unreadable }) => JSON.stringify([last, settings, unreadable])).join();
  },
};

/** A line of the curve as other JSON. */
export function oneLine(text: Buffer, random: Parameters<Target['mutate']>[1], elsewhere: readonly string[]): Buffer {
  const lines = String(text).split('\n');
  const at = random.below(lines.length - 1);
  lines[at] = mutateJson(lines[at]!, random, elsewhere).toString('latin1');
  return Buffer.from(lines.join('\n'), 'latin1');
}
