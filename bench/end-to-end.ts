// npm run bench:end-to-end: from text to a finished SAE, compared with SAELens's training runner; start-up included.
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { markdownTable } from './markdown.js';
import { command } from './python.js';
import { circumstances, spread, writeSection } from './section.js';
import { evaluated, flagsOf, recovered, saePipe, seconds, TRIAL, type Verdict } from './trial.js';

const { values: options } = parseArgs({
  options: {
    architecture: { type: 'string', default: 'topk' },
    sparsity: { type: 'string', default: '32' },
    'tokens-on-the-fly': { type: 'string', default: '1000000' },
    'tokens-from-store': { type: 'string', default: '2000000' },
    rows: { type: 'string', default: '500000' },
    batch: { type: 'string', default: '1024' },
    'eval-tokens': { type: 'string', default: '50000' },
    rounds: { type: 'string', default: '3' },
    threads: { type: 'string', default: String(availableParallelism()) },
    document: { type: 'string', default: 'docs/explanation/benchmarks.md' },
    help: { type: 'boolean', default: false },
  },
});
if (options.help) {
  console.log(`npm run bench:end-to-end -- [--architecture topk] [--sparsity 32] [--tokens-on-the-fly N]
[--tokens-from-store N] [--rows N] [--batch N] [--eval-tokens N] [--rounds N] [--threads N] [--document FILE]
Times complete programs on the bundled model. --sparsity: k for TopK kinds, λ for the others.`);
  process.exit();
}
const python = process.env.SAE_PIPE_BENCH_PYTHON ?? 'bench/.venv/bin/python';
const { model, corpus, hook, layer, dIn, dSae, context } = TRIAL;
const { architecture, sparsity, batch, threads, rows } = options;
const [onTheFly, fromStore] = [options['tokens-on-the-fly'], options['tokens-from-store']];

type Step = 'on the fly' | 'harvest' | 'from a store';
/** What each program does of the three, in a separate directory; the last uses `store` or `cached` of the second. */
type Program = Readonly<Record<Step, (directory: string) => void>>;

const penalised = architecture === 'gated' || architecture === 'standard';
const ourTraining = {
  ...{ arch: architecture, [penalised ? 'l1' : 'k']: sparsity, 'd-sae': dSae, batch, threads },
};
const ours: Program = {
  'on the fly': (at) => {
    const source = { model, corpus, hook, context, tokens: onTheFly };
    saePipe('train', ...flagsOf({ ...source, ...ourTraining, out: join(at, 'live') }), '--discard-state');
  },
  harvest: (at) => {
    saePipe('harvest', ...flagsOf({ model, corpus, hook, context, tokens: rows, threads, out: join(at, 'store') }));
  },
  'from a store': (at) => {
    const source = { activations: join(at, 'store', hook), tokens: fromStore };
    saePipe('train', ...flagsOf({ ...source, ...ourTraining, out: join(at, 'stored') }), '--discard-state');
  },
};

function runner(mode: string, flags: Readonly<Record<string, string | number>>): void {
  const common = { model, corpus, layer, 'd-in': dIn, context, threads };
  command(python, ['-W', 'ignore', 'bench/peers/end_to_end.py', mode, ...flagsOf({ ...common, ...flags })]);
}
const peerTraining = { architecture, sparsity, 'd-sae': dSae, batch };
const saelens: Program = {
  'on the fly': (at) => runner('train', { ...peerTraining, tokens: onTheFly, out: join(at, 'live') }),
  harvest: (at) => runner('cache', { tokens: rows, store: join(at, 'store') }),
  'from a store': (at) =>
    runner('train-cached', { ...peerTraining, tokens: fromStore, store: join(at, 'store'), out: join(at, 'stored') }),
};

const STEPS: readonly Step[] = ['on the fly', 'harvest', 'from a store'];
const times = STEPS.map(() => [[], []] as [number[], number[]]);
let verdicts: Verdict[] = [];
for (let round = 0; round < Number(options.rounds); round++) {
  const root = mkdtempSync(join(tmpdir(), 'bench-end-to-end-'));
  try {
    const places = [join(root, 'ours'), join(root, 'saelens')];
    for (const place of places) mkdirSync(place);
    // The programs take turns at each step, so that a slow minute falls on both.
    for (const [i, step] of STEPS.entries()) {
      for (const [p, program] of [ours, saelens].entries()) {
        times[i]![p]!.push(seconds(() => program[step](places[p]!)));
        process.stderr.write(`round ${round + 1}, ${step}, ${['ours', 'SAELens'][p]}: ${times[i]![p]!.at(-1)} s\n`);
      }
    }
    const saes = ['live', 'stored'].flatMap((kind) => places.map((place) => join(place, kind)));
    verdicts = evaluated(saes, join(root, 'eval'), Number(options['eval-tokens']));
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
}

const work = [`${onTheFly} tokens from text`, `${rows} activations to a store`, `${fromStore} tokens from that store`];
const table = STEPS.map((_, i) => {
  const [our, their] = times[i]!.map(spread) as [ReturnType<typeof spread>, ReturnType<typeof spread>];
  const told = ({ median, least, most }: ReturnType<typeof spread>) =>
    `${median.toFixed(0)} (${least.toFixed(0)} to ${most.toFixed(0)})`;
  // An SAE of ours and theirs of each kind of training; a harvest has none.
  const [a, b] = i === 1 ? [] : verdicts.slice(i, i + 2);
  const quality = [a, b].flatMap((verdict) =>
    verdict ? [`${recovered(verdict)}, L0 ${verdict.l0.toFixed(1)}`] : [''],
  );
  return [work[i]!, told(our), told(their), `${(their.median / our.median).toFixed(2)} ×`, ...quality];
});
const head = ['', 'sae-pipe, s', 'SAELens, s', 'SAELens / this', 'loss recovered: sae-pipe', 'SAELens'];
const setting = `${architecture}, ${penalised ? 'λ' : 'k'} ${sparsity}, d_sae ${dSae}, batches of ${batch}, ${hook} of the bundled model`;
writeSection(
  'end-to-end',
  'From text to an SAE',
  `Wall seconds of complete programs, start-up included, median of ${options.rounds} rounds (least to most): ${setting}; ${threads} threads. \`npm run bench:end-to-end\`.\n\n${markdownTable(head, table)}\n\n${circumstances()}.`,
  options.document,
);
