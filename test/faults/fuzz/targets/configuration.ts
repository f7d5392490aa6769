import assert from 'node:assert/strict';
import { copyFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import { loadConfig } from '../../../../src/config/load.js';
import { STAGES } from '../../../../src/config/stages.js';
import { sweepRuns } from '../../../../src/sweep/runs.js';
import { oneIn, pick } from '../chance.js';
import { mutateJson } from '../json.js';
import { bytesOf, type Target } from '../target.js';
import { mutateText } from '../text.js';

const FILE = 'config.yaml';

/** What a line of YAML must not do: expand without bound, construct objects, contain itself, not be text at all. */
const SPECIAL = [
  'a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c]\ntrain: [*d,*d,*d,*d,*d,*d,*d,*d]',
  'sweep: &a {runs: [*a]}',
  'sweep: {runs: &r [{l1: *r}]}',
  'train: &t\n  <<: *t\n  lr: 1',
  'train: !!js/function "function(){ process.exit(7) }"',
  'train: {lr: !!binary aGVsbG8=}',
  'train: {out: !custom x}',
  'train: !!set {lr}',
  'train: !!omap [lr: 1]',
  'train: {? [a, b] : c}',
  'train: {lr: 2001-12-14}',
  'train: {lr: .nan, l1: .inf, batch: 0x10, steps: 0o7}',
  'train: {lr: 1, lr: 2}',
  '--- 1\n--- 2',
  '%YAML 9.9\n---\ntrain: {lr: 1}',
  '%TAG ! tag:example,2000:\n---\ntrain: !x {lr: 1}',
  '__proto__: {lr: 1}',
  'train: {__proto__: {lr: 1}}',
  'train: {constructor: 1}',
  `train: ${'{a: '.repeat(3000)}1${'}'.repeat(3000)}`,
  `train: ${'['.repeat(20_000)}`,
  `${'- '.repeat(20_000)}1`,
  `sweep: {l1: [${Array.from({ length: 400 }, (_, i) => i)}], seed: [${Array.from({ length: 400 }, (_, i) => i)}], d-sae: [${Array.from({ length: 400 }, (_, i) => i + 1)}]}`,
];

const GIVEN = {
  sweep: { out: 'o' },
  harvest: { out: 'o' },
  train: { out: 'o', activations: 'a', 'd-sae': 8 },
  watch: { directory: 'd' },
  doctor: {},
  report: { evaluation: 'e', out: 'o' },
};

export const configuration: Target = {
  name: 'YAML configuration',
  share: 3,
  module: import.meta.url,
  async prepare(directory) {
    copyFileSync('configs/pareto-tiny.yaml', join(directory, FILE));
  },
  mutate(files, random, elsewhere) {
    const text = bytesOf(files, FILE);
    const change = random.below(4);
    if (change === 0) files.set(FILE, Buffer.concat([text, Buffer.from(`\n${pick(random, SPECIAL)}\n`)]));
    else if (change === 1) files.set(FILE, Buffer.from(pick(random, SPECIAL)));
    else if (change === 2) files.set(FILE, mutateText(text, random));
    // YAML is a superset of JSON.
    else files.set(FILE, mutateJson(JSON.stringify(parse(String(text))), random, elsewhere));
  },
  async read(directory, random) {
    const file = join(directory, FILE);
    // Those whose flags are all in the file, or have defaults.
    const stage = oneIn(random, 2) ? 'sweep' : pick(random, ['harvest', 'train', 'watch', 'doctor', 'report'] as const);
    const config = loadConfig(stage, GIVEN[stage], file);
    assert.equal(STAGES[stage].safeParse(config).success, true);
    if (stage !== 'sweep') return JSON.stringify(config);
    const sweep = loadConfig('sweep', { out: 'o' }, file);
    const runs = sweepRuns(sweep, sweep.hook ?? ['h'], 'stores', file);
    assert.ok(runs.length > 0 && runs.length <= 10_000);
    for (const { name } of runs) assert.ok(!name.split('/').includes('..') && !name.startsWith('/'), name);
    return JSON.stringify(runs);
  },
  command: (directory, out) => {
    return { args: ['train', '--config', join(directory, FILE), '--activations', 'nowhere', '--out', out] };
  },
};
