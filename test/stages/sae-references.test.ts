import assert from 'node:assert/strict';
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { flagsOf } from '../../src/config/flags.js';
import { evalSchema } from '../../src/config/stages/eval.js';
import { featuresSchema } from '../../src/config/stages/features.js';
import { attributeSchema, steerSchema } from '../../src/config/stages/generation.js';
import { figureSchema } from '../../src/config/stages/pages.js';
import { convertSchema, exportSchema } from '../../src/config/stages/saes.js';
import { trainSchema } from '../../src/config/stages/train.js';
import { STAGES, type StageName } from '../../src/config/stages.js';
import { evaluate } from '../../src/eval/evaluate.js';
import { TriedModel } from '../../src/explore/tried-model.js';
import { collectFeatures } from '../../src/features/features.js';
import { FEATURES_FILE, featuresRecord } from '../../src/features/folder.js';
import { attribute } from '../../src/generate/attribute.js';
import { steer } from '../../src/generate/steer.js';
import { silent } from '../../src/progress/progress.js';
import { drawFigure } from '../../src/report/draw-figure.js';
import { convertSae } from '../../src/sae/published/convert-to.js';
import { saveSae } from '../../src/sae/saelens.js';
import { train } from '../../src/train/train.js';
import { refuses } from '../config/refuses.js';
import { FakeHub } from '../hub/fake-hub.js';
import { useCache } from '../sae/published/opened.js';
import { randomSae } from '../sae/random-sae.js';
import { temporaryDirectory } from '../temporary.js';
import { tinyActivations } from '../train/tiny-activations.js';

const REPOSITORY = 'google/gemma-scope-2b-pt-res';
const PATH = 'layer_1/width_16k/average_l0_102';
const RELEASE = 'gemma-scope-2b-pt-res-canonical:layer_1/width_16k/canonical';
const HOOK = 'blocks.1.hook_resid_post';

const root = temporaryDirectory();
/** The same SAE on disk, under an equivalent name. */
const local = join(root, REPOSITORY, PATH);
useCache();
let store = '';
const ends: (() => void)[] = [];
after(() => {
  for (const end of ends) end();
});

before(async () => {
  store = await tinyActivations(root, HOOK);
  const plain = join(root, 'plain');
  mkdirSync(plain);
  const { parameters, ...form } = randomSae('jumprelu', 192, 24, 5);
  const threshold = parameters.threshold!.map(Math.abs);
  await saveSae(plain, { ...form, parameters: { ...parameters, threshold } }, { hook_name: HOOK });
  const never = { signal: undefined };
  await convertSae(
    { sae: plain, as: 'gemma-scope', out: local, overwrite: false, takeOver: false, offline: true },
    silent,
    never,
  );
  const files = new Map([[`${PATH}/params.npz`, readFileSync(join(local, 'params.npz'))]]);
  for (const name of ['cfg.json', 'sae_weights.safetensors'])
    files.set(`plain/${name}`, readFileSync(join(plain, name)));
  const hub = await FakeHub.start({ after: (end) => ends.push(end) }, files);
  hub.name = REPOSITORY;
  Object.assign(process.env, { HF_ENDPOINT: hub.endpoint, HF_HUB_CACHE: join(root, 'hub'), HF_TOKEN: '' });
});

const text = { model: 'assets/tiny-gemma', corpus: 'assets/corpus/validation.jsonl.gz', context: 32 };
const never = { signal: undefined };

/** What a command prints. */
async function printed(run: (terminal: Parameters<typeof attribute>[1]) => Promise<unknown>): Promise<string> {
  const lines: string[] = [];
  const print = (line: string) => void lines.push(line);
  await run({ progress: silent, stop: never, print, write: print } as Parameters<typeof attribute>[1]);
  return lines.join('\n');
}

async function drawn(sae: string): Promise<string> {
  const out = `${output()}.svg`;
  const config = { name: 'jump-relu', sae, feature: 3, activations: store, out };
  await drawFigure(figureSchema.parse(config), silent, never);
  return readFileSync(out, 'utf8');
}

let outputs = 0;
const output = () => join(root, `out-${outputs++}`);

/** For each command that takes an SAE: it is run on a reference, and what it found, without the reference. */
const COMMANDS: Readonly<Partial<Record<StageName, (sae: string) => Promise<unknown>>>> = {
  async eval(sae) {
    const [record] = await evaluate(
      evalSchema.parse({ ...text, sae: [sae], tokens: 100, out: output() }),
      silent,
      never,
    );
    return [record!.l0, record!.ce_spliced, record!.hook];
  },
  async features(sae) {
    const out = output();
    await collectFeatures(featuresSchema.parse({ ...text, sae: [sae], tokens: 100, out }), silent, never);
    const record = featuresRecord.parse(JSON.parse(readFileSync(join(out, FEATURES_FILE), 'utf8')));
    // explore opens the SAE again, by the reference that features kept.
    const settings = { directory: text.model, folder: out, record, device: 'cpu', precision: 'float32', threads: 1 };
    const tried = await TriedModel.open(settings as Parameters<typeof TriedModel.open>[0]);
    const { saes } = await tried.run({ text: 'Once upon a time' });
    await tried.close();
    return [record.saes.map(({ sha256, hook, d_sae }) => [sha256, hook, d_sae]), saes.map(({ top }) => top)];
  },
  steer: (sae) =>
    printed(async (terminal) => {
      const { model } = text;
      const config = { model, sae: [sae], prompt: ['Once'], tokens: 3, feature: ['2'], set: [9], json: true };
      await steer(steerSchema.parse(config), terminal);
    }),
  attribute: (sae) =>
    printed(async (terminal) => {
      const { model } = text;
      await attribute(attributeSchema.parse({ model, sae: [sae], prompt: 'Once upon', top: 3, json: true }), terminal);
    }),
  async figure(sae) {
    // It draws x − b_dec, which Gemma Scope's SAEs do not have; so the second is one that is taken.
    await refuses(() => drawn(sae), 'report/unsupported-sae', sae);
    const plain = sae === local ? join(root, 'plain') : `${REPOSITORY}/plain`;
    return (await drawn(plain)).replaceAll(plain, 'SAE');
  },
  async convert(sae) {
    const out = output();
    await convertSae(convertSchema.parse({ sae, as: 'saelens', out }), silent, never);
    return readFileSync(join(out, 'sae_weights.safetensors'));
  },
  async export(sae) {
    const out = output();
    await convertSae({ ...exportSchema.parse({ sae, as: 'jumprelu', out }), offline: false }, silent, never);
    return readFileSync(join(out, 'sae_weights.safetensors'));
  },
  async train(sae) {
    const training = { arch: 'jumprelu', activations: store, init: sae, dSae: 24, batch: 16, steps: 2, anyModel: true };
    const out = output();
    await train(trainSchema.parse({ ...training, out }), silent, never);
    return readFileSync(join(out, 'sae_weights.safetensors'));
  },
};

/** What reads a text is run on one reference. */
const SLOW = ['eval', 'features'];

/** Names in results that the reference decides. */
const anonymous = (found: unknown, reference: string) =>
  typeof found === 'string' ? found.replaceAll(reference, 'SAE') : found;

for (const [name, run] of Object.entries(COMMANDS)) {
  test(`${name} takes a path of the hub, a release and a directory, and finds the same`, async () => {
    const here = anonymous(await run(local), local);
    for (const reference of SLOW.includes(name) ? [RELEASE] : [`${REPOSITORY}/${PATH}`, RELEASE])
      assert.deepEqual(anonymous(await run(reference), reference), here, reference);
  });
}

test('these are all commands that take an SAE by its path', () => {
  const taking = (Object.keys(STAGES) as StageName[]).filter((stage) =>
    flagsOf(STAGES[stage]).some(({ name, path }) => path && (name === 'sae' || name === 'init')),
  );
  assert.deepEqual(Object.keys(COMMANDS).sort(), taking.sort());
});
