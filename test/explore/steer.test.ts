import assert from 'node:assert/strict';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { attributeSchema, steerSchema } from '../../src/config/stages/generation.js';
import { exploreFolder } from '../../src/explore/explorer.js';
import type { EventsOf } from '../../src/explore/site.js';
import type { AttributeEvent, FeatureChange, SteerEvent, SteerRequest } from '../../src/explore/steering-api.js';
import { ThreadedSteering } from '../../src/explore/threaded-steering.js';
import { attribute } from '../../src/generate/attribute.js';
import { steer } from '../../src/generate/steer.js';
import { NotTaken } from '../../src/http/json-body.js';
import { silent } from '../../src/progress/progress.js';
import { temporaryDirectory } from '../temporary.js';
import { collected, MODEL } from './collected-folder.js';

const ROOT = temporaryDirectory();
const { folder } = await collected(ROOT);
const explorer = await exploreFolder(folder, silent);

const REQUEST: SteerRequest = {
  ...{ text: 'The old man went', sae: 'sae-0', tokens: 8, temperature: 0, seed: 0 },
  changes: [{ feature: 5, operation: 'add', strength: 30 }],
};

function steering(
  t: TestContext,
  idle?: number,
  around = explorer,
  precision: 'float32' | 'float16' = 'float32',
): ThreadedSteering {
  const settings = { directory: MODEL, device: 'cpu', precision, threads: 1 } as const;
  const found = new ThreadedSteering(around, settings, idle);
  t.after(() => found.close());
  return found;
}

/** All events, read at once. */
async function heard(events: EventsOf<SteerEvent>, gone = new AbortController().signal): Promise<SteerEvent[]> {
  const all: SteerEvent[] = [];
  await events(async (event) => void all.push(event), gone);
  return all;
}

const textOf = (events: readonly SteerEvent[], side: 'unsteered' | 'steered') =>
  events.map((event) => (event.kind === 'text' ? event[side] : '')).join('');
const failureOf = (events: readonly SteerEvent[]) => {
  const last = events.at(-1);
  return last?.kind === 'failed' ? last.error : undefined;
};

test('both texts are those of `sae-pipe steer`, whatever was steered before', async (t) => {
  const found = steering(t);
  assert.equal(found.model, 'closed');
  const cases: Partial<SteerRequest>[] = [
    {},
    { sae: 'sae-1', changes: [{ feature: 7, operation: 'set', strength: 40 }], temperature: 0.9, seed: 3 },
    { changes: [{ feature: 5, operation: 'scale', strength: -3 }], tokens: 300 },
    { changes: [{ feature: 2, operation: 'ablate', strength: 9 }] },
  ];
  for (const more of cases) {
    const request = { ...REQUEST, ...more };
    const events = await heard(found.steer(request));
    assert.equal(events.at(-1)?.kind, 'ended', JSON.stringify(events.at(-1)));
    const [{ feature, operation, strength }] = request.changes as [FeatureChange];
    const { tokens, temperature, seed } = request;
    const config = steerSchema.parse({
      ...{
        sae: [join(ROOT, request.sae)],
        model: MODEL,
        prompt: [request.text],
        tokens,
        temperature,
        seed,
        json: true,
      },
      ...{ feature: [String(feature)], ...(operation === 'ablate' ? { ablate: true } : { [operation]: [strength] }) },
      ...{ prependBos: true, precision: 'float32', threads: 1 },
    });
    let printed = '';
    const print = (text: string) => {
      printed += text;
    };
    await steer(config, { progress: silent, stop: { signal: undefined }, print });
    const [{ unsteered, steered }] = JSON.parse(printed).texts;
    assert.equal(textOf(events, 'unsteered'), unsteered.text, operation);
    assert.equal(textOf(events, 'steered'), steered[0].text, operation);
  }
  assert.equal(found.model, 'ready');
});

test('what made a logit is what `sae-pipe attribute` finds, by gradient or where there is none', async (t) => {
  const { text, sae } = REQUEST;
  for (const [token, precision, method] of [
    [null, 'float32', 'gradient'],
    [1234, 'float32', 'gradient'],
    [null, 'float16', 'ablation'],
  ] as const) {
    const found = steering(t, undefined, explorer, precision);
    const events: AttributeEvent[] = [];
    const request = { text, sae, at: 3, token };
    await found.attribute(request)(async (event) => void events.push(event), new AbortController().signal);
    const next = events.find((event) => event.kind === 'next')!;
    const last = events.at(-1)!;
    assert.equal(last.kind, 'attributed', JSON.stringify(last));
    const name = next.likely.find(({ id }) => id === next.token)!.token;
    const config = attributeSchema.parse({
      ...{
        sae: [join(ROOT, sae)],
        model: MODEL,
        prompt: text,
        position: 3,
        candidates: 64,
        top: 30,
        json: true,
      },
      ...{ prependBos: true, precision, threads: 1, ...(token !== null && { token: name }) },
    });
    let printed = '';
    const print = (json: string) => {
      printed += json;
    };
    await attribute(config, { progress: silent, stop: { signal: undefined }, print });
    const expected = JSON.parse(printed);
    assert.deepEqual([name, next.logit], [expected.token, expected.logit]);
    assert.deepEqual(
      last.features.map(({ feature, position, at, activation, direct, effect }) => ({
        ...{ feature, position, at, activation, direct, effect },
      })),
      expected.features.map(({ feature, position, at, activation, direct, effect }: Record<string, unknown>) => ({
        ...{ feature, position, at, activation, direct, effect },
      })),
    );
    assert.deepEqual([last.method, last.leftOut], [method, expected.left_out]);
    assert.deepEqual([expected.method, expected.remark ?? null], [method, last.remark]);
    assert.equal(last.leftOut > 0 && last.examined === 64, method === 'ablation');
    assert.equal(
      events.some(({ kind }) => kind === 'ablated'),
      method === 'ablation',
    );
    assert.ok(last.features.length > 5);
  }
});

test('a client that leaves while activations are ablated does not keep the next one waiting', async (t) => {
  const found = steering(t, undefined, explorer, 'float16');
  const { text, sae } = REQUEST;
  const leave = new AbortController();
  let ablated = 0;
  const left = found.attribute({ text: 'sea '.repeat(300), sae, at: 300, token: null })(async ({ kind }) => {
    if (kind === 'ablated' && ++ablated === 2) leave.abort();
  }, leave.signal);
  // What is beyond the text is a sentence.
  const beyond: AttributeEvent[] = [];
  const asked = found.attribute({ text, sae, at: 100, token: null });
  await asked(async (event) => void beyond.push(event), new AbortController().signal);
  await left;
  // In parts of 12 activations with a text of 300 tokens.
  assert.ok(ablated < 5, String(ablated));
  const refused = beyond.at(-1)!;
  assert.ok(refused.kind === 'failed' && /token 100/.test(refused.error));
  assert.equal((await heard(found.steer(REQUEST))).at(-1)?.kind, 'ended');
});

test('20 requests at once get their places in the queue, and are answered in order', async (t) => {
  const found = steering(t);
  const order: number[] = [];
  const waits = await Promise.all(
    Array.from({ length: 20 }, async (_, i) => {
      const events = await heard(found.steer({ ...REQUEST, tokens: 2 }));
      order.push(i);
      assert.equal(events.at(-1)?.kind, 'ended');
      return events.flatMap((event) => (event.kind === 'queued' ? [event] : []));
    }),
  );
  for (const [i, queued] of waits.entries()) {
    assert.deepEqual(
      queued.map(({ ahead }) => ahead),
      Array.from({ length: i }, (_, k) => i - k),
    );
    for (const { ahead, says } of queued) assert.match(says, new RegExp(`\\b${ahead} other`));
  }
  assert.deepEqual(order, [...order.keys()]);
  assert.equal(found.waiting, 0);
});

test('the queue is bounded, and leaving it frees a place', async (t) => {
  const found = steering(t);
  const leave = new AbortController();
  const runs = Array.from({ length: 32 }, () => found.steer(REQUEST));
  assert.throws(() => found.steer(REQUEST), NotTaken);
  const first = heard(runs[0]!);
  leave.abort();
  for (const run of runs.slice(1)) assert.deepEqual(await heard(run, leave.signal), []);
  assert.equal((await heard(found.steer({ ...REQUEST, tokens: 1 }))).at(-1)?.kind, 'ended');
  assert.equal((await first).at(-1)?.kind, 'ended');
});

test('nothing is computed for a client that has left, nor far ahead of one that does not read', async (t) => {
  const found = steering(t);
  const long = { ...REQUEST, tokens: 400 };
  const leave = new AbortController();
  let texts = 0;
  const left = found.steer(long)(async ({ kind }) => {
    if (kind === 'text' && ++texts === 3) leave.abort();
  }, leave.signal);
  const next = heard(found.steer(REQUEST));
  await left;
  assert.ok(texts < 100, String(texts));
  assert.equal((await next).at(-1)?.kind, 'ended');

  const asleep = new AbortController();
  let told = 0;
  await found.steer(long)(({ kind }) => {
    if (kind !== 'text') return Promise.resolve();
    // While another thread opens the model and computes a whole text, this one computes nothing more.
    if (++told === 17) heard(steering(t).steer({ ...long, tokens: 40 })).then(() => asleep.abort());
    return new Promise(() => {});
  }, asleep.signal);
  assert.equal(told, 17);

  // A client that leaves while the model opens does not keep the next one from being answered.
  await found.close();
  const early = new AbortController();
  const opening = found.steer({ ...long, sae: 'sae-1' })(async () => early.abort(), early.signal);
  assert.equal((await heard(found.steer(REQUEST))).at(-1)?.kind, 'ended');
  await opening;
});

test('an unused model is closed, and opens again', async (t) => {
  const found = steering(t, 0);
  for (let i = 0; i < 2; i++) {
    assert.equal((await heard(found.steer(REQUEST))).at(-1)?.kind, 'ended');
    while (found.model !== 'closed') await new Promise((resolve) => setTimeout(resolve, 1));
  }
});

test('what cannot be steered is refused in a sentence, and the next request is answered', async (t) => {
  const found = steering(t);
  const change = { feature: 5, operation: 'set' } as const;
  const strong = await heard(found.steer({ ...REQUEST, changes: [{ ...change, strength: 3e38 }] }));
  assert.match(failureOf(strong)!, /feature 5 = 3e\+38 .*finite/);
  const long = await heard(found.steer({ ...REQUEST, text: 'sea '.repeat(600) }));
  assert.match(failureOf(long)!, /512 positions/);
  // 512 positions are there for the text and what follows together.
  assert.match(failureOf(await heard(found.steer({ ...REQUEST, tokens: 512 })))!, /positions/);
  assert.equal((await heard(found.steer(REQUEST))).at(-1)?.kind, 'ended');
  const { record } = explorer;
  const other = { ...explorer, record: { ...record, model: { ...record.model, fingerprint: 'x' } } };
  assert.match(failureOf(await heard(steering(t, 0, other).steer(REQUEST)))!, /a different model/);
});
