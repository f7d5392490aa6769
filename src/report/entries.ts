import type { EvalRecord } from '../eval/record.js';
import type { MetricsRecord } from '../sae/training-curve.js';
import { trainingRecordOf } from '../sae/training-record.js';
import { middleCut } from './chart.js';
import { familyOf, MAIN_FAMILIES, STYLES } from './family-styles.js';
import { exact } from './numbers-and-axes.js';

/** The data needed to name and order an SAE. L0 is NaN if it was not evaluated. */
export type Subject = Pick<EvalRecord, 'sae' | 'architecture' | 'hook' | 'model' | 'l0' | 'cfg'>;

/** An SAE, evaluated or still in training, as displayed on a page. */
export interface Placed<S extends Subject = Subject> {
  record: S;
  /** Empty if there is none. */
  curve: readonly MetricsRecord[];
  /** Its index on the page; the same in every figure. */
  index: number;
  /** Distinguishes it from others at its hook: "gated, λ 3". */
  name: string;
  /** The name, truncated in the middle if too long for a figure. */
  label: string;
  /** The name, with its hook if the page has several. */
  fullName: string;
  /** Sparsity coefficient used in training; NaN if its cfg.json has none. */
  lambda: number;
  /** Where it was measured: the hook, preceded by the model if there are several models. */
  site: string;
  /** Its family: its architecture, and how it was made if unusual. */
  family: string;
  /** Colour and symbol of its family. */
  style: number;
  /** Position on a colour ramp, 0 to 1, if SAEs differ in a setting rather than the family; otherwise null. */
  tone: number | null;
  /** 1 for the largest L0 of its family and hook, less for the others: opacity of its lines. */
  strength: number;
}

/** An evaluated SAE in the report. */
export type Entry = Placed<EvalRecord>;

/** Max length of a name in a figure (characters). */
const LONGEST_LABEL = 36;

function shortened(name: string): string {
  return [...name].length <= LONGEST_LABEL ? name : middleCut(name, LONGEST_LABEL - 1);
}

/** Numbers repeated names: a, a (2), a (3). */
function numbered(names: readonly string[]): string[] {
  const used = new Set<string>();
  return names.map((name) => {
    let candidate = name;
    for (let k = 2; used.has(candidate); k++) candidate = `${name} (${k})`;
    used.add(candidate);
    return candidate;
  });
}

/** The shortest distinguishing suffixes of the paths; equal paths are numbered. */
export function distinctNames(paths: readonly string[]): string[] {
  const unlike = distinct(paths);
  const names = tails(unlike);
  return numbered(paths.map((path) => names[unlike.indexOf(path)]!));
}

/** As many trailing components of each path as needed to distinguish it. */
function tails(paths: readonly string[]): string[] {
  const segments = paths.map((path) => path.split(/[/\\]+/).filter((segment) => segment !== ''));
  const depths = paths.map(() => 1);
  const tail = (i: number) => segments[i]!.slice(-depths[i]!).join('/') || paths[i]!;
  for (;;) {
    const names = paths.map((_, i) => tail(i));
    const clashing = names.map((name, i) => names.indexOf(name) !== i || names.lastIndexOf(name) !== i);
    const longer = clashing.map((clash, i) => clash && depths[i]! < segments[i]!.length);
    if (!longer.includes(true)) return names;
    for (const [i, grow] of longer.entries()) if (grow) depths[i]!++;
  }
}

/** Names truncated for a figure, and numbered if no longer distinct within a hook. */
function labelsOf(names: readonly string[], sites: readonly string[]): string[] {
  const labels = names.map(shortened);
  for (const site of distinct(sites)) {
    const own = sites.flatMap((other, i) => (other === site ? [i] : []));
    for (const [k, label] of numbered(own.map((i) => labels[i]!)).entries()) labels[own[k]!] = label;
  }
  return labels;
}

/** The distinct values, in order of first appearance. */
export function distinct<T>(values: Iterable<T>): T[] {
  return [...new Set(values)];
}

/** The main families have fixed styles on every page; the others share the rest, in alphabetical order. */
export function styleOf(family: string, others: readonly string[]): number {
  const main = MAIN_FAMILIES.indexOf(family);
  return main >= 0 ? main : MAIN_FAMILIES.length + (others.indexOf(family) % (STYLES - MAIN_FAMILIES.length));
}

function familyOrder(family: string): string {
  return `${MAIN_FAMILIES.indexOf(family) + 1 || MAIN_FAMILIES.length + 1}${family}`;
}

const compareText = (a: string, b: string) => (a < b ? -1 : a > b ? 1 : 0);

/** Names the SAEs and sorts them for the page: by hook, family, and descending L0. */
export function entriesOf<S extends Subject>(saes: readonly Pick<Placed<S>, 'record' | 'curve'>[]): Placed<S>[] {
  const records = saes.map(({ record }) => record);
  const severalModels = distinct(records.map(({ model }) => model)).length > 1;
  const sites = records.map(({ model, hook }) => (severalModels ? `${model} ${hook}` : hook));
  const severalSites = distinct(sites).length > 1;
  const names = namesByDifference(
    records.map(({ sae, architecture, cfg }, i) => ({ sae, architecture, cfg, site: sites[i]! })),
    distinctNames(records.map(({ sae }) => sae)),
  );
  const labels = labelsOf(names, sites);
  const others = distinct(records.map(familyOf))
    .filter((family) => !MAIN_FAMILIES.includes(family))
    .sort();
  const size = (value: number) => (Number.isFinite(value) ? value : -1);
  const entries = saes.map(({ record, curve }, i) => ({
    record,
    curve,
    index: 0,
    name: names[i]!,
    label: labels[i]!,
    fullName: severalSites ? `${names[i]} at ${sites[i]}` : names[i]!,
    lambda: recordedLambda(record.cfg),
    site: sites[i]!,
    family: familyOf(record),
    style: styleOf(familyOf(record), others),
    tone: null as number | null,
    strength: 1,
  }));
  entries.sort(
    (a, b) =>
      compareText(a.site, b.site) ||
      compareText(familyOrder(a.family), familyOrder(b.family)) ||
      size(b.record.l0) - size(a.record.l0) ||
      size(a.lambda) - size(b.lambda) ||
      compareText(a.name, b.name),
  );
  for (const [index, entry] of entries.entries()) {
    const alike = entries.filter((other) => sameFamily(other, entry));
    entry.index = index;
    entry.strength = 1 - (0.5 * alike.indexOf(entry)) / Math.max(3, alike.length - 1);
  }
  toneByDifference(entries);
  return entries;
}

/** With fewer SAEs per family than this, line opacity distinguishes them. */
const FEWEST_TONES = 3;

/**
 * Colours should show differences: a single family would have only one colour, so its SAEs share a ramp, by λ and name.
 */
function toneByDifference(entries: Placed[]): void {
  if (distinct(entries.map(({ family }) => family)).length > 1) return;
  const ordered = [...entries].sort((a, b) => (a.lambda || 0) - (b.lambda || 0) || compareText(a.name, b.name));
  const names = distinct(ordered.map(({ name }) => name));
  if (names.length < FEWEST_TONES) return;
  for (const entry of entries) {
    entry.tone = names.indexOf(entry.name) / (names.length - 1);
    entry.strength = 1;
  }
}

/** Do SAEs belong to one family at one hook, and so to one trade-off curve? */
function sameFamily(a: Placed, b: Placed): boolean {
  return a.site === b.site && a.family === b.family;
}

/** The families, in the page's order. */
export function families<S extends Subject>(entries: readonly Placed<S>[]): Placed<S>[][] {
  return entries
    .filter((entry, i) => entries.findIndex((other) => sameFamily(other, entry)) === i)
    .map((first) => entries.filter((entry) => sameFamily(entry, first)));
}

/** Identifies an SAE: its path, its hook, and the settings in its cfg.json. */
interface Named {
  readonly sae: string;
  readonly site: string;
  readonly architecture: string;
  readonly cfg: Readonly<Record<string, unknown>>;
}

/** A setting in a name: "λ 3", "1.5k features", "seed 1". */
interface Facet {
  /** Last parts of the cfg.json keys that contain it; the first existing one is used. */
  readonly keys: readonly string[];
  readonly say: (value: string) => string;
}

const shownNumber = (value: string) => (value !== '' && Number.isFinite(Number(value)) ? exact(Number(value)) : value);

/** Settings used to distinguish SAEs, most informative first; others follow. */
const FACETS: readonly Facet[] = [
  { keys: ['l1', 'l1_coefficient'], say: (value) => `λ\u00a0${shownNumber(value)}` },
  { keys: ['l0'], say: (value) => `L0\u00a0target\u00a0${shownNumber(value)}` },
  { keys: ['d_sae'], say: (value) => `${shownNumber(value)} features` },
  { keys: ['k'], say: (value) => `k\u00a0${shownNumber(value)}` },
  { keys: ['seed'], say: (value) => `seed ${value}` },
  { keys: ['lr'], say: (value) => `lr ${shownNumber(value)}` },
  { keys: ['tokens'], say: (value) => `${shownNumber(value)} activations` },
  { keys: ['batch'], say: (value) => `batch ${shownNumber(value)}` },
];

/** Keys for an SAE's location, results or checks, or that follow from others. */
const NOT_SETTINGS =
  /(^|\.)(final|activations|source|text)\.|(^|\.)(arch|architecture|ablate|train|start|lambda|steps|activation_scale)$|sha256|fingerprint|hook_|model_name|version/;
/** Longer values are not used in names. */
const LONGEST_VALUE = 16;

const lastPart = (key: string) => key.slice(key.lastIndexOf('.') + 1);

/** Settings of cfg.json by the last part of their keys; our own training settings take precedence. */
function cfgSettings(cfg: Readonly<Record<string, unknown>>): Map<string, string> {
  const found = new Map<string, string>();
  const all = [...flattened(cfg)].filter(([key]) => !NOT_SETTINGS.test(key));
  const ours = all.filter(([key]) => key.startsWith('metadata.sae_pipe.'));
  for (const [key, value] of [...ours, ...all]) if (!found.has(lastPart(key))) found.set(lastPart(key), value);
  // λ was adjusted to it, starting from l1.
  if (trainingRecordOf(cfg).l0 !== undefined) found.delete('l1');
  return found;
}

/** λ, the sparsity coefficient recorded in cfg.json; NaN if none. */
export function recordedLambda(cfg: Readonly<Record<string, unknown>>): number {
  const settings = cfgSettings(cfg);
  const { l0, lambda } = trainingRecordOf(cfg);
  if (l0 !== undefined) return lambda ?? Number.NaN;
  const value = FACETS[0]!.keys.map((key) => settings.get(key)).find((text) => text !== undefined);
  return value === undefined || value === '' || value === 'null' ? Number.NaN : Number(value);
}

/** The text of each facet for each SAE; null if it has none. Unknown settings are "name value". */
function facetsOf(saes: readonly Named[]): (string | null)[][] {
  const settings = saes.map(({ cfg }) => cfgSettings(cfg));
  const known = FACETS.flatMap(({ keys }) => keys);
  const others = [...new Set(settings.flatMap((own) => [...own.keys()]))].filter((key) => !known.includes(key)).sort();
  const facets = [
    ...FACETS,
    ...others.map((key): Facet => ({ keys: [key], say: (value) => `${key} ${shownNumber(value)}` })),
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
 * Names SAEs by their differences: "gated, λ 3". Each name has the family; λ if the SAEs differ in it; and as few other
 * settings as needed to distinguish the SAEs at each hook. SAEs with equal settings are distinguished by `tails`.
 *
 * @param tails distinct suffixes of the SAEs' paths
 * @returns names that are distinct within each hook
 */
function namesByDifference(saes: readonly Named[], tails: readonly string[]): string[] {
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

/** Flattens a nested object to dotted keys and the JSON of its leaves; arrays are leaves. */
export function flattened(value: Readonly<Record<string, unknown>>, prefix = ''): Map<string, string> {
  const leaves = new Map<string, string>();
  for (const [key, child] of Object.entries(value)) {
    const path = `${prefix}${key}`;
    if (typeof child === 'object' && child !== null && !Array.isArray(child)) {
      for (const [leaf, text] of flattened(child as Record<string, unknown>, `${path}.`)) leaves.set(leaf, text);
    } else leaves.set(path, typeof child === 'string' ? child : JSON.stringify(child));
  }
  return leaves;
}
