import assert from 'node:assert/strict';
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import type { RefusalCode } from '../../../src/errors/codes.js';
import { zipEntries } from '../../../src/safetensors/zip.js';
import { refuses } from '../../config/refuses.js';
import { temporaryDirectory } from '../../temporary.js';
import { opened, useCache } from './opened.js';

const ROOT = 'test/golden/published';
const SCOPE = 'google/gemma-scope-2b-pt-res/layer_1/width_16k/average_l0_4';
const SCOPE_2 = 'google/gemma-scope-2-270m-pt/transcoder_all/layer_2_width_16k_l0_small_affine';

const cache = useCache();
const root = temporaryDirectory();
let counter = 0;

/** A copy of a golden SAE, one of whose files is changed. */
function changed(place: string, name: string, change: (bytes: Buffer) => Buffer | string): string {
  const copy = join(root, String(counter++), place);
  mkdirSync(dirname(copy), { recursive: true });
  cpSync(join(ROOT, place), copy, { recursive: true });
  writeFileSync(join(copy, name), change(readFileSync(join(copy, name))));
  return copy;
}

/** With a text in place of another of the same length: headers of numpy and pickles are texts. */
const replaced = (from: string, to: string) => (bytes: Buffer) => {
  assert.equal(from.length, to.length);
  const at = bytes.indexOf(from, 0, 'latin1');
  assert.ok(at >= 0, from);
  const copy = Buffer.from(bytes);
  copy.write(to, at, 'latin1');
  return copy;
};

const json = (change: (value: Record<string, object>) => object) => (bytes: Buffer) =>
  JSON.stringify(change(JSON.parse(String(bytes)) as Record<string, object>));

const DL = 'dictionary_learning/AutoEncoderTopK';
const CASES: readonly (readonly [what: string, code: RefusalCode, path: () => string, ...names: string[]])[] = [
  [
    'an array of objects',
    'safetensors/unsupported-npz',
    () => changed(SCOPE, 'params.npz', replaced("'descr': '<f4'", "'descr': '|O8'")),
    '|O8',
  ],
  [
    'numbers of the other byte order',
    'safetensors/unsupported-npz',
    () => changed(SCOPE, 'params.npz', replaced("'<f4'", "'>f4'")),
  ],
  [
    'a shape of other size',
    'safetensors/broken-npz',
    () => changed(SCOPE, 'params.npz', replaced('(6, 11)', '(9, 99)')),
    'W_enc',
  ],
  [
    'an array in column order',
    'safetensors/unsupported-npz',
    () => changed(SCOPE, 'params.npz', replaced('False, ', ' True, ')),
  ],
  ['a compressed entry', 'safetensors/unsupported-npz', () => changed(SCOPE, 'params.npz', compressed), 'compressed'],
  [
    'half a file',
    'safetensors/broken-npz',
    () => changed(SCOPE, 'params.npz', (bytes) => bytes.subarray(0, bytes.length / 2)),
  ],
  [
    'a shape that fits no other',
    'sae/wrong-shape',
    () => changed(SCOPE, 'params.npz', replaced('(6, 11)', '(11, 6)')),
    'W_dec',
  ],
  [
    'a pickle that names os.system',
    'safetensors/unsupported-pth',
    () => changed(DL, 'ae.pt', replaced('torch._utils\n_rebuild_tensor_v2', 'os\nsystem\n'.padEnd(31, 'N'))),
    'os.system',
  ],
  [
    'sizes that contradict the weights',
    'sae/contradiction',
    () =>
      changed(
        DL,
        'config.json',
        json(({ trainer, ...rest }) => ({ ...rest, trainer: { ...trainer, dict_size: 12 } })),
      ),
    'dict_size',
  ],
  [
    'another k',
    'sae/contradiction',
    () =>
      changed(
        DL,
        'config.json',
        json(({ trainer, ...rest }) => ({ ...rest, trainer: { ...trainer, k: 4 } })),
      ),
    'k is 4',
  ],
  [
    'a class that is not known',
    'sae/unsupported-layout',
    () =>
      changed(
        DL,
        'config.json',
        json(() => ({ trainer: { dict_class: 'IdentityDict' } })),
      ),
    'IdentityDict',
  ],
  [
    'GroupMax',
    'sae/unsupported-layout',
    () =>
      changed(
        'sparsify/layers.10',
        'cfg.json',
        json((cfg) => ({ ...cfg, activation: 'groupmax' })),
      ),
    'groupmax',
  ],
  [
    'signed TopK',
    'sae/unsupported-layout',
    () =>
      changed(
        'sparsify/layers.10',
        'cfg.json',
        json((cfg) => ({ ...cfg, signed: true })),
      ),
    'signed',
  ],
  [
    'another width',
    'sae/contradiction',
    () =>
      changed(
        'sparsify/layers.10',
        'cfg.json',
        json((cfg) => ({ ...cfg, d_in: 7 })),
      ),
    'd_in',
  ],
  [
    'a skip connection that is denied',
    'sae/unsupported-layout',
    () =>
      changed(
        SCOPE_2,
        'config.json',
        json((cfg) => ({ ...cfg, affine_connection: false })),
      ),
    'affine_connection',
  ],
  [
    'a module that is no hook point',
    'sae/unsupported-layout',
    () =>
      changed(
        SCOPE_2,
        'config.json',
        json((cfg) => ({ ...cfg, hf_hook_point_in: 'model.layers.2.mlp.input' })),
      ),
    'mlp.input',
  ],
  [
    'a cross-layer transcoder',
    'sae/unsupported-layout',
    () =>
      `${changed(
        'circuit_tracer',
        'config.yaml',
        () => 'model_kind: cross_layer_transcoder\nfeature_input_hook: a\nfeature_output_hook: b\n',
      )}/layer_0.safetensors`,
    'cross_layer',
  ],
  [
    'a model whose weights were centred',
    'sae/unsupported-layout',
    () =>
      changed(
        'saelens/standard',
        'cfg.json',
        json(({ metadata, ...cfg }) => ({
          ...cfg,
          metadata: { ...metadata, model_from_pretrained_kwargs: { center_writing_weights: true } },
        })),
      ),
    'center_writing_weights',
  ],
  [
    'a file of PyTorch that no layout has',
    'sae/unsupported-layout',
    () => {
      const copy = changed(DL, 'ae.pt', (bytes) => bytes);
      cpSync(join(copy, 'ae.pt'), join(copy, '7.pt'));
      return join(copy, '7.pt');
    },
    '7.pt',
    'OpenAI',
  ],
];

/** The method of the first entry of the directory is deflate. */
function compressed(bytes: Buffer): Buffer {
  const copy = Buffer.from(bytes);
  copy.writeUInt16LE(8, copy.indexOf('PK\x01\x02', 0, 'latin1') + 10);
  return copy;
}

for (const [what, code, path, ...names] of CASES) {
  test(`${what} is refused, and nothing is left in the cache`, async () => {
    await refuses(() => opened(path()), code, ...names);
    assert.deepEqual(existsSync(join(cache, 'saes')) ? readdirSync(join(cache, 'saes')) : [], []);
  });
}

test('a directory of two layouts is refused, and either is read by its file', async () => {
  const both = changed(SCOPE, 'params.npz', (bytes) => bytes);
  cpSync(join(ROOT, DL, 'ae.pt'), join(both, 'ae.pt'));
  cpSync(join(ROOT, DL, 'config.json'), join(both, 'config.json'));
  await refuses(() => opened(both), 'sae/several-layouts', 'params.npz', 'ae.pt');
  assert.ok(existsSync(join(await opened(join(both, 'params.npz')), 'cfg.json')));
  assert.ok(existsSync(join(await opened(join(both, 'ae.pt')), 'cfg.json')));
});

test('an archive of more than 4 GiB has its places in 64 bits', async () => {
  // One entry, "a", whose bytes are "xy"; every number of 32 bits says that it is to be found elsewhere.
  const local = Buffer.alloc(31);
  local.writeUInt32LE(0x04034b50, 0);
  local.writeUInt16LE(1, 26);
  local.write('a', 30);
  const central = Buffer.alloc(47 + 28);
  central.writeUInt32LE(0x02014b50, 0);
  for (const at of [20, 24, 42]) central.writeUInt32LE(0xffffffff, at);
  central.writeUInt16LE(1, 28);
  central.writeUInt16LE(28, 30);
  central.write('a', 46);
  central.writeUInt16LE(1, 47);
  central.writeUInt16LE(24, 49);
  for (const [i, value] of [2, 2, 0].entries()) central.writeBigUInt64LE(BigInt(value), 51 + 8 * i);
  const record = Buffer.alloc(56);
  record.writeUInt32LE(0x06064b50, 0);
  for (const [at, value] of [
    [32, 1],
    [40, central.length],
    [48, 33],
  ] as const)
    record.writeBigUInt64LE(BigInt(value), at);
  const locator = Buffer.alloc(20);
  locator.writeUInt32LE(0x07064b50, 0);
  locator.writeBigUInt64LE(BigInt(33 + central.length), 8);
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50, 0);
  end.fill(0xff, 8, 20);
  const bytes = Buffer.concat([local, Buffer.from('xy'), central, record, locator, end]);
  const path = join(root, 'wide.zip');
  writeFileSync(path, bytes);
  const { open } = await import('node:fs/promises');
  const handle = await open(path);
  try {
    const entries = await zipEntries(handle, bytes.length, (what) => assert.fail(what));
    assert.deepEqual([...entries], [['a', { offset: 31, size: 2 }]]);
  } finally {
    await handle.close();
  }
});
