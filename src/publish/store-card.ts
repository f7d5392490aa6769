import type { Store, StoreManifest } from '../activations/store.js';
import { significant } from '../progress/progress.js';
import { type Destination, placed } from './destination.js';
import { hubModel, publicName } from './machine-paths.js';
import { block, card, code, type Row, table, whole } from './markdown.js';

/** The data set card of an activation store. */
export function storeCard(
  store: Pick<Store, 'manifest' | 'shards'>,
  to: Destination,
  license: string | undefined,
): string {
  const { manifest } = store;
  const { hook, model, rows, d_in } = manifest;
  const matter = {
    license,
    tags: ['activations', 'sparse-autoencoder', 'mechanistic-interpretability', 'sae-pipe'],
    configs: [{ config_name: 'default', data_files: shardsOf(store, to) }],
  };
  const name = hubModel(model.name);
  const of = name === undefined ? code(publicName(model.name)) : `[${name}](https://huggingface.co/${name})`;
  return card(matter, [
    `# ${to.path === '' ? to.repository.split('/')[1] : to.path}`,
    `Activations of ${of} at ${code(hook)}: ${whole(rows)} rows of width ${whole(d_in)}, as Arrow files.`,
    table(['', ''], facts(manifest)),
    'The columns are `activation`, `token`, `context` and `pos`; rows are in random order; `contexts-*.arrow` contains the texts as tokens. `manifest.json` lists every file with its SHA-256.',
    '## How to load it',
    'In Python:',
    block(
      'python',
      'import datasets',
      '',
      `shards = ${JSON.stringify(shardsOf(store, to))}`,
      `rows = datasets.load_dataset(${JSON.stringify(to.repository)}, data_files=shards, split='train', streaming=True)`,
    ),
    'In sae-pipe:',
    block(
      'sh',
      `hf download --repo-type dataset ${to.repository} --local-dir acts`,
      `sae-pipe train --activations ${['acts', ...(to.path === '' ? [] : [to.path])].join('/')} --d-sae 16384 --tokens ${rows} --out runs/sae`,
    ),
  ]);
}

/** The glob pattern of the shards; for a harvest in parts, in subdirectories. */
const shardsOf = ({ shards }: Pick<Store, 'shards'>, to: Destination): string =>
  placed(to, shards.at(0).file.includes('/') ? '*/shard-*.arrow' : 'shard-*.arrow');

function facts(manifest: StoreManifest): Row[] {
  const { model, hook, d_in, dtype, precision = 'float32', context, prepend_bos, corpus, rows, mean_norm } = manifest;
  const { exclude_special_tokens: excluded, max_activation_norm_multiple: multiple, documents = {} } = manifest;
  return [
    ['model', code(publicName(model.name))],
    ['fingerprint of the model', code(model.fingerprint)],
    ['hook', code(hook)],
    ['rows', whole(rows)],
    ['width', whole(d_in)],
    ['element type', code(dtype)],
    ['precision of the model', code(precision)],
    ['corpus', code(publicName(corpus))],
    ...Object.entries(documents).map(([key, value]): Row => [`documents: ${key}`, code(String(value))]),
    ['tokens per context', whole(context)],
    ['contexts begin with BOS', prepend_bos ? 'yes' : 'no'],
    ...(excluded ? [['special tokens left out', code(JSON.stringify(excluded))] as const] : []),
    ...(multiple === undefined ? [] : [['rows left out', `norms above ${multiple} × the median`] as const]),
    ...(mean_norm === null ? [] : [['mean norm', significant(mean_norm, 4)] as const]),
  ];
}
