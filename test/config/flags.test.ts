import assert from 'node:assert/strict';
import { test } from 'node:test';
import { z } from 'zod';
import { flagName, flagsOf } from '../../src/config/flags.js';
import { STAGES } from '../../src/config/stages.js';
import { trainable } from '../../src/sae/registry.js';

const flagOf = (schema: z.ZodType) => flagsOf(z.object({ someKey: schema }))[0]!;

test('a configuration key becomes a flag in kebab case', () => {
  assert.equal(flagName('out'), 'out');
  assert.equal(flagName('dSae'), 'd-sae');
  assert.equal(flagName('rowsPerShard'), 'rows-per-shard');
  assert.equal(flagName('beta1'), 'beta1');
});

test('strings, numbers, integers and booleans give their flag types', () => {
  assert.equal(flagOf(z.string().min(1)).type, 'string');
  assert.equal(flagOf(z.number().positive()).type, 'number');
  assert.equal(flagOf(z.number().int().positive()).type, 'number');
  assert.equal(flagOf(z.boolean()).type, 'boolean');
  assert.equal(flagOf(z.number().optional()).type, 'number');
});

test('an enum gives a string flag with its choices', () => {
  const flag = flagOf(z.enum(['gated', 'standard']));
  assert.equal(flag.type, 'string');
  assert.deepEqual(flag.choices, ['gated', 'standard']);
  assert.equal(flagOf(z.string()).choices, undefined);
});

test('an array gives a repeated flag of its element type', () => {
  const flag = flagOf(z.array(z.number()));
  assert.equal(flag.repeated, true);
  assert.equal(flag.type, 'number');
  assert.equal(flagOf(z.number()).repeated, false);
  assert.deepEqual(flagOf(z.array(z.enum(['a', 'b']))).choices, ['a', 'b']);
});

test('key, name, description and default are taken over', () => {
  const [flag] = flagsOf(z.object({ dSae: z.number().default(512).describe('number of features') }));
  assert.equal(flag!.key, 'dSae');
  assert.equal(flag!.name, 'd-sae');
  assert.equal(flag!.description, 'number of features');
  assert.equal(flag!.default, 512);
  assert.equal(flagOf(z.string()).default, undefined);
});

test('flags come in the order of the schema', () => {
  const schema = z.object({ zeta: z.string(), alpha: z.number(), middle: z.boolean() });
  assert.deepEqual(
    flagsOf(schema).map(({ name }) => name),
    ['zeta', 'alpha', 'middle'],
  );
});

test('a key that no flag can express is a programming error that names it', () => {
  assert.throws(() => flagOf(z.object({ inner: z.string() })), /someKey/);
});

test('every flag of every stage has its own name and a description', () => {
  for (const [stage, schema] of Object.entries(STAGES)) {
    const flags = flagsOf(schema);
    const names = flags.map(({ name }) => name);
    assert.equal(new Set(names).size, names.length, stage);
    for (const { name, description } of flags) {
      assert.match(name, /^[a-z][a-z0-9]*(-[a-z0-9]+)*$/);
      assert.ok(description.length >= 8, `${stage} --${name} has no description`);
    }
  }
});

test('harvest and train have the flags that their users know', () => {
  const harvest = new Map(flagsOf(STAGES.harvest).map((flag) => [flag.name, flag]));
  assert.equal(harvest.get('hook')!.repeated, true);
  assert.equal(harvest.get('tokens')!.type, 'number');
  assert.equal(harvest.get('tokens')!.default, undefined);
  assert.deepEqual(harvest.get('dtype')!.choices, ['auto', 'float16', 'bfloat16', 'float32']);
  assert.equal(harvest.get('dtype')!.default, 'auto');
  assert.equal(harvest.get('resume')!.type, 'boolean');
  const train = new Map(flagsOf(STAGES.train).map((flag) => [flag.name, flag]));
  assert.equal(train.get('d-sae')!.type, 'number');
  assert.deepEqual(train.get('arch')!.choices, trainable);
  assert.ok(trainable.includes('gated') && trainable.includes('topk') && !trainable.includes('gated_untied'));
});
