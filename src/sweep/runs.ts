import { basename, dirname, join } from 'node:path';
import { hooksIn, storesOfHook } from '../activations/find-stores.js';
import { section } from '../config/config-file.js';
import { flagsOf } from '../config/flags.js';
import { loadConfig } from '../config/load.js';
import { USUAL_L1 } from '../config/stages/shared-flags.js';
import type { SweepConfig } from '../config/stages/sweep.js';
import { type TrainConfig, trainSchema } from '../config/stages/train.js';
import { insteadOfFlag } from '../config/suggest.js';
import { UsageRefusal } from '../errors/refusal.js';
import { expandHooks, modelHooks } from '../lm/chosen-hooks.js';
import type { StopRequest } from '../progress/progress.js';
import { trainingOf } from '../sae/registry.js';
import { checkFlags } from '../train/run-settings.js';
import { checkResampleSteps } from '../train/schedule.js';

/** One SAE of a sweep. */
export interface SweepRun {
  /** Unique in the sweep: its directory below OUT/saes. */
  readonly name: string;
  readonly config: TrainConfig;
}

/** Flags included in every run's name, in order. */
const NAMED = ['arch', 'd-sae', 'l1', 'l0', 'seed'];
/** Flags that the sweep itself sets. */
const OWN = ['activations', 'target', 'out', 'overwrite', 'resume', 'take-over', 'log-dir'];

/**
 * One thread: several SAEs are trained at a time on several cores. No state: it takes twice as much disk space as the
 * SAEs.
 */
const DEFAULTS = { threads: 1, 'discard-state': true };

/** Max runs of a sweep: lists multiply, and a directory name for each is held in memory. */
const MOST_RUNS = 10_000;

/**
 * The runs of a sweep: every combination of its lists, at every hook, with the file's train section as defaults. A
 * group under `runs` has its own lists, which take precedence, and may have its own hooks; if those are not among the
 * sweep's, its runs are left out.
 *
 * @param hooks of the sweep
 * @param file the configuration file with the sections sweep and train
 * @param known every hook that a group may use besides `hooks`; none: any
 * @throws UsageRefusal if a list or a value is not valid for `train`, or no run is left
 */
export function sweepRuns(
  config: SweepConfig,
  hooks: readonly string[],
  stores: string,
  file?: string,
  known: readonly string[] = [],
): SweepRun[] {
  const lists = listsOf({ arch: config.arch, 'd-sae': config.dSae, l1: config.l1, l0: config.l0, seed: config.seed });
  const groups = (config.runs ?? [{}]).map(({ hook, ...group }) => ({
    hooks: hook === undefined ? hooks : hooksOf(hook),
    flags: { ...lists, ...listsOf(group) },
  }));
  for (const name of groups.flatMap(({ flags }) => Object.keys(flags))) checkFlag(name);
  const count = groups.reduce((sum, { hooks, flags }) => sum + hooks.length * combinationsOf(flags), 0);
  if (count > MOST_RUNS) {
    throw new UsageRefusal(
      `The sweep has ${count} runs, but at most ${MOST_RUNS} are supported.`,
      'Shorten its lists.',
      'sweep/too-many-runs',
    );
  }
  // The sweep's own harvest is a single directory, whatever characters are in its name.
  const storesAt = (hook: string) =>
    config.activations === undefined ? join(stores, hook) : storesOfHook(config.activations, hook);
  const runs: SweepRun[] = [];
  for (const { hook, flags } of groups.flatMap(({ hooks, flags }) => hooks.map((hook) => ({ hook, flags })))) {
    if (!hooks.includes(hook)) {
      if (known.length === 0 || known.includes(hook)) continue;
      throw new UsageRefusal(
        `A group of the sweep is at ${hook}, which is not one of its hooks.`,
        `They are ${[...new Set([...known, ...hooks])].join(', ')}.`,
        'sweep/group-hook',
      );
    }
    for (const values of combinations(flags)) {
      const own = { activations: storesAt(hook), out: config.out, ...unlessSaid(file) };
      const takeOver = config.takeOver;
      const loaded = withTarget(loadConfig('train', { ...own, ...values }, file), hook, storesAt);
      const name = join(hook, runName(loaded, values));
      if (runs.some((run) => run.name === name)) {
        throw new UsageRefusal(
          `The sweep contains ${name} twice.`,
          'Remove one of the equal values.',
          'sweep/value-twice',
        );
      }
      if (loaded.logDir !== undefined) throw setsItself('log-dir');
      // Before anything is harvested.
      checkFlags(loaded);
      checkResampleSteps(loaded);
      const logDir = config.logDir === undefined ? undefined : join(config.logDir, name);
      const out = join(config.out, 'saes', name);
      runs.push({ name, config: { ...loaded, out, logDir, resume: true, takeOver } });
    }
  }
  if (runs.length === 0) {
    const named = [...new Set(groups.flatMap((group) => group.hooks))];
    throw new UsageRefusal(
      `The sweep has no run at ${hooks.join(', ')}.`,
      `Its groups are at ${named.join(', ')}.`,
      'sweep/hook-without-run',
    );
  }
  // Grouped by hook, so that runs that read the same rows are adjacent.
  runs.sort((a, b) => hooks.indexOf(dirname(a.name)) - hooks.indexOf(dirname(b.name)));
  return runs;
}

/** Hooks of a group, one or a list. */
function hooksOf(value: unknown): string[] {
  const hooks = [value].flat();
  if (hooks.every((hook) => typeof hook === 'string')) return hooks;
  throw new UsageRefusal(
    '`hook` in a sweep group must be a string.',
    'Give the name of a hook point.',
    'sweep/group-hook',
  );
}

/** Defaults of every run, below the train section. */
function unlessSaid(file: string | undefined): Record<string, unknown> {
  const said = file === undefined ? {} : section(file, 'train');
  return Object.fromEntries(Object.entries(DEFAULTS).filter(([flag]) => !(flag in said)));
}

/** Every value as a list; a missing one is an empty list. */
function listsOf(values: Readonly<Record<string, unknown>>): Record<string, readonly unknown[]> {
  const said = Object.entries(values).filter(([, value]) => value !== undefined);
  return Object.fromEntries(said.map(([flag, value]) => [flag, Array.isArray(value) ? value : [value]]));
}

function checkFlag(name: string): void {
  const flags = flagsOf(trainSchema).map((flag) => flag.name);
  if (OWN.includes(name)) throw setsItself(name);
  if (flags.includes(name)) return;
  throw new UsageRefusal(
    `train has no flag "${name}".`,
    insteadOfFlag('train', name, (near) => near),
    'config/unknown-flag',
  );
}

function setsItself(name: string): UsageRefusal {
  return new UsageRefusal(
    `A sweep sets ${name} for each run itself.`,
    name === 'target'
      ? 'Give the hook of the target with hook-out.'
      : `Remove it${name === 'log-dir' ? ' from the train section, and give it to the sweep' : ''}.`,
    'sweep/flag-of-runs',
  );
}

/**
 * A run with a `hook-out`, with the store of that hook as its target. In its name, * stands for the layer of the input
 * hook: one group makes transcoders of several layers.
 *
 * @throws UsageRefusal if --target is given, or the input hook has no layer for *
 */
function withTarget(
  { hookOut, ...config }: TrainConfig,
  hook: string,
  storesAt: (hook: string) => string,
): TrainConfig {
  if (config.target !== undefined) throw setsItself('target');
  if (hookOut === undefined) return config;
  return { ...config, target: storesAt(hookOfLayer(hookOut, hook)) };
}

function hookOfLayer(hookOut: string, hook: string): string {
  if (!hookOut.includes('*')) return hookOut;
  const layer = /^blocks\.(\d+)\./.exec(hook)?.[1];
  if (layer !== undefined && /^blocks\.\*\.[^*]+$/.test(hookOut)) return hookOut.replace('*', layer);
  throw new UsageRefusal(
    `--hook-out ${hookOut} should be in the layer of ${hook}, but one of the two has no layer.`,
    'Write it as blocks.*.SITE, with a hook inside a block, or give the full name of the hook.',
    'sweep/target',
  );
}

/** Number of combinations. */
function combinationsOf(lists: Readonly<Record<string, readonly unknown[]>>): number {
  return Object.values(lists).reduce((product, { length }) => product * length, 1);
}

/** Every combination of one value from each list, the last list varying fastest. */
function combinations(lists: Readonly<Record<string, readonly unknown[]>>): Record<string, unknown>[] {
  return Object.entries(lists).reduce<Record<string, unknown>[]>(
    (before, [flag, values]) => before.flatMap((chosen) => values.map((value) => ({ ...chosen, [flag]: value }))),
    [{}],
  );
}

/** gated_d-sae-1536_l1-5_seed-0, plus any other settings of a group. */
function runName(config: TrainConfig, values: Readonly<Record<string, unknown>>): string {
  const others = Object.keys(values).filter((flag) => !NAMED.includes(flag));
  const { penalised, usualL1 } = trainingOf(config.arch);
  const { l1, l0 } = config;
  const parts = [`d-sae-${config.dSae}`];
  // If λ is adjusted, its initial value is not informative.
  if (penalised && (l0 === undefined || 'l1' in values)) parts.push(`l1-${l1 ?? (usualL1 ? 'default' : USUAL_L1)}`);
  if (l0 !== undefined) parts.push(`l0-${l0}`);
  parts.push(`seed-${config.seed}`);
  for (const flag of others) {
    // The last component of a path is enough.
    const value = [values[flag]].flat().map((one) => basename(String(one)));
    parts.push(`${flag}-${value.join('+')}`);
  }
  return [config.arch, ...parts].join('_').replace(/[^\w.+-]/g, '-');
}

/** Where the SAEs of a sweep are trained. */
interface SweepHooks {
  /** Hooks of the sweep. */
  readonly hooks: readonly string[];
  /** Every hook that a group of runs may use in addition. */
  readonly known: readonly string[];
  /** The sweep's groups, with hook patterns expanded. */
  readonly runs: SweepConfig['runs'];
}

/**
 * The hooks of a sweep, with patterns expanded: against the stores in `--activations`, otherwise against the hooks of
 * the harvest section's model; those of a group of runs, against hooks of the sweep and its file.
 *
 * @throws UsageRefusal if there is none, or a pattern matches none
 */
export async function sweepHooks(
  config: SweepConfig,
  file: string | undefined,
  stop: StopRequest,
): Promise<SweepHooks> {
  const named = (stage: 'harvest' | 'sweep') =>
    file === undefined ? [] : [section(file, stage).hook ?? []].flat().map(String);
  const given = config.hook ?? named('harvest');
  if (given.length === 0) {
    throw new UsageRefusal(
      'No hook given for the sweep.',
      'Give --hook, or a section harvest with one.',
      'sweep/no-hook',
    );
  }
  let names: Promise<readonly string[]> | undefined;
  const all = () => {
    names ??= hooksThere(config, file, stop);
    return names;
  };
  const hooks = await expandHooks(given, all);
  const others = [...named('harvest'), ...named('sweep')];
  const known = others.length === 0 ? [] : await expandHooks(others, all);
  return { hooks, known, runs: config.runs && (await Promise.all(config.runs.map(withNames(known, hooks)))) };
}

async function hooksThere(
  config: SweepConfig,
  file: string | undefined,
  stop: StopRequest,
): Promise<readonly string[]> {
  if (config.activations !== undefined) return hooksIn(config.activations);
  const source = loadConfig('harvest', { hook: '*', out: config.out }, file);
  return (await modelHooks(source, stop)).map(({ name }) => name);
}

/** A group of runs with its `hook` expanded; a value that is not a string is left to be refused. */
function withNames(known: readonly string[], hooks: readonly string[]) {
  return async (group: Record<string, unknown>): Promise<Record<string, unknown>> => {
    const given = [group.hook ?? []].flat();
    if (given.length === 0 || !given.every((hook) => typeof hook === 'string')) return group;
    return { ...group, hook: await expandHooks(given, async () => [...new Set([...hooks, ...known])]) };
  };
}
