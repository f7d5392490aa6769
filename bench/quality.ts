// npm run bench:quality: loss recovered at equal L0, ours and published trainers' on one store, all judged by our eval.
import { mkdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { trainable } from '../src/sae/registry.js';
import { markdownTable } from './markdown.js';
import { command } from './python.js';
import { circumstances, writeSection } from './section.js';
import { evaluated, flagsOf, recovered, saePipe, TRIAL } from './trial.js';

/** Those whose L0 is given, whoever trains them. */
const COMPARABLE = ['topk', 'batchtopk', 'matryoshka'];

const { values: options } = parseArgs({
  options: {
    architectures: { type: 'string', default: COMPARABLE.filter((name) => trainable.some((a) => a === name)).join() },
    k: { type: 'string', default: '16,32,64' },
    lr: { type: 'string', default: '3e-4,1e-3' },
    tokens: { type: 'string', default: '2000000' },
    rows: { type: 'string', default: '500000' },
    'eval-tokens': { type: 'string', default: '50000' },
    batch: { type: 'string', default: '1024' },
    warmup: { type: 'string', default: '100' },
    seeds: { type: 'string', default: '0' },
    threads: { type: 'string', default: String(availableParallelism()) },
    out: { type: 'string', default: 'runs/quality' },
    document: { type: 'string', default: 'docs/explanation/benchmarks.md' },
    help: { type: 'boolean', default: false },
  },
});
if (options.help) {
  console.log(`npm run bench:quality -- [--architectures ${COMPARABLE}] [--k 16,32,64] [--lr 3e-4,1e-3] [--tokens N]
[--rows N] [--eval-tokens N] [--batch N] [--warmup N] [--seeds 0,1] [--threads N] [--out DIR] [--document FILE]
Trains on one store by sae-pipe, SAELens and dictionary_learning, and evaluates all SAEs by sae-pipe eval.
--out must not exist yet.`);
  process.exit();
}
const python = process.env.SAE_PIPE_BENCH_PYTHON ?? 'bench/.venv/bin/python';
const listed = (text: string) => text.split(',');

const { model, corpus, hook, context, dSae } = TRIAL;
mkdirSync(options.out, { recursive: true });
const activations = join(options.out, 'activations');
saePipe(
  'harvest',
  ...flagsOf({ model, corpus, hook, context, tokens: options.rows, dtype: 'float16', out: activations }),
);
const store = join(activations, hook);

interface Trained {
  readonly trainer: string;
  readonly architecture: string;
  readonly k: string;
  readonly lr: string;
  readonly seed: string;
  readonly out: string;
}

function trained(trainer: string, architecture: string, k: string, lr: string, seed: string): Trained {
  const out = join(options.out, 'saes', `${architecture}-${k}-${trainer}-${lr}-${seed}`);
  const { tokens, batch, warmup, threads } = options;
  const common = { 'd-sae': dSae, tokens, batch, lr, warmup, seed, threads, out };
  if (trainer === 'sae-pipe') {
    // The levels of bench/peers/start_parameters.py.
    const levels: Record<string, string> =
      architecture === 'matryoshka' ? { prefixes: [8, 4, 2].map((share) => dSae / share).join() } : {};
    saePipe(
      'train',
      ...flagsOf({ ...common, ...levels, activations: store, arch: architecture, k, normalize: 'mean-norm' }),
      '--discard-state',
    );
  } else {
    command(python, [
      ...['-W', 'ignore', 'bench/peers/train_on_store.py'],
      ...flagsOf({ ...common, trainer, architecture, store, sparsity: k }),
    ]);
  }
  return { trainer, architecture, k, lr, seed, out };
}

const runs: Trained[] = [];
for (const architecture of listed(options.architectures)) {
  for (const k of listed(options.k)) {
    for (const lr of listed(options.lr)) {
      for (const seed of listed(options.seeds)) {
        for (const trainer of ['sae-pipe', 'saelens', 'dictionary_learning']) {
          runs.push(trained(trainer, architecture, k, lr, seed));
        }
      }
    }
  }
}
const verdicts = evaluated(
  runs.map(({ out }) => out),
  join(options.out, 'eval'),
  Number(options['eval-tokens']),
);
const rows = runs.map(({ trainer, architecture, k, lr, seed }, i) => {
  const verdict = verdicts[i]!;
  const variance = `${(100 * verdict.explained_variance).toFixed(2)} %`;
  return [architecture, k, lr, seed, trainer, verdict.l0.toFixed(1), recovered(verdict), variance];
});
const head = ['architecture', 'k', 'lr', 'seed', 'trainer', 'L0', 'loss recovered (95 %)', 'explained variance'];
/** As it was given, less where it writes. */
const flags = process.argv
  .slice(2)
  .join(' ')
  .replace(/ ?--(out|document)[ =]\S+/g, '');
const made = `npm run bench:quality${flags && ` -- ${flags.trim()}`}`;
const setting = `${options.tokens} tokens of a store of ${options.rows}, d_sae ${dSae}, batches of ${options.batch}, ${hook}`;
writeSection(
  'quality',
  'Loss recovered at equal L0',
  `${setting}; ${circumstances()}. \`${made}\`.\n\n${markdownTable(head, rows)}`,
  options.document,
);
