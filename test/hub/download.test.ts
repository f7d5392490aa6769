import assert from 'node:assert/strict';
import {
  existsSync,
  lstatSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { Interrupted, Refusal } from '../../src/errors/refusal.js';
import { openCheckpoint } from '../../src/lm/checkpoint.js';
import { type Progress, type StopRequest, silent } from '../../src/progress/progress.js';
import { refuses } from '../config/refuses.js';
import { filesBelow } from '../temporary.js';
import { COMMIT, gitHash, isLarge, MODEL, sha256 } from './fake-hub.js';
import { tinyFiles, tinyHub } from './tiny-hub.js';

const WEIGHTS = 'model.safetensors';
const NEEDED = ['config.json', 'generation_config.json', WEIGHTS, 'tokenizer.json', 'tokenizer_config.json'];

test('a model lands in the layout of the Hugging Face cache, needed files only', async (t) => {
  const { hub, fetch, home } = await tinyHub(t);
  const path = await fetch();
  assert.equal(path, join(home, 'snapshots', COMMIT));
  assert.deepEqual(readdirSync(path).sort(), NEEDED);
  for (const name of NEEDED) {
    const content = hub.files.get(name)!;
    const blob = isLarge(name) ? sha256(content) : gitHash(content);
    assert.ok(lstatSync(join(path, name)).isSymbolicLink());
    assert.equal(readlinkSync(join(path, name)), `../../blobs/${blob}`);
    assert.deepEqual(readFileSync(join(path, name)), content);
  }
  assert.equal(readdirSync(join(home, 'blobs')).length, NEEDED.length);
  assert.equal(readFileSync(join(home, 'refs', 'main'), 'utf8'), COMMIT);
  assert.equal((await openCheckpoint(path)).name, MODEL);
});

test('what is cached is used without a request, by branch and by commit', async (t) => {
  const { hub, fetch } = await tinyHub(t);
  const path = await fetch();
  hub.seen.length = 0;
  assert.equal(await fetch(), path);
  assert.equal(await fetch({ revision: COMMIT }), path);
  assert.equal(await fetch({}, { offline: true }), path);
  assert.equal(hub.seen.length, 0);
  // Another name of the same commit costs two small requests, and no file.
  assert.equal(await fetch({ revision: 'refs/pr/1' }), path);
  assert.deepEqual(
    hub.seen.filter(({ url }) => url.includes('/resolve/')),
    [],
  );
});

test('a snapshot that lacks a file, or whose blob is gone, is filled up', async (t) => {
  const { hub, fetch, home } = await tinyHub(t);
  const path = await fetch();
  rmSync(join(path, 'tokenizer.json'));
  rmSync(join(home, 'blobs', gitHash(hub.files.get('config.json')!)));
  await refuses(() => fetch({}, { offline: true }), 'hub/not-cached', 'lacks config.json, tokenizer.json', '--offline');
  hub.seen.length = 0;
  assert.equal(await fetch(), path);
  assert.deepEqual(readFileSync(join(path, 'config.json')), hub.files.get('config.json'));
  assert.ok(existsSync(join(path, 'tokenizer.json')));
  // The blob of the tokenizer was still there; the configuration was checked before it was fetched.
  assert.deepEqual(
    hub.seen.filter(({ url }) => url.includes('/resolve/')).map(({ url }) => url.split('/').at(-1)),
    ['config.json', 'config.json'],
  );
});

test('a chat template comes with the model, and into a snapshot that lacks it when one is needed', async (t) => {
  const TEMPLATE = 'chat_template.jinja';
  const { hub, fetch, home } = await tinyHub(t);
  const path = await fetch();
  const resolved = () =>
    hub.seen.filter(({ url }) => url.includes('/resolve/')).map(({ url }) => url.split('/').at(-1));
  const chat = { chatField: 'messages' };
  await refuses(() => fetch(chat, { offline: true }), 'hub/not-cached', 'chat template', '--offline');
  hub.seen.length = 0;
  // The model has none: reading conversations refuses that.
  assert.equal(await fetch(chat), path);
  assert.deepEqual(resolved(), []);
  hub.files.set(TEMPLATE, Buffer.from('{{ messages }}'));
  hub.seen.length = 0;
  assert.equal(await fetch(), path);
  assert.equal(hub.seen.length, 0, 'text needs no template');
  for (const asked of [chat, { chat: true }]) {
    assert.equal(await fetch(asked), path);
    assert.deepEqual(resolved(), [TEMPLATE], 'once');
    assert.equal(await fetch(asked, { offline: true }), path);
  }
  assert.equal(readFileSync(join(path, TEMPLATE), 'utf8'), '{{ messages }}');
  rmSync(home, { recursive: true });
  assert.ok(readdirSync(await fetch()).includes(TEMPLATE));
  // One in tokenizer_config.json is one.
  rmSync(join(path, TEMPLATE));
  rmSync(join(path, 'tokenizer_config.json'));
  writeFileSync(join(path, 'tokenizer_config.json'), '{"chat_template":"x"}');
  assert.equal(await fetch(chat, { offline: true }), path);
});

test('the token goes to the endpoint and nowhere else', async (t) => {
  const { hub, fetch } = await tinyHub(t);
  hub.faults = { gated: 'secret' };
  await fetch({}, { token: 'secret' });
  const of = (server: string) => hub.seen.filter((seen) => seen.server === server);
  assert.ok(of('hub').length > 5 && of('hub').every(({ authorization }) => authorization === 'Bearer secret'));
  assert.ok(of('cdn').length === 2 && of('cdn').every(({ authorization }) => authorization === undefined));
});

test('a listing that continues at another host does not get the token', async (t) => {
  const { hub, fetch } = await tinyHub(t);
  const other = await tinyHub(t);
  hub.faults = { nextPage: `${other.hub.endpoint}/api/models/${MODEL}/tree/${COMMIT}?cursor=2` };
  await fetch({}, { token: 'secret' });
  assert.equal(other.hub.seen.length, 1);
  assert.equal(other.hub.seen[0]!.authorization, undefined);
});

test('a connection cut midway resumes from the byte it had', async (t) => {
  const { hub, fetch } = await tinyHub(t);
  hub.faults = { cuts: { times: 2, after: 1_000_000 } };
  hub.files.delete('generation_config.json');
  const path = await fetch();
  assert.deepEqual(readFileSync(join(path, WEIGHTS)), hub.files.get(WEIGHTS));
  const ranges = hub.rangesOf(WEIGHTS).map((range) => Number(/^bytes=(\d+)-$/.exec(range ?? 'bytes=0-')![1]));
  assert.ok(ranges.length >= 2 && ranges.length <= 3, String(ranges));
  for (let i = 1; i < ranges.length; i++) assert.ok(ranges[i]! > ranges[i - 1]!, String(ranges));
});

test('a server without ranges is read from its beginning again', async (t) => {
  const { hub, fetch } = await tinyHub(t);
  hub.faults = { cuts: { times: 2, after: 1_000_000 }, ignoresRange: true };
  assert.deepEqual(readFileSync(join(await fetch(), WEIGHTS)), hub.files.get(WEIGHTS));
});

test('an overloaded server is asked again, and then named', async (t) => {
  const { hub, fetch } = await tinyHub(t);
  hub.faults = { fails: { times: 2, status: 503 } };
  await fetch();
  const again = await tinyHub(t);
  again.hub.faults = { fails: { times: 9, status: 503 } };
  await refuses(() => again.fetch(), 'hub/refused-status', 'answered 503', 'Try again later');
});

test('a connection that always breaks ends in a refusal; the next run resumes from there', async (t) => {
  const { hub, fetch, home } = await tinyHub(t);
  hub.faults = { cuts: { times: 100, after: 0 } };
  await refuses(() => fetch(), 'hub/unreachable');
  hub.faults = { cuts: { times: 1, after: 2 ** 21 }, fails: { times: 0, status: 500 } };
  const stop: StopRequest = { signal: undefined };
  const progress: Progress = {
    ...silent,
    update: (done, note) => {
      if (note === WEIGHTS && done > 2 ** 20) stop.signal = 'SIGINT';
    },
  };
  await assert.rejects(fetch({}, {}, progress, stop), (error: unknown) => {
    assert.ok(error instanceof Interrupted, String(error));
    assert.match(error.message, /the same command resumes from there/);
    return true;
  });
  assert.ok(!existsSync(join(home, 'refs')), 'what is not whole has no name');
  const [part] = readdirSync(join(home, 'blobs')).filter((name) => name.endsWith('.incomplete'));
  const kept = lstatSync(join(home, 'blobs', part!)).size;
  assert.ok(kept > 2 ** 20);
  hub.seen.length = 0;
  hub.faults = {};
  assert.deepEqual(readFileSync(join(await fetch(), WEIGHTS)), hub.files.get(WEIGHTS));
  assert.deepEqual(hub.rangesOf(WEIGHTS), [`bytes=${kept}-`]);
  assert.ok(!readdirSync(join(home, 'blobs')).some((name) => name.endsWith('.incomplete')));
});

test('a part that another process took over costs a second begin, and both end well', async (t) => {
  const { hub, fetch, home } = await tinyHub(t);
  hub.faults = { pause: 5 };
  const blobs = join(home, 'blobs');
  let taken = false;
  const progress: Progress = {
    ...silent,
    update: (done, note) => {
      if (taken || note !== WEIGHTS || done < 2 ** 20) return;
      taken = true;
      const part = readdirSync(blobs).find((name) => name.endsWith('.incomplete'))!;
      // As a process does that takes this one for dead; it has been killed since.
      renameSync(join(blobs, part), join(blobs, `${part.split('.')[0]}.000000002-00000000-0-bbbbbb.incomplete`));
    },
  };
  assert.deepEqual(readFileSync(join(await fetch({}, {}, progress), WEIGHTS)), hub.files.get(WEIGHTS));
  assert.ok(taken && !readdirSync(blobs).some((name) => name.endsWith('.incomplete')));
});

test('bytes with another hash are refused and not kept', async (t) => {
  for (const corrupt of [WEIGHTS, 'tokenizer.json']) {
    const { hub, fetch, home } = await tinyHub(t);
    hub.faults = { corrupt };
    await refuses(() => fetch(), 'hub/wrong-hash', corrupt);
    const blobs = readdirSync(join(home, 'blobs'));
    assert.ok(!blobs.includes(sha256(hub.files.get(corrupt)!)));
    assert.ok(!blobs.some((name) => name.endsWith('.incomplete')), String(blobs));
    assert.ok(!existsSync(join(home, 'refs')));
  }
});

test('a small file is checked by its git hash', async (t) => {
  const { hub, fetch } = await tinyHub(t);
  hub.faults = { lies: { 'config.json': { oid: '0'.repeat(40) } } };
  await refuses(() => fetch(), 'hub/wrong-hash', 'config.json does not have the hash');
});

test('a leftover that is not the beginning of the file is detected, and the file fetched again', async (t) => {
  for (const size of [1000, 50_000_000]) {
    const { hub, fetch, home } = await tinyHub(t);
    await fetch();
    const blob = join(home, 'blobs', sha256(hub.files.get(WEIGHTS)!));
    rmSync(blob);
    writeFileSync(`${blob}.000000001-00000000-0-abcdef.incomplete`, Buffer.alloc(size, 7));
    const path = await fetch();
    assert.deepEqual(readFileSync(join(path, WEIGHTS)), hub.files.get(WEIGHTS));
    assert.equal(readdirSync(join(home, 'blobs')).length, NEEDED.length);
  }
});

test('sizes that differ from the listing are refused', async (t) => {
  const { hub, fetch } = await tinyHub(t);
  const { length } = hub.files.get(WEIGHTS)!;
  hub.faults = { lies: { [WEIGHTS]: { size: length - 1 } } };
  await refuses(() => fetch(), 'hub/wrong-size', `not the one of ${length - 1} bytes`);
});

test('a disk that is too full is refused before a file is fetched', async (t) => {
  const { hub, fetch, home } = await tinyHub(t);
  hub.faults = { lies: { [WEIGHTS]: { size: 2 ** 52 } } };
  await refuses(() => fetch(), 'disk/too-full', '4.0 PiB are needed', 'HF_HUB_CACHE');
  // Only the configuration is requested, to see whether the model is supported.
  const asked = hub.seen.filter(({ url }) => url.includes('/resolve/')).map(({ url }) => url.split('/').at(-1));
  assert.deepEqual(asked, ['config.json']);
  assert.ok(!existsSync(home));
});

/** The bundled weights as if in two shards: which tensors are where does not matter here. */
function sharded(map: Record<string, unknown>): Map<string, Buffer> {
  const files = tinyFiles();
  files.delete(WEIGHTS);
  files.set('model-00001-of-00002.safetensors', Buffer.from('one'));
  files.set('model-00002-of-00002.safetensors', Buffer.from('two'));
  files.set('model.safetensors.index.json', Buffer.from(JSON.stringify({ metadata: {}, weight_map: map })));
  return files;
}

test('of a sharded model, the index and the shards it names are fetched', async (t) => {
  const [a, b] = ['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors'];
  const { fetch } = await tinyHub(t, sharded({ x: a, y: b, z: a }));
  const path = await fetch();
  assert.deepEqual(
    readdirSync(path).filter((name) => name.startsWith('model')),
    [a, b, 'model.safetensors.index.json'],
  );
  assert.equal(readFileSync(join(path, b), 'utf8'), 'two');
  rmSync(join(path, b));
  await refuses(() => fetch({}, { offline: true }), 'hub/not-cached', `lacks ${b}`);
});

test('an index that names anything but files next to it is refused, and nothing outside the cache is touched', async (t) => {
  for (const shard of [
    '../../../evil.safetensors',
    '/tmp/evil.safetensors',
    '.hidden.safetensors',
    'a/b.safetensors',
    7,
  ]) {
    const files = sharded({ x: shard });
    files.set(String(shard), Buffer.from('evil'));
    const { fetch, cache } = await tinyHub(t, files);
    await refuses(() => fetch(), 'hub/unsafe-shard-name', JSON.stringify(shard), 'not a plain .safetensors file name');
    const evil = [...filesBelow(join(cache, '..')).values()].filter((content) => content.toString() === 'evil');
    assert.equal(evil.length, 0);
  }
  const { fetch } = await tinyHub(t, sharded({ x: 'model-00009-of-00009.safetensors' }));
  await refuses(
    () => fetch(),
    'hub/shard-missing',
    'names model-00009-of-00009.safetensors, which the model does not have',
  );
});

test('invalid hashes and commits do not become file names', async (t) => {
  const { hub, fetch, cache } = await tinyHub(t);
  hub.faults = { lies: { 'config.json': { oid: '../../../evil' } } };
  await refuses(() => fetch(), 'hub/not-a-hub', 'lists config.json without size or hash');
  assert.ok(!existsSync(cache));
});

test('a model without safetensors or tokenizer is refused before anything is fetched', async (t) => {
  const files = tinyFiles();
  files.delete(WEIGHTS);
  files.delete('tokenizer.json');
  const { fetch, cache } = await tinyHub(t, files);
  await refuses(() => fetch(), 'hub/files-missing', 'has no tokenizer.json, no model.safetensors', 'safetensors');
  assert.ok(!existsSync(cache));
});

test('progress counts every byte once', async (t) => {
  const { hub, fetch } = await tinyHub(t);
  const totals: number[] = [];
  const done: number[] = [];
  const progress: Progress = {
    ...silent,
    begin: (_, total) => void totals.push(total),
    update: (n) => {
      done[totals.length - 1] = n;
    },
  };
  await fetch({}, {}, progress);
  assert.deepEqual(done, totals);
  assert.equal(totals.at(-1), hub.files.get(WEIGHTS)!.length);
});

test('every failure ends in a refusal', async (t) => {
  const { hub, fetch } = await tinyHub(t);
  hub.faults = { silent: true };
  await assert.rejects(fetch({}, { patience: { attempts: 2, delay: 1, stall: 100, poll: 5 } }), (error: unknown) => {
    assert.ok(error instanceof Refusal, String(error));
    assert.match(error.message, /nothing came for 0\.1 s|could not be reached/);
    return true;
  });
});
