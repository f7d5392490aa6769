"""Make test/golden/chats.jsonl: what transformers' apply_chat_template makes of 50 conversations, and whose tokens they are.

    pip install transformers            # 5.18
    python scripts/golden_chats.py          # from the repo root

The template is that of Gemma 3 as it is published, for the bundled tokenizer: as it is (its marks of turns fall apart into
pieces there), and with the marks as special tokens. Masks are transformers' return_assistant_tokens_mask of copies of the
template in which {% generation %} is around what is asked for: what the assistant says, or the turns of the user.
"""
import json
import random
import shutil
import tempfile

from transformers import AutoTokenizer

HEAD = """{{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}
    {%- if messages[0]['content'] is string -%}
        {%- set first_user_prefix = messages[0]['content'] + '

' -%}
    {%- else -%}
        {%- set first_user_prefix = messages[0]['content'][0]['text'] + '

' -%}
    {%- endif -%}
    {%- set loop_messages = messages[1:] -%}
{%- else -%}
    {%- set first_user_prefix = "" -%}
    {%- set loop_messages = messages -%}
{%- endif -%}
{%- for message in loop_messages -%}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
        {{ raise_exception("Conversation roles must alternate user/assistant/user/assistant/...") }}
    {%- endif -%}
    {%- if (message['role'] == 'assistant') -%}
        {%- set role = "model" -%}
    {%- else -%}
        {%- set role = message['role'] -%}
    {%- endif -%}
"""
TURN = """    {{ '<start_of_turn>' + role + '
' + (first_user_prefix if loop.first else "") }}
"""
CONTENT = """    {%- if message['content'] is string -%}
        {{ message['content'] | trim }}
    {%- elif message['content'] is iterable -%}
        {%- for item in message['content'] -%}
            {%- if item['type'] == 'image' -%}
                {{ '<start_of_image>' }}
            {%- elif item['type'] == 'text' -%}
                {{ item['text'] | trim }}
            {%- endif -%}
        {%- endfor -%}
    {%- else -%}
        {{ raise_exception("Invalid content type") }}
    {%- endif -%}
    {{ '<end_of_turn>
' }}
"""
TAIL = """{%- endfor -%}
{%- if add_generation_prompt -%}
    {{'<start_of_turn>model
'}}
{%- endif -%}
"""
TEMPLATE = HEAD + TURN + CONTENT + TAIL
ASSISTANT = (HEAD + TURN + "{%- if role == 'model' -%}{%- generation -%}\n" + CONTENT
             + '{%- endgeneration -%}{%- else -%}\n' + CONTENT + '{%- endif -%}\n' + TAIL)
USER = (HEAD + "{%- if role == 'user' -%}{%- generation -%}\n" + TURN + CONTENT
        + '{%- endgeneration -%}{%- else -%}\n' + TURN + CONTENT + '{%- endif -%}\n' + TAIL)

SAYINGS = ['Once upon a time there was a cat.', 'Tell me a story', ' spaces around ', 'two\n\nlines', '\n\nfirst\tand\tlast\n',
           'naïve café – “quotes”', '日本語の文', 'emoji 😀👩‍👩‍👧', '😀', '\U00012000', 'a\u0301 b', '▁ already ▁▁', '', '   ',
           'if x < 3:\n    print("<b>")', '<eos> and <bos> written out', 'CR\r\nLF', '1234567890', 'word ' * 30, '<end_of_turn>',
           'x', '🏳️‍🌈 at the end 🏳️‍🌈', 'The end', "it's “so”!", '\u00a0no break\u00a0', 'zero\u200bwidth']


def conversations():
    random.seed(23)
    for i in range(50):
        messages = []
        if i % 7 == 3:
            system = random.choice(SAYINGS[:8])
            messages.append({'role': 'system', 'content': [{'type': 'text', 'text': system}] if i % 2 else system})
        for turn in range(1 + i % 6):
            text = SAYINGS[(5 * i + turn) % len(SAYINGS)] if turn % 2 else random.choice(SAYINGS)
            parts = i % 11 == 5 and turn == 0
            content = [{'type': 'text', 'text': text}, {'type': 'text', 'text': ' and more '}] if parts else text
            messages.append({'role': 'assistant' if turn % 2 else 'user', 'content': content})
        yield messages


def tokenizers():
    yield 'bundled', AutoTokenizer.from_pretrained('assets/tiny-gemma')
    with tempfile.TemporaryDirectory() as directory:
        shutil.copytree('assets/tiny-gemma', directory, dirs_exist_ok=True)
        path = f'{directory}/tokenizer.json'
        file = json.load(open(path))
        for i, content in enumerate(['<start_of_turn>', '<end_of_turn>']):
            file['added_tokens'].append(dict(id=4096 + i, content=content, single_word=False, lstrip=False, rstrip=False,
                                             normalized=False, special=True))
        json.dump(file, open(path, 'w'))
        yield 'with turns', AutoTokenizer.from_pretrained(directory)


def mask(tokenizer, messages, template):
    out = tokenizer.apply_chat_template(messages, chat_template=template, tokenize=True, return_dict=True,
                                        return_assistant_tokens_mask=True)
    return out['input_ids'], ''.join(map(str, out['assistant_masks']))


cases = []
for messages in conversations():
    case = {'messages': messages}
    for name, tokenizer in tokenizers():
        ids, assistant = mask(tokenizer, messages, ASSISTANT)
        same, user = mask(tokenizer, messages, USER)
        plain = tokenizer.apply_chat_template(messages, chat_template=TEMPLATE, tokenize=True, return_dict=True)['input_ids']
        assert ids == same == plain
        case['text'] = tokenizer.apply_chat_template(messages, chat_template=TEMPLATE, tokenize=False)
        case[name] = {'ids': ids, 'assistant': assistant, 'user': user}
    cases.append(case)
with open('test/golden/chats.jsonl', 'w') as file:
    json.dump({'template': TEMPLATE, 'marked': ASSISTANT}, file)
    file.write('\n')
    for case in cases:
        file.write(json.dumps(case, ensure_ascii=False) + '\n')
