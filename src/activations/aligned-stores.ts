import { Refusal } from '../errors/refusal.js';
import type { Rows } from './rows.js';
import type { Store } from './store.js';

const ALIGN = 'Harvest both hooks with one command: `sae-pipe harvest … --hook A --hook B`.';

/**
 * Two stores of one harvest, read row by row: row i of both is the same position of the same text. Their
 * manifests are compared here, the columns of a shard whenever it is read.
 *
 * @throws Refusal if their rows are not the same positions in the same order, or not of the same model
 */
export function alignedStores(input: Store, target: Store): Store {
  const [of, to] = [input, target].map(alignment) as [Alignment, Alignment];
  for (const [what, value] of Object.entries(of)) {
    const other = to[what as keyof Alignment];
    if (JSON.stringify(value) === JSON.stringify(other)) continue;
    const values = typeof value === 'object' ? '' : ` (${value} and ${other})`;
    throw new Refusal(
      `${input.directory} and ${target.directory} are not row-aligned: they differ in ${what}${values}.`,
      ALIGN,
      'activations/not-aligned',
    );
  }
  return {
    directory: input.directory,
    manifest: input.manifest,
    shards: input.shards,
    parts: input.parts,
    target: { directory: target.directory, manifest: target.manifest, shards: target.shards },
    async readShard(i, spare) {
      const [rows, others] = await Promise.all([input.readShard(i, spare), target.readShard(i, spare)]);
      const at = firstDifference(rows, others);
      if (at >= 0) {
        const { file } = input.shards.at(i);
        const place = ({ context, pos, token }: Rows) =>
          `token ${token[at]} (context ${context[at]}, position ${pos[at]})`;
        throw new Refusal(
          `${input.directory} and ${target.directory} are not row-aligned: row ${at} of ${file} is ${place(rows)} in one and ${place(others)} in the other.`,
          ALIGN,
          'activations/not-aligned',
        );
      }
      return { ...rows, target: others.activation };
    },
  };
}

type Alignment = ReturnType<typeof alignment>;

/** The settings that determine the position of each row and how it was computed, in words for messages. */
function alignment({ manifest, shards }: Store) {
  const { model, dtype, precision = 'float32', context, bos_token_id, rows, seed, contexts } = manifest;
  return {
    model: model.fingerprint,
    dtype,
    precision,
    context,
    bos_token_id,
    prepend_bos: manifest.prepend_bos,
    exclude_special_tokens: manifest.exclude_special_tokens ?? 'none',
    max_activation_norm_multiple: manifest.max_activation_norm_multiple ?? 'none',
    'the roles of their rows': manifest.chat?.roles ?? 'all',
    rows,
    seed,
    rows_per_shard: manifest.rows_per_shard,
    batch: manifest.batch,
    window_batches: manifest.window_batches,
    'the text of their contexts': contexts.map(({ sha256, rows }) => [sha256, rows]),
    'the rows of their shards': Array.from(shards, ({ rows, window }) => [rows, window]),
  };
}

/** The first row whose token, context or position differs; −1 if there is none. */
function firstDifference(a: Rows, b: Rows): number {
  const columns = (['token', 'context', 'pos'] as const).map((name) => [a[name], b[name]] as const);
  if (columns.every(([one, other]) => Buffer.compare(bytesOf(one), bytesOf(other)) === 0)) return -1;
  for (let row = 0; ; row++) if (columns.some(([one, other]) => one[row] !== other[row])) return row;
}

const bytesOf = ({ buffer, byteOffset, byteLength }: Int32Array | Uint32Array) =>
  new Uint8Array(buffer, byteOffset, byteLength);
