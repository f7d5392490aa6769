import assert from 'node:assert/strict';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { evaluationFigure } from '../../../../src/report/draw-figure.js';
import { writeReport } from '../../../../src/report/report.js';
import { fullSweep } from '../../../report/sample.js';
import { linkOut } from '../canary.js';
import { oneIn, pick } from '../chance.js';
import { mutateJson } from '../json.js';
import { bytesOf, type Target } from '../target.js';
import { mutateText } from '../text.js';
import { oneLine } from './watched-run.js';

const FILE = 'eval.json';

/** What `report` and `figure` read: three SAEs with everything that is measured, and their curves. */
export const evaluation: Target = {
  name: 'eval.json',
  share: 3,
  module: import.meta.url,
  async prepare(directory) {
    const saes = [0, 4, 7].map((i) => fullSweep()[i]!);
    const records = saes.map(({ record, curve }, i) => {
      const name = `training-${i}.jsonl`;
      writeFileSync(join(directory, name), curve.map((line) => `${JSON.stringify(line)}\n`).join(''));
      return { ...record, training_curve: name };
    });
    writeFileSync(join(directory, FILE), JSON.stringify(records, null, 1));
  },
  mutate(files, random, elsewhere) {
    if (oneIn(random, 4)) {
      const name = `training-${random.below(3)}.jsonl`;
      const text = bytesOf(files, name);
      files.set(name, oneIn(random, 2) ? mutateText(text, random) : oneLine(text, random, elsewhere));
      return;
    }
    if (oneIn(random, 16)) {
      files.set(pick(random, [FILE, 'training-0.jsonl']), linkOut(random, elsewhere));
      return;
    }
    const text = String(bytesOf(files, FILE));
    const records = JSON.parse(text) as Record<string, unknown>[];
    if (oneIn(random, 4)) {
      const record = pick(random, records);
      const key = pick(
        random,
        Object.keys(record).filter((name) => typeof record[name] === 'number'),
      );
      record[key] = pick(random, [null, 0, -1, 1e308, -1e308, 5e-324, 2 ** 53, 0.1]);
      if (oneIn(random, 4)) record.training_curve = pick(random, elsewhere);
      files.set(FILE, Buffer.from(JSON.stringify(records)));
    } else files.set(FILE, mutateJson(text, random, elsewhere));
  },
  async read(directory, random) {
    if (oneIn(random, 4)) {
      const name = pick(random, ['pareto', 'shrinkage'] as const);
      await evaluationFigure(name, directory, 'sae-pipe figure');
    }
    const out = `${directory}-report.html`;
    rmSync(out, { force: true });
    await writeReport({ evaluation: directory, out, title: undefined, overwrite: false, reference: undefined });
    const page = readFileSync(out, 'utf8');
    assert.ok(page.endsWith('</html>\n') && !page.includes('NaN,') && !/="[^"]*\b(NaN|Infinity)\b/.test(page));
    return page;
  },
  command: (directory, out) => ({ args: ['report', directory, '--out', `${out}.html`] }),
};
