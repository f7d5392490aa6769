import { z } from 'zod';
import { listed } from '../config/suggest.js';
import { packagedFile } from '../disk/input-file.js';
import { checkJson, readTextFile } from '../disk/json.js';
import { Refusal } from '../errors/refusal.js';
import { type Point, paretoFigure } from './against-l0.js';
import { distinct, type Entry, styleOf } from './entries.js';
import { COMPARED } from './family-styles.js';
import { comparisonsOf, firingSentence, firingTable, overallSentence } from './firing-ratio.js';
import { fixed } from './numbers-and-axes.js';
import type { Markup } from './page.js';

/** A published SAE: a row of assets/paper/gemma-7b.csv, whose README explains the columns. */
export interface PublishedSae {
  arch: string;
  site: 'resid' | 'mlp_out' | 'attn_z';
  layer: number;
  l0: number;
  loss_recovered: number;
  gamma: number;
}

/** Names of references in figures. */
export const REFERENCE_NAMES = { 'paper-gemma-7b': 'Gemma 7B in the paper' } as const;
export type ReferenceName = keyof typeof REFERENCE_NAMES;

const REFERENCE_FILES: Record<ReferenceName, string> = { 'paper-gemma-7b': 'assets/paper/gemma-7b.csv' };

const csvNumber = z.coerce.number();
const publishedRow = z.object({
  arch: z.enum(COMPARED),
  site: z.enum(['resid', 'mlp_out', 'attn_z']),
  layer: csvNumber.int().nonnegative(),
  l0: csvNumber.positive(),
  loss_recovered: csvNumber,
  gamma: csvNumber,
}) satisfies z.ZodType<PublishedSae>;

/**
 * The rows of a table of published points, gated ones first. The table has no quoted cells.
 *
 * @throws Refusal if a column is missing or a cell is invalid
 */
export function publishedSaes(csv: string, path: string): PublishedSae[] {
  const [head = '', ...lines] = csv.trim().split(/\r?\n/);
  const columns = head.split(',');
  const rows = lines.map((line) => {
    const cells = line.split(',');
    // An empty cell would be parsed as 0.
    return Object.fromEntries(columns.map((column, i) => [column, cells[i] || undefined]));
  });
  const saes = checkJson(z.array(publishedRow), rows, path);
  return saes.sort((a, b) => COMPARED.indexOf(a.arch) - COMPARED.indexOf(b.arch));
}

/** The published points of a reference, from the package's file. */
export async function readReference(name: ReferenceName): Promise<PublishedSae[]> {
  const path = packagedFile(REFERENCE_FILES[name]);
  const csv = await readTextFile(path);
  if (csv === null)
    throw new Refusal(`${path} is missing.`, 'Reinstall the package, which contains this file.', 'report/no-reference');
  return publishedSaes(csv, path);
}

/** TransformerLens's name of a published SAE's hook. */
export function hookOf({ site, layer }: PublishedSae): string {
  const hooks = { resid: 'hook_resid_post', mlp_out: 'hook_mlp_out', attn_z: 'attn.hook_z' };
  return `blocks.${layer}.${hooks[site]}`;
}

/** Published SAEs as points of a figure, faint ones in the panels `sites` (by hook). */
export function referencePoints(
  saes: readonly PublishedSae[],
  sites: ReadonlyMap<string, readonly string[]>,
  quantity: 'loss_recovered' | 'gamma',
  name: string,
): Point[] {
  return saes.flatMap((sae) =>
    (sites.get(hookOf(sae)) ?? []).map((site) => ({
      site,
      family: sae.arch,
      style: styleOf(sae.arch, []),
      l0: sae.l0,
      value: sae[quantity],
      name: `${sae.arch}, ${name}`,
      label: `${sae.arch} ${fixed(sae.l0, 1)}`,
      index: null,
    })),
  );
}

/** The panels of a report by hook: several if several models share a hook. */
export function sitesByHook(entries: readonly Entry[]): Map<string, string[]> {
  const hooks = distinct(entries.map(({ record }) => record.hook));
  return new Map(
    hooks.map((hook) => [hook, distinct(entries.filter(({ record }) => record.hook === hook).map(({ site }) => site))]),
  );
}

/** @throws Refusal if the reference has no points at any of the report's hooks */
export function checkReference(saes: readonly PublishedSae[], entries: readonly Entry[], name: ReferenceName): void {
  const hooks = distinct(saes.map(hookOf));
  if (entries.some(({ record }) => hooks.includes(record.hook))) return;
  throw new Refusal(
    `${name} has no points for ${listed(distinct(entries.map(({ record }) => record.hook)))}; it has ${listed(hooks)}.`,
    'Omit --reference.',
    'report/reference-hooks',
  );
}

/** The paper's figure 1, redrawn: the figure, its firing ratios, and sentences about them. */
interface PaperFigure {
  svg: Markup;
  table: Markup | null;
  sentences: string[];
}

const SITE_TITLES = { resid: 'Residual stream', attn_z: 'Attention output before W_O', mlp_out: 'MLP output' } as const;
const SITE_ORDER = ['resid', 'attn_z', 'mlp_out'] as const;

/** The published points as the points of a report: not faint, since there are no others. */
function ownPoints(saes: readonly PublishedSae[]): Point[] {
  const ordered = [...saes].sort(
    (a, b) => SITE_ORDER.indexOf(a.site) - SITE_ORDER.indexOf(b.site) || a.layer - b.layer,
  );
  return ordered.flatMap((sae, index) => {
    const site = `${SITE_TITLES[sae.site]}, layer ${sae.layer}`;
    return referencePoints([sae], new Map([[hookOf(sae), [site]]]), 'loss_recovered', 'Gemma 7B').map((point) => ({
      ...point,
      index,
    }));
  });
}

/** Loss recovered against L0 of the paper's SAEs on Gemma 7B, by site and layer, from its published numbers alone. */
export function paperFigure(saes: readonly PublishedSae[]): PaperFigure {
  const points = ownPoints(saes);
  const comparisons = comparisonsOf(points);
  const ratios = new Map(
    comparisons.flatMap(({ site, result }) =>
      result.kind === 'ratio' ? [[site, fixed(result.mean, 2)] as const] : [],
    ),
  );
  const note = (site: string) => (ratios.has(site) ? `firing ratio ${ratios.get(site)}` : undefined);
  const overall = overallSentence(comparisons);
  return {
    svg: paretoFigure(points, { title: 'Gated and standard SAEs on Gemma 7B, as published', note }),
    table: firingTable(comparisons),
    sentences: [...comparisons.map(firingSentence), ...(overall === null ? [] : [overall])],
  };
}
