import { readFile } from 'node:fs/promises';
import { packagedFile } from '../../disk/input-file.js';
import { nearest } from '../../errors/nearest.js';
import { Refusal } from '../../errors/refusal.js';

/** An SAE of a release: where it lies on the hub. */
export interface Release {
  readonly id: string;
  readonly repository: string;
  readonly path: string;
  /** Mean number of features per token, as the list says; of some. */
  readonly l0?: number;
  /** √d over the mean norm of its activations, where that is needed. */
  readonly scale?: number;
}

/** assets/releases.json, as scripts/releases.py writes it from SAELens's public list. */
interface Table {
  readonly source: string;
  readonly releases: Readonly<Record<string, ReleaseEntry>>;
}

interface ReleaseEntry {
  readonly repo: string;
  readonly model: string;
  /** Why its SAEs have no exact form here. */
  readonly refused?: string;
  readonly groups: readonly Group[];
}

/** SAEs whose ids and paths differ in numbers: $0, $1, … stand for the columns of a row. */
interface Group {
  readonly id: string;
  readonly path: string;
  /** What the last columns are. */
  readonly also?: readonly ('l0' | 'scale')[];
  /** Rows separated by `;`, columns by `,`. */
  readonly rows: string;
}

let table: Promise<Table> | undefined;

function releaseTable(): Promise<Table> {
  table ??= readFile(packagedFile('assets/releases.json'), 'utf8').then((text) => JSON.parse(text) as Table);
  return table;
}

const filled = (pattern: string, row: readonly string[]) =>
  pattern.replace(/\$(\d+)/g, (_, column: string) => row[Number(column)]!);

function* saesOf({ repo, groups }: ReleaseEntry): Generator<Release> {
  for (const { id, path, also = [], rows } of groups) {
    for (const text of rows.split(';')) {
      const row = text.split(',');
      const more = row.slice(row.length - also.length);
      const numbers = also.flatMap((key, i) => (more[i] === '' ? [] : [[key, Number(more[i])] as const]));
      yield { id: filled(id, row), repository: repo, path: filled(path, row), ...Object.fromEntries(numbers) };
    }
  }
}

async function entryOf(release: string): Promise<ReleaseEntry> {
  const { releases } = await releaseTable();
  const entry = Object.hasOwn(releases, release) ? releases[release] : undefined;
  if (entry) return entry;
  const near = nearest(release, Object.keys(releases), 3);
  throw new Refusal(
    `There is no release ${release} in SAELens's list, and no file of that name.`,
    near.length > 0 ? `Did you mean ${near.join(' or ')}?` : 'docs/how-to/published-saes.md says where the list is.',
    'sae/no-release',
  );
}

/** Does the list have a release of this name? */
export async function isRelease(name: string): Promise<boolean> {
  return Object.hasOwn((await releaseTable()).releases, name);
}

/** The SAEs of a release. @throws Refusal where the list has no such release */
export async function saesOfRelease(release: string): Promise<Release[]> {
  return [...saesOf(await entryOf(release))];
}

/**
 * The SAE that SAELens calls so.
 *
 * @throws Refusal where the list has none, or its layout has no exact form here
 */
export async function releaseNamed(release: string, id: string): Promise<Release> {
  const entry = await entryOf(release);
  const saes = [...saesOf(entry)];
  const found = saes.find((sae) => sae.id === id);
  if (!found) {
    const near = nearest(
      id,
      saes.map((sae) => sae.id),
      2,
    );
    const some = near.length > 0 ? `Did you mean ${near.join(' or ')}?` : `It has ${saes[0]!.id}, for instance.`;
    throw new Refusal(`The release ${release} has no SAE ${id}.`, some, 'sae/no-release');
  }
  if (entry.refused === undefined) return found;
  throw new Refusal(
    `${release}:${id} is ${entry.refused}, which is not read.`,
    'docs/how-to/published-saes.md lists the layouts that are.',
    'sae/unsupported-layout',
  );
}
