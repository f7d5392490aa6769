import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Chats } from '../../../src/corpus/chats/chats.js';
import { conversationOf, plainText } from '../../../src/corpus/chats/conversation.js';
import { countedTokens } from '../../../src/corpus/chats/counted.js';
import type { Document } from '../../../src/corpus/contexts.js';
import { openTokenizer, type Tokenizer } from '../../../src/corpus/tokenizer.js';
import { goldenChats as cases, chatModel, marked, template } from './gemma-chats.js';

const idsOf = (tokenizer: Tokenizer, text: string) => {
  const document = tokenizer.begin('');
  return [...document.push(text), ...document.end()].flatMap((part) => [...part]);
};

async function* documents(chats: Chats): AsyncGenerator<Document> {
  for (const [i, { messages }] of cases.entries()) {
    const conversation = conversationOf(messages, `case ${i}`, 'messages', chats.keepsParts);
    yield { source: `case ${i}`, pieces: [plainText(conversation)], conversation };
  }
}

for (const [name, source, roles] of [
  ['of the assistant, by renderings of beginnings', template, ['assistant']],
  ['of the assistant, by what the template marks', marked, ['assistant']],
  ['of the user', template, ['user']],
] as const) {
  test(`texts, tokens and the positions ${name}, are those of apply_chat_template`, async () => {
    for (const turns of [false, true]) {
      const directory = chatModel(source, turns);
      const tokenizer = await openTokenizer(directory, { bosTokenId: 2 });
      const chats = await Chats.open(directory, { field: 'messages', roles });
      assert.equal(chats.facts.spans, source === marked ? 'generation' : 'prefixes');
      let i = 0;
      for await (const { pieces, spans, source: place } of chats.texts(documents(chats))) {
        const { text, ...golden } = cases[i]!;
        const [rendered] = [...(pieces as Iterable<string>)];
        assert.equal(rendered, text, place);
        const expected = golden[turns ? 'with turns' : 'bundled'];
        const ids = idsOf(tokenizer, rendered);
        assert.deepEqual(ids, expected.ids, place);
        const counted = countedTokens(tokenizer, ids, rendered, spans!, place);
        assert.equal(counted.join(''), expected[roles[0]], place);
        i++;
      }
      assert.equal(i, 50);
    }
  });
}
