import { readdir, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { Refusal } from '../../errors/refusal.js';
import { hubSettings } from '../../hub/request.js';
import type { Progress, StopRequest } from '../../progress/progress.js';
import { NOTHING_BEGUN, throwIfStopped } from '../../progress/stop.js';
import { openSae } from '../saelens.js';
import { belowDirectory } from './hub.js';
import { baseName, folderOf, joined } from './layout.js';
import { type FoundSae, findLayout } from './layouts.js';
import type { SaeSource } from './open.js';
import { saeReference } from './reference.js';
import { isRelease, saesOfRelease } from './releases.js';

/** An SAE as described by names, configurations and headers; no weights are read or downloaded. */
export interface ListedSae {
  /** A reference for `--sae`. */
  readonly sae: string;
  readonly layout: string | null;
  readonly architecture: string | null;
  readonly d_in: number | null;
  readonly d_sae: number | null;
  readonly hook: string | null;
  /** According to its publisher. */
  readonly l0: number | null;
}

const UNKNOWN = { layout: null, architecture: null, d_in: null, d_sae: null, hook: null, l0: null };

/** For a local directory: max depth of the search, and max number of entries. */
const [MOST_LEVELS, MOST_ENTRIES] = [8, 100_000];

/** A file that is an SAE by itself; other SAEs have a folder each. */
const ALONE = /^(layer\d+\.sae\.pt|layer_\d+\.safetensors)$/;

/**
 * The SAEs in a directory, in a hub repository or a folder of it, or in a release of SAELens's list.
 *
 * @throws Refusal if there is no such place
 */
export async function listSaes(
  where: string,
  source: SaeSource,
  progress: Progress,
  stop: StopRequest,
): Promise<ListedSae[]> {
  const here = await stat(where).catch(() => undefined);
  if (!here && (await isRelease(where))) {
    return (await saesOfRelease(where)).map(({ id, l0 }) => ({ ...UNKNOWN, sae: `${where}:${id}`, l0: l0 ?? null }));
  }
  const reference = await saeReference(where);
  if (reference.kind === 'local') return listHere(where, stop);
  const { repository: model, revision, path } = reference;
  const settings = source.settings ?? (await hubSettings(process.env, source.offline));
  if (settings.offline) {
    throw new Refusal(
      `${where} is on the hub, which --offline or HF_HUB_OFFLINE disables.`,
      'Run it without them; a directory or a release is listed offline.',
      'hub/not-cached',
    );
  }
  const { repositoryFiles } = await import('../../hub/download-chosen.js');
  progress.begin(`listing ${model}`, 1, 'file');
  const names = new Set(await repositoryFiles({ model, revision }, path, settings, stop));
  progress.end();
  const found = await placesAmong(names, async (name) => names.has(name));
  const at = where.includes('@') ? `${model}@${revision.replaceAll('/', '%2F')}` : model;
  return found.map(([place, sae]) => ({
    ...UNKNOWN,
    sae: joined(at, place),
    layout: sae?.layout.name ?? null,
    l0: toldL0(place),
  }));
}

/** L0, if it is part of the folder's name. */
function toldL0(path: string): number | null {
  const l0 = /average_l0_(\d+)/.exec(path)?.[1] ?? /-L0_(\d+)/.exec(path)?.[1];
  return l0 === undefined ? null : Number(l0);
}

/** Locations that contain an SAE, in order; undefined if its layout cannot be represented exactly. */
async function placesAmong(
  names: Iterable<string>,
  has: (name: string) => Promise<boolean>,
): Promise<[place: string, found: FoundSae | undefined][]> {
  const places = new Set<string>();
  for (const name of names) places.add(ALONE.test(baseName(name)) ? name : folderOf(name));
  const found: [string, FoundSae | undefined][] = [];
  for (const path of [...places].sort()) {
    try {
      const sae = await findLayout({ path, has }, path);
      if (sae) found.push([path, sae]);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      found.push([path, undefined]);
    }
  }
  return found;
}

async function listHere(where: string, stop: StopRequest): Promise<ListedSae[]> {
  const root = resolve(where);
  const { has } = belowDirectory(root, '');
  const names: string[] = [];
  await walk(root, '', 0, names, stop);
  const listed: ListedSae[] = [];
  for (const [place, found] of await placesAmong(names, has)) {
    listed.push({
      ...UNKNOWN,
      sae: join(where, place),
      l0: toldL0(place),
      ...(found && (await described(root, found))),
    });
  }
  return listed;
}

/** Files below a directory; links to directories are not followed. */
async function walk(root: string, path: string, level: number, names: string[], stop: StopRequest): Promise<void> {
  throwIfStopped(stop, NOTHING_BEGUN);
  for (const entry of await readdir(join(root, path), { withFileTypes: true }).catch(() => [])) {
    const name = joined(path, entry.name);
    if (!entry.isDirectory()) names.push(name);
    else if (level < MOST_LEVELS) await walk(root, name, level + 1, names, stop);
    if (names.length <= MOST_ENTRIES) continue;
    throw new Refusal(
      `${root} has more than ${MOST_ENTRIES} files.`,
      'Give a directory further down.',
      'sae/not-an-sae',
    );
  }
}

/** Information in configuration and headers; only the layout if they are damaged. */
async function described(root: string, { layout, files }: FoundSae): Promise<Partial<ListedSae>> {
  const paths = Object.fromEntries(Object.entries(files).map(([role, path]) => [role, join(root, path)]));
  try {
    const name = paths.weights!;
    const read = await layout.read({ files: paths, name });
    const sae = read ?? (await openSae(join(root, folderOf(files.weights!)), 'transcoder'));
    const { architecture, dIn, dSae, metadata } = sae;
    const shown = sae.transcoder ? `${architecture} transcoder` : architecture;
    const { hook_name: hook = null } = metadata;
    return { layout: layout.name, architecture: shown, d_in: dIn, d_sae: dSae, hook };
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    return { layout: layout.name };
  }
}

const COLUMNS = ['sae', 'layout', 'architecture', 'd_in', 'd_sae', 'hook', 'l0'] as const;

/** A table without empty columns. */
export function listingTable(saes: readonly ListedSae[]): string {
  const columns = COLUMNS.filter((key) => key === 'sae' || saes.some((sae) => sae[key] !== null));
  const rows = [columns.map(String), ...saes.map((sae) => columns.map((key) => String(sae[key] ?? '-')))];
  const widths = columns.map((_, i) => Math.max(...rows.map((row) => row[i]!.length)));
  return rows
    .map((row) =>
      row
        .map((cell, i) => cell.padEnd(widths[i]!))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}
