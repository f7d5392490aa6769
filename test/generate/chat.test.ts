import assert from 'node:assert/strict';
import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { chatTexts } from '../../src/generate/chat.js';
import { openTextModel, readPrompts } from '../../src/generate/prompts.js';
import { openCheckpoint } from '../../src/lm/checkpoint.js';
import { refuses } from '../config/refuses.js';
import { temporaryDirectory } from '../temporary.js';

/** The form of Gemma's. */
const TEMPLATE =
  "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}{% for message in messages %}{{ '<turn>' + message['role'] + '\n' + message['content'] | trim + '</turn>\n' }}{% endfor %}{% if add_generation_prompt %}{{'<turn>model\n'}}{% endif %}";

/** The bundled model with another tokenizer_config.json, or a file of a template. */
function model(more: object, file?: string): string {
  const directory = temporaryDirectory();
  cpSync('assets/tiny-gemma', directory, { recursive: true });
  const path = join(directory, 'tokenizer_config.json');
  const config = JSON.parse(readFileSync(path, 'utf8')) as object;
  writeFileSync(path, JSON.stringify({ ...config, ...more }));
  if (file !== undefined) writeFileSync(join(directory, 'chat_template.jinja'), file);
  return directory;
}

test("a message is put into a model's template, wherever that is, with one BOS", async () => {
  const expected = '<bos><turn>user\nHello, you.</turn>\n<turn>model\n';
  const named = [
    { name: 'tool_use', template: 'tools' },
    { name: 'default', template: TEMPLATE },
  ];
  const places = [model({ chat_template: TEMPLATE }), model({ chat_template: named }), model({}, TEMPLATE)];
  for (const directory of places) assert.deepEqual(await chatTexts(directory, [' Hello, you. ']), [expected]);
  const opened = await openTextModel(await openCheckpoint(places[0]!), 'always');
  const { tokens, shown } = await readPrompts(opened, { prompt: ['Hello, you.'], chat: true });
  const plain = await readPrompts(opened, { prompt: [expected.slice('<bos>'.length)], chat: false });
  assert.deepEqual(tokens, plain.tokens);
  assert.equal(tokens[0]!.filter((id) => id === 2).length, 1);
  assert.deepEqual([shown, plain.shown], [[''], ['<turn>user\nHello, you.</turn>\n<turn>model\n']]);
});

test('a model without a template is refused, and so is a template that fails', async () => {
  await refuses(() => chatTexts('assets/tiny-gemma', ['x']), 'generate/no-chat-template', '--chat');
  await refuses(() => chatTexts(model({ chat_template: [] }), ['x']), 'generate/no-chat-template');
  for (const broken of ["{{ raise_exception('nobody') }}", '{% for x in %}', '{{ 1 / none.x.y }}']) {
    await refuses(() => chatTexts(model({ chat_template: broken }), ['x']), 'generate/chat-template', '--chat');
  }
  await refuses(() => chatTexts(model({ chat_template: 3 }), ['x']), 'disk/wrong-json', 'chat_template');
});
