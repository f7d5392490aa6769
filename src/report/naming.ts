import { flattened } from './configuration-keys.js';
import { familyOf } from './family.js';
import { exact } from './format.js';

/** What names an SAE: its place on disk, its site, and what its cfg.json says of how it was made. */
export interface Named {
  readonly sae: string;
  readonly site: string;
  readonly architecture: string;
  readonly cfg: Readonly<Record<string, unknown>>;
}

/** The words of a setting in a name: "λ 3", "1.5k features", "seed 1". */
interface Facet {
  /** Last parts of keys of cfg.json that hold it; the first that there is counts. */
  readonly keys: readonly string[];
  readonly say: (value: string) => string;
}

const number = (value: string) => (value !== '' && Number.isFinite(Number(value)) ? exact(Number(value)) : value);

/** Settings that a reader tells SAEs apart by, the more telling first; any other one follows these. */
const FACETS: readonly Facet[] = [
  { keys: ['l1', 'l1_coefficient'], say: (value) => `λ\u00a0${number(value)}` },
  { keys: ['d_sae'], say: (value) => `${number(value)} features` },
  { keys: ['k'], say: (value) => `k\u00a0${number(value)}` },
  { keys: ['seed'], say: (value) => `seed ${value}` },
  { keys: ['lr'], say: (value) => `lr ${number(value)}` },
  { keys: ['tokens'], say: (value) => `${number(value)} activations` },
  { keys: ['batch'], say: (value) => `batch ${number(value)}` },
];

/** Keys that say where an SAE lies, what it became or what it was checked by, or that follow from others. */
const NOT_SETTINGS =
  /(^|\.)(final|activations|source|text)\.|(^|\.)(arch|architecture|ablate|train|lambda|steps|activation_scale)$|sha256|fingerprint|hook_|model_name|version/;
/** A longer value is no name. */
const LONGEST_VALUE = 16;

const lastOf = (key: string) => key.slice(key.lastIndexOf('.') + 1);

/** Settings of cfg.json by the last part of their keys; ours, of training, before others of that name. */
function settingsOf(cfg: Readonly<Record<string, unknown>>): Map<string, string> {
  const found = new Map<string, string>();
  const all = [...flattened(cfg)].filter(([key]) => !NOT_SETTINGS.test(key));
  const ours = all.filter(([key]) => key.startsWith('metadata.sae_pipe.'));
  for (const [key, value] of [...ours, ...all]) if (!found.has(lastOf(key))) found.set(lastOf(key), value);
  return found;
}

/** λ, the sparsity coefficient that cfg.json records; NaN where it records none. */
export function lambdaOf(cfg: Readonly<Record<string, unknown>>): number {
  const settings = settingsOf(cfg);
  const value = FACETS[0]!.keys.map((key) => settings.get(key)).find((text) => text !== undefined);
  return value === undefined || value === '' || value === 'null' ? Number.NaN : Number(value);
}

/** The words of each facet for each SAE; null where it has none. Other settings than the known ones are "name value". */
function facetsOf(saes: readonly Named[]): (string | null)[][] {
  const settings = saes.map(({ cfg }) => settingsOf(cfg));
  const known = FACETS.flatMap(({ keys }) => keys);
  const others = [...new Set(settings.flatMap((own) => [...own.keys()]))].filter((key) => !known.includes(key)).sort();
  const facets = [
    ...FACETS,
    ...others.map((key): Facet => ({ keys: [key], say: (value) => `${key} ${number(value)}` })),
  ];
  const usable = (value: string | undefined): value is string =>
    value !== undefined && value !== 'null' && value !== '[]' && value.length <= LONGEST_VALUE;
  return facets.map(({ keys, say }) =>
    settings.map((own) => {
      const value = keys.map((key) => own.get(key)).find((text) => text !== undefined);
      return usable(value) ? say(value) : null;
    }),
  );
}

const clashes = (names: readonly string[], saes: readonly Named[]) => {
  const counts = new Map<string, number>();
  const keys = names.map((name, i) => JSON.stringify([saes[i]!.site, name]));
  for (const key of keys) counts.set(key, (counts.get(key) ?? 0) + 1);
  return keys.map((key) => counts.get(key)! > 1);
};

/**
 * Names SAEs by what differs between them: "gated, λ 3". Each has its family; λ where the SAEs differ in it; and of the
 * other settings as few as tell apart the SAEs of each site. What no setting tells apart is told apart by `tails`.
 *
 * @param tails the ends of the SAEs' paths, all different
 * @returns names that differ within each site
 */
export function namesByDifference(saes: readonly Named[], tails: readonly string[]): string[] {
  let names = saes.map((sae) => familyOf({ architecture: sae.architecture, cfg: sae.cfg as Record<string, unknown> }));
  const distinctSays = (says: readonly (string | null)[]) => new Set(says).size;
  for (const [i, says] of facetsOf(saes).entries()) {
    const clashing = clashes(names, saes);
    const isLambda = i === 0;
    if (!isLambda && !clashing.includes(true)) break;
    const longer = names.map((name, k) => (says[k] === null ? name : `${name}, ${says[k]}`));
    const fewer = clashes(longer, saes).filter(Boolean).length < clashing.filter(Boolean).length;
    if (fewer || (isLambda && distinctSays(says) > 1)) names = longer;
  }
  const clashing = clashes(names, saes);
  return names.map((name, i) => (clashing[i] ? `${name}, ${tails[i]}` : name));
}
