import assert from 'node:assert/strict';
import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { parse } from 'yaml';
import { Interrupted } from '../../src/errors/refusal.js';
import { readEvaluation } from '../../src/eval/record.js';
import { silent } from '../../src/progress/progress.js';
import { saeDirectory } from '../../src/sae/published/open.js';
import { openSae, readSae } from '../../src/sae/saelens.js';
import { refuses, refusesUsage } from '../config/refuses.js';
import { MODEL, sha256 } from '../hub/fake-hub.js';
import { useCache } from '../sae/published/opened.js';
import { temporaryDirectory } from '../temporary.js';
import { curveFileIn, frontMatter } from './cards.js';
import { trainedSae, writableHub } from './pushed.js';

const made = trainedSae();
useCache();

const never = { signal: undefined };
const FILES = ['README.md', 'cfg.json', 'eval.json', 'metrics.jsonl', 'sae_weights.safetensors'];

test('an SAE arrives with evaluation, curve and card, and is opened again by its reference', async (t) => {
  const { hub, settings, pushed } = await writableHub(t);
  const { evaluation } = made;
  const { out, said } = await pushed(made.sae, undefined, {
    evaluation,
    license: 'apache-2.0',
    message: 'A gated SAE',
  });
  assert.deepEqual([...hub.files.keys()].sort(), ['README.md', ...FILES.map((name) => `gated/${name}`)].sort());
  for (const name of hub.files.keys()) assert.ok(out.includes(name), name);
  assert.ok(!said.includes('licence') && said.includes('--base-model'));
  assert.deepEqual(
    hub.uploads.commits.map(({ title, branch }) => [title, branch]),
    [['A gated SAE', 'main']],
  );
  for (const [name, bytes] of hub.files) assert.ok(!/\/(work|tmp|home|root)\//.test(bytes.toString('latin1')), name);

  const reference = `${MODEL}/gated`;
  const opened = await saeDirectory(reference, { offline: false, settings }, silent, never);
  const [there, here] = await Promise.all([opened, made.sae].map(async (path) => readSae(await openSae(path))));
  assert.deepEqual(there!.parameters, here!.parameters);

  const folder = temporaryDirectory(t);
  for (const name of ['eval.json', 'metrics.jsonl']) writeFileSync(join(folder, name), hub.files.get(`gated/${name}`)!);
  const [read] = await readEvaluation(folder);
  const [measured] = await readEvaluation(evaluation);
  assert.deepEqual([read!.record.sae, read!.record.l0], [reference, measured!.record.l0]);
  assert.deepEqual(read!.curve, curveFileIn(made.sae));
  assert.equal(read!.record.command, undefined);
  const files = ['cfg.json', 'sae_weights.safetensors'].map((name) => hub.files.get(`gated/${name}`)!);
  assert.equal(read!.record.settings?.sae_sha256, sha256(Buffer.concat(files)));
});

test('the card has front matter, facts of the files, metrics with intervals, and how to load it', async (t) => {
  const { hub, pushed } = await writableHub(t);
  const { evaluation } = made;
  await pushed(made.sae, undefined, { evaluation, license: 'mit', baseModel: 'google/gemma-2-2b' });
  const card = String(hub.files.get('gated/README.md'));
  const matter = frontMatter(card);
  assert.deepEqual([matter.license, matter.library_name, matter.base_model], ['mit', 'saelens', 'google/gemma-2-2b']);
  assert.ok((matter.tags as string[]).includes('sparse-autoencoder'));
  const [{ record } = assert.fail()] = await readEvaluation(evaluation);
  const [low] = record.intervals!.l0!;
  for (const part of [
    ...[
      '`blocks.1.hook_mlp_out`',
      '| features | 48 |',
      '| steps | `12` |',
      '| tokens | 768 |',
      '`validation.jsonl.gz`',
    ],
    `| ${Number(record.l0.toPrecision(4))} | ${Number(low.toPrecision(4))} to `,
    'SAE.from_pretrained("google/tiny", "gated")',
    'sae-pipe eval --sae google/tiny/gated',
  ])
    assert.ok(card.includes(part), `${part} in ${card}`);
  assert.deepEqual(hub.files.get('README.md'), hub.files.get('gated/README.md'));
});

test('a dry run prints files and card, and makes no request', async (t) => {
  const { hub, pushed } = await writableHub(t);
  const { out, said } = await pushed(made.sae, undefined, { dryRun: true }, { token: undefined, offline: true });
  assert.equal(hub.seen.length, 0);
  assert.match(out, /gated\/cfg\.json +\d/);
  assert.equal(parse(/---\n([\s\S]*?)---/.exec(out)![1]!).license, undefined);
  assert.match(said, /--license/);
  assert.match(said, /--evaluation/);
});

test('an upload that is cut short is retried, and an abandoned one continues with what is missing', async (t) => {
  const { hub, pushed } = await writableHub(t);
  hub.uploads.faults.cuts = { times: 1, after: 100 };
  hub.uploads.faults.refusesCommit = { status: 500, error: 'Internal error' };
  await refuses(() => pushed(made.sae), 'hub/refused-status', 'Internal error', 'same command');
  assert.equal(hub.uploads.received.length, 1, 'the storage has the weights, sent again after the cut');
  assert.equal(hub.files.size, 0);
  hub.uploads.faults.refusesCommit = undefined;
  await pushed(made.sae);
  assert.equal(hub.uploads.received.length, 1, 'the weights are not sent again');
  const { commit } = hub;
  const { out, said } = await pushed(made.sae);
  assert.match(out, /Nothing to upload/);
  assert.match(said, /gated\/sae_weights\.safetensors/);
  assert.deepEqual([hub.commit, hub.uploads.commits.length], [commit, 1]);
});

test('a storage that stays silent, or keeps disconnecting, is given up and named', async (t) => {
  const { hub, pushed } = await writableHub(t);
  hub.uploads.faults.cuts = { times: 9, after: 100 };
  await refuses(() => pushed(made.sae), ['hub/unreachable', 'hub/upload-cut-short'], 'same command');
  hub.uploads.faults.cuts = undefined;
  hub.faults.silent = true;
  const patience = { attempts: 2, delay: 1, stall: 200, poll: 20 };
  await refuses(() => pushed(made.sae, undefined, {}, { patience }), 'hub/upload-cut-short', 'next to nothing');
});

test('large files go in parts where the storage asks for parts', async (t) => {
  const { hub, pushed } = await writableHub(t);
  hub.uploads.faults.partBytes = 20_000;
  await pushed(made.sae);
  const weights = readFileSync(join(made.sae, 'sae_weights.safetensors'));
  assert.ok(weights.length > 20_000);
  assert.deepEqual(hub.files.get('gated/sae_weights.safetensors'), weights);
});

test('existing files with other content stay, unless they are to be replaced; the card of the repository always stays', async (t) => {
  const { hub, pushed } = await writableHub(t);
  hub.files.set('gated/metrics.jsonl', Buffer.from('{}\n'));
  hub.files.set('README.md', Buffer.from('# Ours\n'));
  await refuses(() => pushed(made.sae), 'hub/would-overwrite', 'gated/metrics.jsonl', '--overwrite');
  assert.equal(hub.files.size, 2);
  assert.deepEqual(hub.uploads.received, []);
  await pushed(made.sae, undefined, { overwrite: true });
  assert.ok(hub.files.get('gated/metrics.jsonl')!.length > 10);
  assert.equal(String(hub.files.get('README.md')), '# Ours\n');
});

test('a commit that came in between is not overwritten', async (t) => {
  const { hub, pushed } = await writableHub(t);
  hub.uploads.faults.raced = true;
  await refuses(() => pushed(made.sae), 'hub/other-commit', MODEL);
  assert.equal(hub.files.size, 0);
  hub.uploads.faults.raced = false;
  await pushed(made.sae);
  assert.equal(hub.files.size, FILES.length);
});

test('no token, a token that may not write, and a full account are distinguished', async (t) => {
  const { hub, pushed } = await writableHub(t);
  await refuses(() => pushed(made.sae, undefined, {}, { token: undefined }), 'hub/no-token', 'HF_TOKEN');
  await refuses(() => pushed(made.sae, undefined, {}, { token: 'hf_reader' }), 'hub/may-not-write', '403');
  await refusesUsage(() => pushed(made.sae, undefined, {}, { offline: true }), 'hub/offline-push');
  for (const [status, error, code] of [
    [403, 'Private repository storage limit reached', 'hub/storage-full'],
    [413, 'Too large', 'hub/storage-full'],
    [409, 'Conflict', 'hub/other-commit'],
    [401, 'Invalid credentials hf_writer', 'hub/token-refused'],
    [400, 'Invalid file name, said to hf_writer', 'hub/upload-refused'],
  ] as const) {
    hub.uploads.faults.refusesCommit = { status, error };
    const thrown = await pushed(made.sae).then(
      () => assert.fail(code),
      (error: Error) => error,
    );
    assert.ok(!`${thrown.message}${thrown.stack}`.includes('hf_writer'), thrown.message);
    await refuses(() => pushed(made.sae), code, String(status));
  }
});

test('a repository or branch that does not exist is named, and made on request', async (t) => {
  const { hub, pushed } = await writableHub(t);
  hub.name = '';
  await refuses(() => pushed(made.sae, 'us/new'), 'hub/no-repository', 'us/new', '--create');
  await pushed(made.sae, 'us/new', { create: true, private: true });
  assert.deepEqual([hub.uploads.created?.visibility, hub.name], ['private', 'us/new']);
  assert.ok(hub.files.has('cfg.json') && hub.files.has('README.md'));
  await refuses(() => pushed(made.sae, 'us/new', { revision: 'v9' }), 'hub/no-revision', 'v9', '--create');
  hub.files.clear();
  await pushed(made.sae, 'us/new', { revision: 'v9', create: true });
  assert.equal(hub.uploads.commits.at(-1)!.branch, 'v9');
  await refusesUsage(() => pushed(made.sae, 'us/new', { private: true }), 'config/wrong-together', '--create');
});

test('another layout is pushed as convert writes it', async (t) => {
  const { hub, settings, pushed } = await writableHub(t);
  await refuses(() => pushed(made.sae, undefined, { as: 'sparsify' }), 'sae/not-convertible', 'gated');
  await pushed(made.sae, `${MODEL}/scope/layer_1`, { as: 'gemma-scope', evaluation: made.evaluation });
  assert.ok(hub.files.has('scope/layer_1/params.npz') && !hub.files.has('scope/layer_1/cfg.json'));
  const opened = await saeDirectory(`${MODEL}/scope/layer_1`, { offline: false, settings }, silent, never);
  assert.equal((await openSae(opened)).architecture, 'jumprelu');
  assert.match(String(hub.files.get('README.md')), /sae-pipe convert google\/tiny\/scope\/layer_1 --as saelens/);
});

test('what is not an SAE here, an evaluation of another, and odd destinations are refused', async (t) => {
  const { hub, pushed } = await writableHub(t);
  await refuses(() => pushed('assets/corpus'), 'sae/not-an-sae', 'assets/corpus');
  await refusesUsage(() => pushed('google/gemma-scope-2b-pt-res/layer_1'), 'publish/not-here', 'convert');
  const other = join(temporaryDirectory(t), 'other');
  cpSync(made.sae, other, { recursive: true });
  writeFileSync(join(other, 'cfg.json'), `${readFileSync(join(other, 'cfg.json'), 'utf8')}\n`);
  const { evaluation } = made;
  await refuses(() => pushed(other, undefined, { evaluation }), 'publish/other-evaluation', other);
  for (const to of ['alone', 'a/b/../c', 'a/b/.git', '/a/b', 'a/b/c?d', 'a--b/c'])
    await refusesUsage(() => pushed(made.sae, to), 'publish/wrong-destination', to);
  assert.equal(hub.seen.length, 0);
});

test('an SAE that is changed while it is sent is not committed, and nothing is after a stop', async (t) => {
  const { hub, pushed } = await writableHub(t);
  const sae = join(temporaryDirectory(t), 'sae');
  cpSync(made.sae, sae, { recursive: true });
  const weights = join(sae, 'sae_weights.safetensors');
  hub.uploads.faults.arrived = () => writeFileSync(weights, readFileSync(weights));
  await refuses(() => pushed(sae), 'disk/changed-in-use', weights);
  assert.equal(hub.uploads.commits.length, 0);
  const stop: { signal: 'SIGINT' | undefined } = { signal: undefined };
  hub.uploads.faults.arrived = undefined;
  hub.uploads.stored.clear();
  const stopping = () => {
    stop.signal = 'SIGINT';
  };
  hub.uploads.faults.cuts = { times: 1, after: 100, met: stopping };
  await assert.rejects(pushed(sae, undefined, {}, {}, stop), Interrupted);
  assert.deepEqual([hub.uploads.commits.length, hub.uploads.stored.size], [0, 0]);
  // Once the commit is requested it may exist, so its answer is waited for.
  hub.uploads.faults.committed = stopping;
  stop.signal = undefined;
  const { out } = await pushed(sae, undefined, {}, {}, stop);
  assert.equal(hub.uploads.commits.length, 1);
  assert.ok(stop.signal === 'SIGINT' && out.endsWith(`is at ${hub.commit}.`), out);
});
