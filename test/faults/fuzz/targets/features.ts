import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { listColumns } from '../../../../src/explore/api.js';
import { exploreFolder, indexOf } from '../../../../src/explore/explorer.js';
import { silent } from '../../../../src/progress/progress.js';
import { writeSampleFolder } from '../../../explore/sample-folder.js';
import { mutateBytes } from '../bytes.js';
import { linkOut } from '../canary.js';
import { oneIn, pick } from '../chance.js';
import { mutateJson } from '../json.js';
import { bytesOf, type Files, type Target } from '../target.js';
import { mutateText } from '../text.js';

const FEATURES = 70;
const PARQUET = ['gated/features-00000.parquet', 'gated/examples-00000.parquet', 'vocabulary.parquet'];
const LABELS = 'gated/labels.jsonl';

async function prepare(directory: string): Promise<void> {
  await writeSampleFolder(directory, { features: FEATURES, top: 3, perBand: 1 });
  const label = (feature: number, text: string) => `${JSON.stringify({ feature, label: text, note: null })}\n`;
  writeFileSync(join(directory, LABELS), label(3, 'three') + label(60, 'sixty') + label(3, 'drei'));
}

/** Everything that pages ask for: the index, lists by every column, a scatter, features, labels. */
async function read(directory: string): Promise<string> {
  const explorer = await exploreFolder(directory, silent);
  const hash = createHash('sha256');
  const take = (value: unknown) => hash.update(JSON.stringify(value));
  take(indexOf(explorer, { list: true, labels: true, text: false }));
  for (const { lists, pages, labels, record } of explorer.saes.values()) {
    for (const sort of listColumns) take(lists.list({ sort, count: 20 }));
    take([lists.list({ q: 'cat' }), lists.scatter(), labels.all()]);
    for (let feature = 0; feature < Math.min(record.d_sae, FEATURES); feature += 3) {
      const page = await pages.page(feature);
      for (const { examples } of page.bands) {
        for (const { tokens, activations, peak } of examples) {
          assert.equal(tokens.length, activations.length);
          assert.ok(peak >= 0 && peak < tokens.length);
        }
      }
      take(page);
    }
  }
  return hash.digest('hex');
}

const command = (directory: string, out: string) => ({
  args: ['explore', directory, '--sae', 'gated', '--html', join(out, 'page.html'), '--features', '1,2'],
});

const parquet: Target = {
  name: 'features in Parquet',
  share: 5,
  module: import.meta.url,
  prepare,
  mutate(files, random, elsewhere) {
    const name = pick(random, PARQUET);
    if (oneIn(random, 20)) files.set(name, linkOut(random, elsewhere));
    else
      files.set(
        name,
        oneIn(random, 3) ? atEnd(bytesOf(files, name), random) : mutateBytes(bytesOf(files, name), random),
      );
  },
  read,
  command,
};

/** Changes where the footer is: what it says of lengths and places. */
function atEnd(bytes: Buffer, random: Parameters<Target['mutate']>[1]): Buffer {
  const cut = Math.max(0, bytes.length - 4000);
  return Buffer.concat([bytes.subarray(0, cut), mutateBytes(bytes.subarray(cut), random)]);
}

const record: Target = {
  name: 'features.json',
  share: 3,
  module: import.meta.url,
  prepare,
  mutate(files, random, elsewhere) {
    if (oneIn(random, 2)) return lie(files, random, elsewhere);
    files.set('features.json', mutateJson(String(bytesOf(files, 'features.json')), random, elsewhere));
  },
  read,
  command,
};

/** A number, a name or a path of the record that is not so. */
function lie(files: Files, random: Parameters<Target['mutate']>[1], elsewhere: readonly string[]): void {
  const json = JSON.parse(String(bytesOf(files, 'features.json')));
  const counts = [0, 1, FEATURES - 1, FEATURES + 1, 16_384, 16_385, 2 ** 31, 2 ** 53 - 1];
  const [sae] = json.saes;
  pick(random, [
    () => (sae.d_sae = pick(random, counts)),
    () => (sae.folder = pick(random, [...elsewhere, '..', '.', 'GATED', 'other'])),
    () => (json.model.vocabulary = pick(random, counts)),
    () => json.saes.push({ ...sae, folder: pick(random, ['gated', 'Gated', 'other']) }),
    () => (json.context = pick(random, counts)),
    () => (json.saes = []),
  ])();
  files.set('features.json', Buffer.from(JSON.stringify(json)));
}

const labels: Target = {
  name: 'labels.jsonl',
  share: 2,
  module: import.meta.url,
  prepare,
  mutate(files, random, elsewhere) {
    if (oneIn(random, 15)) files.set(LABELS, linkOut(random, elsewhere));
    else files.set(LABELS, mutateText(bytesOf(files, LABELS), random));
  },
  read,
  command,
};

export const FEATURE_FOLDERS = [parquet, record, labels];
