import { join, resolve } from 'node:path';
import { before } from 'node:test';
import { evalSchema } from '../../src/config/stages/eval.js';
import { pushSchema } from '../../src/config/stages/publish.js';
import { trainSchema } from '../../src/config/stages/train.js';
import { evaluate } from '../../src/eval/evaluate.js';
import type { HubSettings } from '../../src/hub/request.js';
import { type StopRequest, silent } from '../../src/progress/progress.js';
import { push } from '../../src/publish/push.js';
import { train } from '../../src/train/train.js';
import { MODEL } from '../hub/fake-hub.js';
import { tinyHub } from '../hub/tiny-hub.js';
import { temporaryDirectory } from '../temporary.js';
import { tinyActivations } from '../train/tiny-activations.js';

export const TOKEN = 'hf_writer';

/** A store, an SAE that was trained on it and its evaluation: made once per test file. */
export function trainedSae(): { readonly store: string; readonly sae: string; readonly evaluation: string } {
  const root = temporaryDirectory();
  const made = { store: '', sae: join(root, 'gated'), evaluation: join(root, 'evaluation') };
  before(async () => {
    const never = { signal: undefined };
    made.store = await tinyActivations(root);
    const training = { activations: made.store, dSae: 48, batch: 64, steps: 12, out: made.sae };
    await train(trainSchema.parse({ ...training, logEvery: 4 }), silent, never);
    // An absolute path, which must not be seen in what is published.
    const corpus = resolve('assets/corpus/validation.jsonl.gz');
    const text = { model: 'assets/tiny-gemma', corpus, context: 64, tokens: 200 };
    await evaluate(evalSchema.parse({ ...text, sae: [made.sae], out: made.evaluation }), silent, never);
  });
  return made;
}

type Test = { after: (end: () => void) => void };

/** A hub with an empty repository, a token that may write there, and `push` to it. */
export async function writableHub(t: Test) {
  const { hub, settings: reading, cache } = await tinyHub(t, new Map());
  hub.uploads.faults = { writer: TOKEN };
  const settings: HubSettings = { ...reading, token: TOKEN };
  /** @returns lines of standard output, and what was said */
  const pushed = async (
    what: string,
    to = `${MODEL}/gated`,
    flags: object = {},
    changed: Partial<HubSettings> = {},
    stop: StopRequest = { signal: undefined },
  ) => {
    const [lines, said]: [string[], string[]] = [[], []];
    const progress = { ...silent, say: (line: string) => void said.push(line) };
    const terminal = { progress, stop, print: (line: string) => void lines.push(line) };
    await push(pushSchema.parse({ what, to, ...flags }), terminal, { ...settings, ...changed });
    return { out: lines.join('\n'), said: said.join('\n') };
  };
  return { hub, cache, settings, pushed };
}
