import type { z } from 'zod';
import type { STAGES, StageName } from '../config/stages.js';
import type { TextTerminal } from '../progress/progress.js';
import type { ConfigOf } from './submitted.js';

/** A command: its help and the one function it calls. Stages are loaded when they run, not before. */
interface Command<S extends StageName> {
  readonly summary: string;
  readonly example: string;
  /** Flag or flags that may be given by position, in order. */
  readonly positional?: string | readonly string[];
  /** Flag whose file is also used as --config if that is not given. */
  readonly file?: string;
  /** Alternative to reading the configuration from flags and file alone. */
  load?(given: Readonly<Record<string, unknown>>, file?: string): Promise<z.infer<(typeof STAGES)[S]>>;
  /**
   * @param file the configuration file, for commands that read other sections too
   * @param configOf parses another command line, for commands that submit one
   */
  run(
    config: z.infer<(typeof STAGES)[S]>,
    terminal: TextTerminal,
    file: string | undefined,
    configOf: ConfigOf,
  ): Promise<void>;
}

export const COMMANDS: { readonly [S in StageName]: Command<S> } = {
  harvest: {
    summary: 'Run a model over text and store the activations at hook points as Arrow files.',
    example:
      'sae-pipe harvest --model assets/tiny-gemma --corpus assets/corpus/train.jsonl.gz --hook blocks.2.hook_resid_post --tokens 500000 --context 256 --out runs/acts',
    run: async (given, { progress, stop, print }) => {
      const { withHooks } = await import('../lm/chosen-hooks.js');
      const config = await withHooks(given, stop);
      const { harvestToStream, STANDARD_OUTPUT } = await import('../harvest/stream.js');
      if (config.out === STANDARD_OUTPUT) return harvestToStream(config, process.stdout, progress, stop);
      const { harvest } = await import('../harvest/harvest.js');
      for (const directory of await harvest(config, progress, stop)) print(directory);
    },
  },
  train: {
    summary:
      'Train a sparse autoencoder on activations: from a store, a stream, or a model that runs alongside. --recipe gated-sae has the settings of Rajamanoharan et al. 2024.',
    example:
      'sae-pipe train --arch gated --activations runs/acts/blocks.2.hook_resid_post --d-sae 1536 --l1 5 --tokens 2000000 --batch 1024 --lr 1e-3 --out runs/gated',
    load: async (given, file) => {
      const { trainConfig } = await import('../train/resumed-config.js');
      return trainConfig(given, file);
    },
    run: async (config, { progress, stop, print }) => {
      const { train } = await import('../train/train.js');
      const { withOneHook } = await import('../lm/chosen-hooks.js');
      print(await train(await withOneHook(config, stop), progress, stop));
    },
  },
  sweep: {
    summary:
      'Train many SAEs from one pass over the activations, one for every combination of lists of settings; evaluate and plot them together.',
    example: 'sae-pipe sweep --config configs/sweep-tiny.yaml',
    run: async (config, { progress, stop, print }, file) => {
      const { sweep } = await import('../sweep/sweep.js');
      const { recordTable } = await import('../eval/record-table.js');
      const { records, report } = await sweep(config, file, progress, stop);
      if (records.length > 0) print(recordTable(records));
      if (report) print(`Report: ${report}`);
    },
  },
  eval: {
    summary: 'Splice SAEs into the model and measure what they keep: loss recovered, L0, KL, explained variance, …',
    example:
      'sae-pipe eval --sae runs/gated --sae runs/standard --model assets/tiny-gemma --corpus assets/corpus/validation.jsonl.gz --tokens 50000 --context 256 --out runs/eval',
    run: async (config, { progress, stop, print }) => {
      const { evaluateOnce } = await import('../eval/evaluate.js');
      const { recordTable } = await import('../eval/record-table.js');
      const { withOneHook } = await import('../lm/chosen-hooks.js');
      print(recordTable(await evaluateOnce(await withOneHook(config, stop), progress, stop)));
    },
  },
  generate: {
    summary: 'Continue prompts with a model: greedily, or by temperature, top-k and top-p with a seed.',
    example:
      'sae-pipe generate --model assets/tiny-gemma --prompt "Once upon a time" --tokens 60 --temperature 0.8 --seed 1',
    run: async (config, terminal) => {
      const { generate } = await import('../generate/generate.js');
      await generate(config, terminal);
    },
  },
  steer: {
    summary:
      'Continue prompts with features of SAEs or transcoders set, raised, scaled or ablated, next to the unchanged continuation.',
    example:
      'sae-pipe steer --sae runs/gated --model assets/tiny-gemma --prompt "Once upon a time" --feature 17 --set 8 --logits',
    run: async (config, terminal) => {
      const { steer } = await import('../generate/steer.js');
      await steer(config, terminal);
    },
  },
  attribute: {
    summary: 'Show which features at which tokens made a next token likely, by gradient or by ablation.',
    example:
      'sae-pipe attribute --sae runs/gated --model assets/tiny-gemma --prompt "The receipts of the Treasury for the fiscal"',
    run: async (config, terminal) => {
      const { attribute } = await import('../generate/attribute.js');
      const { checkAttributionPage, writeAttributionPage } = await import('../report/attribution-page.js');
      await checkAttributionPage(config);
      await writeAttributionPage(await attribute(config, terminal), config);
    },
  },
  features: {
    summary:
      'Collect what every feature of SAEs responds to in a text: frequencies, examples, logits, nearest and co-firing features.',
    example:
      'sae-pipe features --sae runs/gated --model assets/tiny-gemma --corpus assets/corpus/validation.jsonl.gz --tokens 200000 --out runs/features',
    run: async (config, { progress, stop, print }) => {
      const { collectFeatures } = await import('../features/features.js');
      const { withOneHook } = await import('../lm/chosen-hooks.js');
      print(await collectFeatures(await withOneHook(config, stop), progress, stop));
    },
  },
  export: {
    summary:
      'Rewrite an SAE with the parameters of another architecture that computes the same function, for tools that support only that one.',
    example: 'sae-pipe export --sae runs/gated --as jumprelu --out runs/jumprelu',
    run: async (config, { progress, stop, print }) => {
      const { convertSae } = await import('../sae/published/convert-to.js');
      print(await convertSae({ ...config, offline: false }, progress, stop));
    },
  },
  convert: {
    summary:
      'Write an SAE, your own or a published one, in the layout of SAELens, Gemma Scope, dictionary_learning or sparsify.',
    example: 'sae-pipe convert runs/gated --as dictionary-learning --out runs/for-dictionary-learning',
    positional: 'sae',
    run: async (config, { progress, stop, print }) => {
      const { convertSae } = await import('../sae/published/convert-to.js');
      print(await convertSae(config, progress, stop));
    },
  },
  ls: {
    summary:
      'List the SAEs in a directory, a repository of the hub or a release, without reading or downloading weights.',
    example: 'sae-pipe ls gemma-scope-2b-pt-res-canonical',
    positional: 'where',
    run: async (config, { progress, stop, print }) => {
      const { listingTable, listSaes } = await import('../sae/published/list.js');
      const saes = await listSaes(config.where, config, progress, stop);
      print(config.json ? JSON.stringify(saes, null, 1) : listingTable(saes));
    },
  },
  push: {
    summary:
      'Upload an SAE with its evaluation, curve and a model card, or an activation store, to the Hugging Face hub.',
    example: 'sae-pipe push runs/gated OWNER/REPO/gated --evaluation runs/eval --license apache-2.0 --dry-run',
    positional: ['what', 'to'],
    run: async (config, terminal) => {
      const { push } = await import('../publish/push.js');
      await push(config, terminal);
    },
  },
  report: {
    summary: 'Draw an evaluation as one self-contained HTML file.',
    example: 'sae-pipe report runs/eval --out runs/report.html',
    positional: 'evaluation',
    run: async (config, { print }) => {
      const { writeReport } = await import('../report/report.js');
      print(await writeReport(config));
    },
  },
  status: {
    summary:
      'Show the state of all harvests, training runs, sweeps, evaluations and Slurm jobs below directories: done, running, stopped, failed.',
    example: 'sae-pipe status runs',
    positional: 'directories',
    run: async (config, { print }) => {
      const { requireNothingFailed, statusOf } = await import('../status/status.js');
      const { statusTable } = await import('../status/status-table.js');
      const status = await statusOf(config.directories);
      print(config.json ? JSON.stringify(status, null, 1) : statusTable(status));
      requireNothingFailed(status);
    },
  },
  watch: {
    summary: 'Show the training curves of a run, or of all runs below a directory, on a live page on 127.0.0.1.',
    example: 'sae-pipe watch runs',
    positional: 'directory',
    run: async (config, { stop, print }) => {
      const { watch } = await import('../watch/watch.js');
      await watch(config, stop, print);
    },
  },
  explore: {
    summary: 'Browse the features of SAEs: lists, search, examples, labels, and your own texts.',
    example: 'sae-pipe explore runs/features --model assets/tiny-gemma',
    positional: 'folder',
    run: async (config, terminal) => {
      const { explore } = await import('../explore/explore.js');
      await explore(config, terminal);
    },
  },
  labels: {
    summary: 'Print the labels of features, or import labels from Neuronpedia explanations.',
    example: 'sae-pipe labels runs/features --import explanations.jsonl.gz',
    positional: 'folder',
    run: async (config, terminal) => {
      const { labels } = await import('../explore/label-import.js');
      await labels(config, terminal);
    },
  },
  'export-features': {
    summary: 'Write the features of an SAE in the formats of Neuronpedia or sae-dashboard.',
    example: 'sae-pipe export-features runs/features --as neuronpedia --out runs/neuronpedia',
    positional: 'folder',
    run: async (config, { progress, stop, print }) => {
      const { exportFeatures } = await import('../explore/export-features.js');
      print(await exportFeatures(config, progress, stop));
    },
  },
  figure: {
    summary:
      'Draw one figure: an evaluation’s Pareto or shrinkage plot, a trained feature, the toy model of JumpReLU, or the paper’s curves on Gemma 7B.',
    example:
      'sae-pipe figure jump-relu --sae runs/gated --feature 12 --activations runs/acts/blocks.2.hook_resid_post --out feature.svg',
    positional: 'name',
    run: async (config, { progress, stop, print }) => {
      const { drawFigure } = await import('../report/draw-figure.js');
      print(await drawFigure(config, progress, stop));
    },
  },
  hooks: {
    summary: 'List the hook points of a model with their widths, from its config.json alone (no weights).',
    example: "sae-pipe hooks --model assets/tiny-gemma --hook 'blocks.*.hook_resid_post'",
    run: async (config, { stop, print }) => {
      const { hookTable } = await import('../lm/chosen-hooks.js');
      print(await hookTable(config, stop));
    },
  },
  inspect: {
    summary:
      'Show what the activations of a store look like: mean against spread (γ), norms, dominating dimensions and tokens, effective rank.',
    example: 'sae-pipe inspect runs/acts/blocks.2.hook_resid_post --model assets/tiny-gemma --out runs/acts.html',
    positional: 'store',
    run: async (config, { progress, stop, print }) => {
      const { inspectStore } = await import('../inspect/inspect.js');
      const { inspectionTable } = await import('../inspect/inspect-table.js');
      const found = await inspectStore(config, progress, stop);
      print(config.json ? JSON.stringify(found, null, 1) : inspectionTable(found));
    },
  },
  doctor: {
    summary:
      'Check what this machine has (execution providers, memory, disk) and whether a model, a harvest and an SAE fit it.',
    example: 'sae-pipe doctor --model assets/tiny-gemma --hook blocks.2.hook_resid_post --tokens 500000 --d-sae 1536',
    run: async (config, { progress, stop, print }) => {
      const { doctor, requireFit } = await import('../doctor/doctor.js');
      const { doctorTable } = await import('../doctor/doctor-table.js');
      const { withHooks } = await import('../lm/chosen-hooks.js');
      const report = await doctor(await withHooks(config, stop), progress, stop);
      print(config.json ? JSON.stringify(report, null, 1) : doctorTable(report));
      requireFit(report);
    },
  },
  submit: {
    summary:
      'Run another command as a Slurm job that resumes automatically after a time limit, a lost node or preemption; or a sweep as a chain of jobs.',
    example:
      'sae-pipe submit slurm --time 4:00:00 --cpus 16 --gres gpu:1 -- harvest --model assets/tiny-gemma --corpus assets/corpus/train.jsonl.gz --hook blocks.2.hook_resid_post --tokens 500000 --out runs/acts --device cuda',
    positional: ['scheduler', 'command'],
    file: 'chain',
    run: async (config, terminal, _file, configOf) => {
      const { submittedWork } = await import('./submitted.js');
      const { submit } = await import('../submit/submit.js');
      await submit(await submittedWork(config, configOf), config, terminal);
    },
  },
  demo: {
    summary:
      'The whole pipeline on the bundled model and text: harvest, train a gated and a standard SAE, evaluate, report, collect their features.',
    example: 'sae-pipe demo',
    run: async (config, terminal) => {
      const { demo } = await import('./demo.js');
      await demo(config, terminal);
    },
  },
};
