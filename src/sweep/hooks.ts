import { readdir } from 'node:fs/promises';
import { loadConfig, section } from '../config/load.js';
import { UsageRefusal } from '../config/refusal.js';
import type { SweepConfig } from '../config/stages.js';
import { expandHooks } from '../lm/hook-names.js';
import { modelHooks } from '../lm/model-hooks.js';
import type { StopRequest } from '../progress/progress.js';

/** Where the SAEs of a sweep are trained. */
export interface SweepHooks {
  /** Hooks of the sweep. */
  readonly hooks: readonly string[];
  /** Every hook that a group of runs may name besides. */
  readonly known: readonly string[];
  /** The sweep's groups, their hooks as names. */
  readonly runs: SweepConfig['runs'];
}

/**
 * The hooks of a sweep as names. Patterns stand for the stores in `--activations`, else for the hooks of the harvest
 * section's model; those of a group of runs, for hooks of the sweep and of its file.
 *
 * @throws UsageRefusal when there is none, or a pattern matches none
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
    throw new UsageRefusal('No hook given for the sweep.', 'Give --hook, or a section harvest with one.');
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
  // A directory that is not there is refused where its stores are opened.
  if (config.activations !== undefined) return (await readdir(config.activations).catch(() => [])).sort();
  const source = loadConfig('harvest', { hook: '*', out: config.out }, file);
  return (await modelHooks(source, stop)).map(({ name }) => name);
}

/** A group of runs with the names that its `hook` stands for; what is no text is left to be refused. */
function withNames(known: readonly string[], hooks: readonly string[]) {
  return async (group: Record<string, unknown>): Promise<Record<string, unknown>> => {
    const given = [group.hook ?? []].flat();
    if (given.length === 0 || !given.every((hook) => typeof hook === 'string')) return group;
    return { ...group, hook: await expandHooks(given, async () => [...new Set([...hooks, ...known])]) };
  };
}
