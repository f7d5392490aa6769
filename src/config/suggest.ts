import { flagsOf } from './flags.js';
import { flagFor } from './foreign-names.js';
import { nearest } from './nearest.js';
import { STAGES, type StageName } from './stages.js';

/** Commands by other names: those of their sections, of other tools, or of what they do. */
const COMMANDS_ELSEWHERE: Readonly<Record<string, StageName>> = {
  training: 'train',
  fit: 'train',
  evaluate: 'eval',
  evaluation: 'eval',
  evals: 'eval',
  cache: 'harvest',
  'cache-activations': 'harvest',
  collect: 'harvest',
  extract: 'harvest',
  convert: 'export',
  plot: 'figure',
  dashboard: 'watch',
  check: 'doctor',
};

/**
 * What to do about a flag or key that a stage does not have: the one that is meant, in its spelling here, or the commands
 * that have it.
 *
 * @param label how a name is written where this one stood
 */
export function insteadOfFlag(stage: StageName, name: string, label: (name: string) => string): string {
  const names = flagsOf(STAGES[stage]).map((flag) => flag.name);
  const foreign = flagFor(name, names);
  if (foreign && !names.some((known) => plain(known) === plain(name))) {
    return `Did you mean ${label(foreign.flag)}?${foreign.note === undefined ? '' : ` ${foreign.note}`}`;
  }
  const elsewhere = stagesWith(name);
  if (elsewhere.length > 0 && !names.some((known) => plain(known) === plain(name))) {
    return `It belongs to ${listed(elsewhere)}. See sae-pipe ${stage} --help.`;
  }
  return didYouMean(name, names, label) ?? `See sae-pipe ${stage} --help.`;
}

/** The command, or section of a configuration file, that is meant; undefined rather than a far guess. */
export function insteadOfStage(name: string): string | undefined {
  const meant = Object.hasOwn(COMMANDS_ELSEWHERE, name.toLowerCase()) && COMMANDS_ELSEWHERE[name.toLowerCase()];
  return meant ? `Did you mean ${meant}?` : didYouMean(name, Object.keys(STAGES));
}

/** `Did you mean x?`, where a name is near enough. */
export function didYouMean(
  wanted: string,
  names: readonly string[],
  label = (name: string) => name,
): string | undefined {
  const [near] = nearest(wanted, names, 1);
  return near === undefined ? undefined : `Did you mean ${label(near)}?`;
}

/** a, b and c. */
export function listed(names: readonly string[], last = 'and'): string {
  return names.length < 2 ? names.join('') : `${names.slice(0, -1).join(', ')} ${last} ${names.at(-1)}`;
}

const plain = (name: string) => name.toLowerCase().replace(/[-_]/g, '');

function stagesWith(name: string): string[] {
  const stages = Object.entries(STAGES).filter(([, schema]) =>
    flagsOf(schema).some((flag) => plain(flag.name) === plain(name)),
  );
  return stages.map(([stage]) => stage);
}
