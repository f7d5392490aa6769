import assert from 'node:assert/strict';
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, type TestContext, test } from 'node:test';
import type { Manifest } from '../../src/activations/manifest.js';
import { trainSchema } from '../../src/config/stages/train.js';
import { Displaced, LOCK_FILE, lockDirectory } from '../../src/disk/lock.js';
import { type ClaimOptions, claimOutputDirectory } from '../../src/disk/output-directory.js';
import { writeAside } from '../../src/disk/output-file.js';
import { removeUnlisted } from '../../src/harvest/harvest-plan.js';
import { silent } from '../../src/progress/progress.js';
import { tidyFinished } from '../../src/train/run-directory.js';
import { train } from '../../src/train/train.js';
import { refusalOf } from '../config/refuses.js';
import { filesBelow, temporaryDirectory } from '../temporary.js';
import { tinyActivations } from '../train/tiny-activations.js';

const root = temporaryDirectory();
let activations: string;

before(async () => {
  activations = await tinyActivations(root);
});

/** A directory that was locked, then taken over by a command that has ended by now and left these files. */
async function takenOver(t: TestContext, names: readonly string[]): Promise<string> {
  const path = temporaryDirectory(t);
  const lock = await lockDirectory(path);
  t.after(() => lock.release());
  rmSync(join(path, LOCK_FILE));
  for (const name of names) writeFileSync(join(path, name), 'of the second');
  return path;
}

test('an owner whose successor has ended writes nothing and deletes nothing', async (t) => {
  const names = ['eval.json', 'cfg.json.0123456789abcdef.tmp', 'shard-00000.arrow', 'checkpoint-00000008.safetensors'];
  const path = await takenOver(t, names);
  const claim = { ours: () => true, result: 'eval.json' };
  const deeds: Record<string, () => Promise<unknown>> = {
    write: () => writeAside(join(path, 'eval.json'), 'of the first'),
    overwrite: () => claimOutputDirectory(path, { ...claim, overwrite: true } satisfies ClaimOptions),
    resume: () => claimOutputDirectory(path, { ...claim, overwrite: false, resume: true } satisfies ClaimOptions),
    tidyStore: () => removeUnlisted(path, { shards: [], contexts: [], partial: null } as unknown as Manifest),
    tidySae: () => tidyFinished({ out: path, discardState: true }, 9),
  };
  for (const [name, deed] of Object.entries(deeds)) {
    const refusal = await refusalOf(deed, Displaced, 'disk/taken-over');
    assert.match(refusal.message, /lock of .* has disappeared/, name);
    assert.deepEqual(readdirSync(path).sort(), [...names].sort(), name);
    for (const file of names) assert.equal(readFileSync(join(path, file), 'utf8'), 'of the second', `${name} ${file}`);
  }
});

test('a training whose place was taken, by a run that has ended since, leaves that as it is', async () => {
  const out = join(root, 'sae');
  const batch = 64;
  const config = trainSchema.parse({
    ...{ activations, out, dSae: 50, steps: 40, batch, threads: 1, logEvery: 1000, checkpointEvery: '10' },
  });
  let left: ReturnType<typeof filesBelow> | undefined;
  const update = (done: number) => {
    if (left || done < 15 * batch) return;
    rmSync(join(out, LOCK_FILE));
    writeFileSync(join(out, 'cfg.json'), 'of the second');
    left = filesBelow(out);
  };
  await refusalOf(() => train(config, { ...silent, update }, { signal: undefined }), Displaced, 'disk/taken-over');
  assert.deepEqual(filesBelow(out), left);
});
