import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Chats } from '../../../src/corpus/chats/chats.js';
import { conversationOf } from '../../../src/corpus/chats/conversation.js';
import type { Document } from '../../../src/corpus/contexts.js';
import { refuses } from '../../config/refuses.js';
import { chatModel, template } from './gemma-chats.js';

const turn = (role: string, content: unknown) => ({ role, content });
const asked = [turn('user', 'Hello'), turn('assistant', 'Good day')];

async function* documents(conversations: readonly unknown[], parts: boolean): AsyncGenerator<Document> {
  for (const [i, value] of conversations.entries()) {
    const conversation = conversationOf(value, `c.jsonl:${i + 1}`, 'messages', parts);
    yield { source: `c.jsonl:${i + 1}`, pieces: [''], conversation };
  }
}

/** Rendered conversations: texts, and the characters of roles in them. */
async function rendered(source: string, conversations: readonly unknown[], roles?: string[], patience?: number) {
  const chats = await Chats.open(chatModel(source, true), { field: 'messages', roles }, patience);
  const texts: string[] = [];
  const said: string[] = [];
  for await (const { pieces, spans = [] } of chats.texts(documents(conversations, chats.keepsParts))) {
    const [text] = pieces as Iterable<string>;
    texts.push(text!);
    for (let i = 0; i < spans.length; i += 2) said.push(text!.slice(spans[i], spans[i + 1]));
  }
  return { texts, said };
}

/** A plain template, which takes any role. */
const PLAIN =
  "{% for m in messages %}{{ '[' + m.role + ']' + m.content + '[/]' }}{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}";

test('conversations of ShareGPT, content in parts, and other roles are read', async () => {
  const shared = [
    { from: 'human', value: 'Hi' },
    { from: 'gpt', value: 'Yes' },
  ];
  const parts = [turn('user', [{ type: 'text', text: 'a ' }, { type: 'text', text: 'b' }, 'c']), asked[1]!];
  const { texts, said } = await rendered(PLAIN, [shared, parts, []], ['assistant']);
  assert.deepEqual(
    texts,
    ['[user]Hi[/][assistant]Yes[/]', '[user]a bc[/][assistant]Good day[/]', ''],
    'an empty one is empty',
  );
  assert.deepEqual(said, ['Yes[/]', 'Good day[/]']);
  const model = [asked[0]!, turn('model', 'Good day')];
  assert.deepEqual((await rendered(template, [model], ['assistant'])).said, ['Good day<end_of_turn>\n']);
  const tools = [turn('system', 'Be kind'), turn('user', 'x'), turn('tool', '{}')];
  assert.deepEqual((await rendered(PLAIN, [tools], ['system', 'tool'])).said, ['[system]Be kind[/]', '[tool]{}[/]']);
  assert.deepEqual((await rendered(template, [asked])).said, [], 'of all roles nothing is cut out');
});

test("a template's range is Python's, as far as any template needs it", async () => {
  const source = '{{ range(3) | list }}{{ range(1, 4) | list }}{{ range(5, 0, -2) | list }}{{ range(2, 2) | list }}';
  assert.deepEqual((await rendered(source, [asked])).texts, ['[0, 1, 2][1, 2, 3][5, 3, 1][]']);
  await refuses(() => rendered('{{ range(1000000000) }}', [asked]), 'corpus/chat-template', 'range');
  await refuses(() => rendered('{{ range(1, 2, 0) }}', [asked]), 'corpus/chat-template', 'step of 0');
});

test('what is not a conversation is refused by name', async () => {
  const not = (value: unknown, code: Parameters<typeof refuses>[1], word: string) =>
    refuses(() => rendered(PLAIN, [asked, value]), code, word);
  await not('Hello', 'corpus/no-chat', 'is text');
  await not(['Hello'], 'corpus/no-chat', 'message 1');
  await not([{ content: 'x' }], 'corpus/no-chat', 'role');
  await not([turn('user', null)], 'corpus/no-chat', 'null');
  await not([turn('user', 3)], 'corpus/no-chat', 'number');
  await not([{ from: 'nobody', value: 'x' }], 'corpus/no-chat', 'nobody');
  await not([{ from: 'human', value: 1 }], 'corpus/no-chat', 'value');
  const picture = [{ type: 'text', text: 'Look' }, { type: 'image' }];
  await not([turn('user', picture)], 'corpus/chat-part', 'image');
});

test('conversations before a refused one are given first', async () => {
  const chats = await Chats.open(chatModel(template, true), { field: 'messages' });
  const seen: string[] = [];
  const read = async () => {
    const wrong = [turn('assistant', 'I begin'), turn('user', 'no')];
    for await (const { source } of chats.texts(documents([asked, asked, wrong, asked], true))) seen.push(source);
  };
  await refuses(read, 'corpus/chat-template', 'c.jsonl:3');
  assert.deepEqual(seen, ['c.jsonl:1', 'c.jsonl:2']);
  const gemma2 = `{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}${PLAIN}`;
  await refuses(() => rendered(gemma2, [[turn('system', 'x'), ...asked]]), 'corpus/chat-template', 'System role');
});

/** ChatML, and what a template may write before the first message. */
const chatml = (before = '') =>
  `{% for m in messages %}${before}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>' + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}`;
const SYSTEM = "{{ '<|im_start|>system\nYou are helpful.<|im_end|>\n' }}";
const asQwen2 = `{% if messages[0]['role'] != 'system' %}${SYSTEM}{% endif %}${chatml()}`;
const asQwen1 = chatml(`{% if loop.first and m.role != 'system' %}${SYSTEM}{% endif %}`);

test('where the assistant speaks first, its header and a default system prompt are not part of its message', async () => {
  const first = [turn('assistant', 'How can I help?'), turn('user', 'Hello'), turn('assistant', 'Good day')];
  const own = ['How can I help?<|im_end|>\n', 'Good day<|im_end|>\n'];
  for (const source of [chatml(), asQwen2, asQwen1]) {
    assert.deepEqual((await rendered(source, [first], ['assistant'])).said, own);
    // Words that look like a header are words.
    const odd = [turn('assistant', 'a<|im_start|>assistant\nb')];
    assert.deepEqual((await rendered(source, [odd], ['assistant'])).said, ['a<|im_start|>assistant\nb<|im_end|>\n']);
  }
  const shared = [{ from: 'gpt', value: 'Hi' }];
  assert.deepEqual((await rendered(asQwen1, [shared], ['assistant'])).said, ['Hi<|im_end|>\n']);
  const bare = '{% for m in messages %}{{ m.content }}{% endfor %}';
  assert.deepEqual((await rendered(bare, [shared], ['assistant'])).said, ['Hi']);
  // Nothing asks for an answer, and something is before it.
  const unasked = bare.replace('{{ m', '{{ m.role }}{{ m');
  await refuses(() => rendered(unasked, [shared], ['assistant']), 'corpus/ambiguous-chat-template', 'begins');
});

test('a template that does not tell roles apart, or has none of a role, is refused', async () => {
  // As templates that drop earlier turns' thoughts do.
  const forgets = "{% for m in messages %}{{ '[' + m.role + ']' + (m.content if loop.last else '…') }}{% endfor %}";
  await refuses(() => rendered(forgets, [asked], ['user']), 'corpus/ambiguous-chat-template', 'message 1');
  const prompts = `${PLAIN.replace('[assistant]', '[answer]')}`;
  await refuses(() => rendered(prompts, [asked], ['assistant']), 'corpus/ambiguous-chat-template', 'message 2');
  const trims =
    '{% set all %}{% for m in messages %}{% generation %} {{ m.content }}{% endgeneration %}{% endfor %}{% endset %}{{ all | trim }}';
  await refuses(() => rendered(trims, [asked], ['assistant']), 'corpus/ambiguous-chat-template', 'generation');
  await refuses(() => rendered(PLAIN, [asked], ['assistent']), 'corpus/no-such-role', 'user, assistant');
  await refuses(() => Chats.open('assets/tiny-gemma', { field: 'messages' }), 'corpus/no-chat-template');
});

test('a template that loops, grows or writes without end is ended', async () => {
  const loop = '{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}';
  await refuses(() => rendered(loop, [asked], undefined, 500), 'corpus/chat-template-limits', '0.5 s');
  const doubled =
    '{% set ns = namespace(text="xxxxxxxxxxxxxxxx") %}{% for i in range(22) %}{% set ns.text = ns.text + ns.text %}{% endfor %}{{ ns.text }}';
  await refuses(() => rendered(doubled, [asked]), 'corpus/chat-template-limits', 'characters');
});

test('a template has the same day every day', async () => {
  const dated = '{% if strftime_now is defined %}{{ strftime_now("%d %b %Y") }}{% endif %}{{ messages[0].content }}';
  assert.deepEqual((await rendered(dated, [asked])).texts, ['26 Jul 2024Hello']);
});
