import assert from 'node:assert/strict';
import { copyFileSync } from 'node:fs';
import { join } from 'node:path';
import { openTokenizer } from '../../../../src/corpus/tokenizer.js';
import { encodeText } from '../../../corpus/encode-text.js';
import { pick } from '../chance.js';
import { mutateJson } from '../json.js';
import { bytesOf, type Target } from '../target.js';

const MODEL = 'assets/tiny-gemma';
const FILES = ['tokenizer.json', 'tokenizer_config.json', 'generation_config.json'];
const TEXTS = ['', 'Gentlemen of the Senate', 'λ → 😀 \u0000 \ud800 <bos>x\n\n\t ▁▁a', 'ab'.repeat(500)];

export const tokenizer: Target = {
  name: 'tokenizer',
  share: 3,
  module: import.meta.url,
  async prepare(directory) {
    for (const name of [...FILES, 'config.json', 'model.safetensors']) {
      copyFileSync(join(MODEL, name), join(directory, name));
    }
  },
  mutate(files, random, elsewhere) {
    const name = pick(random, [FILES[0]!, FILES[0]!, FILES[1]!, FILES[1]!, FILES[2]!]);
    const text = String(bytesOf(files, name));
    if (name !== FILES[0]) {
      files.set(name, mutateJson(text, random, elsewhere));
      return;
    }
    // Most of the file is the vocabulary: the rest would hardly ever be met.
    const json = JSON.parse(text) as Record<string, unknown> & { model: Record<string, unknown> };
    const part = pick(random, ['all', 'model', 'rest']);
    if (part === 'all') files.set(name, mutateJson(text, random, elsewhere));
    else {
      const { vocab, merges, ...model } = json.model;
      const small = part === 'model' ? model : { ...json, model: null };
      const changed = String(mutateJson(JSON.stringify(small), random, elsewhere)).trim();
      const inner = part === 'model' ? `${changed.slice(0, -1)},"vocab":${JSON.stringify(vocab)}` : '';
      const whole =
        inner &&
        JSON.stringify({ ...json, model: 0 }).replace(
          '"model":0',
          () => `"model":${inner},"merges":${JSON.stringify(merges)}}`,
        );
      files.set(
        name,
        Buffer.from(whole || changed.replace('"model":null', () => `"model":${JSON.stringify(json.model)}`)),
      );
    }
  },
  async read(directory) {
    const opened = await openTokenizer(directory, { bosTokenId: 2 });
    return JSON.stringify(
      TEXTS.map((text) => {
        const ids = encodeText(opened, text);
        for (const id of ids) assert.ok(Number.isInteger(id) && id >= 0 && id < 2 ** 31, `token ${id}`);
        return ids;
      }),
    );
  },
  command: (directory, out) => ({
    args: [
      ...['harvest', '--model', directory, '--corpus', 'assets/corpus/validation.jsonl.gz', '--tokens', '100'],
      ...['--hook', 'blocks.0.hook_resid_pre', '--context', '64', '--batch', '2', '--out', out],
    ],
  }),
};
