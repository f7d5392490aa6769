"""Make test/golden/byte-level.json: tokens that Hugging Face's tokenizers give with the parts that the tokenizers of
GPT-2, GPT-NeoX (Pythia), Llama 3, Qwen and GELU-1L have, over a small vocabulary learned from the bundled text.

    pip install tokenizers                  # 0.23
    python scripts/golden_byte_level.py     # from the repo root
    python scripts/golden_byte_level.py FILE.json…      # the ids of the same texts by other tokenizer.json files, on stdout

The file has the vocabulary and merges once, the other parts of each case, the texts, and their ids.
"""
import gzip
import json
import random
import sys

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

LATER = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
BYTES = dict(type='ByteLevel', add_prefix_space=False, trim_offsets=True, use_regex=True)
PLAIN_BYTES = BYTES | dict(use_regex=False)


def split(digits):
    return dict(type='Split', pattern=dict(Regex=LATER % digits), behavior='Isolated', invert=False)


def sequence(*steps):
    return dict(type='Sequence', pretokenizers=list(steps))


def added(id, content, **flags):
    return dict(id=id, content=content, single_word=False, lstrip=False, rstrip=False, normalized=False, special=False) | flags


# (parts of tokenizer.json, of its model, contents of added tokens with their flags)
SPECIAL = [('<|endoftext|>', dict(special=True))]
CASES = {
    'gpt2': (dict(pre_tokenizer=BYTES), {}, SPECIAL),
    'neox': (dict(pre_tokenizer=BYTES, normalizer=dict(type='NFC')), {}, SPECIAL + [('<|padding|>', dict(special=True))] + [
        (' ' * n, dict(normalized=True)) for n in range(24, 1, -1)]),
    'llama3': (dict(pre_tokenizer=sequence(split(r'\p{N}{1,3}'), PLAIN_BYTES)), dict(ignore_merges=True),
               [('<|begin_of_text|>', dict(special=True)), ('<|eot_id|>', dict(special=True))]),
    'qwen': (dict(pre_tokenizer=sequence(split(r'\p{N}'), PLAIN_BYTES), normalizer=dict(type='NFC')), {},
             SPECIAL + [('<|im_start|>', dict(special=True)), ('<tool_call>', {})]),
    'digits': (dict(pre_tokenizer=sequence(dict(type='Digits', individual_digits=True), BYTES)), {}, SPECIAL),
    'flags': (dict(pre_tokenizer=BYTES, normalizer=dict(type='NFC')), {}, [
        ('<mask>', dict(lstrip=True, special=True)), ('end', dict(single_word=True)), ('é!', dict(normalized=True)),
        ('<r>', dict(rstrip=True))]),
}

FIXED = [
    '', ' ', '  ', '\n', ' \n', '\n ', '\t', 'Hello world', ' Hello  world ', "I'm you're they'll he'd we've it's don't",
    "I'M YOU'RE THEY'LL HE'D WE'VE IT'S DON'T", "'ſ 'ſabc 'S's", "''s '' 'x", '1 12 123 1234 12345 1234567', '3.14 1,000,000', 'a1b22c333',
    '½ ² ③ Ⅷ ٣٤ 四', 'foo\n\nbar', 'foo \n \n bar', 'foo.\n\nbar', 'foo)\n\n\n  bar', 'x\r\ny\r\r\nz', 'tab\tand\t\ttab', '\u00a0nbsp\u00a0\u00a0two',
    'a\u0085b \u0085c', 'a\ufeffb \ufeff c', 'a\u200bb\u200d', 'a\u2028b\u2029c', '\u3000全角 \u3000', 'e\u0301 é e\u0301\u0302', 'A\u030a Å \u212b', '\u1100\u1161\u11a8 각',
    '\ufb01 ﬀ ①', '中文 日本語。\n\n漢字かな', 'Привет, мир!', 'مرحبا بالعالم', 'नमस्ते दुनिया', 'สวัสดี', '👩\u200d👩\u200d👧 👍🏽 🇩🇪', '😀😀 😀', '\U00020000\U0001d538',
    '<|endoftext|>', 'a<|endoftext|>b', ' <|endoftext|> ', '<|endoftext', '<|begin_of_text|>x<|eot_id|>', '<|im_start|>user\nhi', '<tool_call>{}', '<|padding|> ',
    'def f(x):\n    return x  # comment\n\n\n\tif y:\n\t\tpass', '{"a": [1, 2, {"b": null}]}', 'http://a.b/c?d=e&f#g', '<p class="x">&nbsp;</p>', '=' * 40, '-' * 17 + '>' , '!?!?...…',
    ' ' * 24 + 'x', ' ' * 25 + 'x', ' ' * 60, 'x' + ' ' * 3, 'end', 'the end.', 'ends end_ end-end', 'e\u0301! é!', 'a  <mask>  b<mask>', '<r>  x <r>\n',
    '\x00\x01\x7f\x80', '\ufffd', 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa', "rock'n'roll o'clock", '$100 €5 £3', 'C++ C# F#', 'snake_case camelCase', '. , ; :', "'", "' '", '"\'s"',
]
PIECES = ['a', 'the', 'Once', ' upon', ' ', '  ', '\n', '\n\n', '\r\n', '\t', "'s", "'LL", "'", '.', '!?', '1', '23', '456', '½', 'é', 'e\u0301', 'ß', '中', '。', '😀',
          '\u00a0', '\u2003', '\u0085', '\ufeff', '\u200d', '<|endoftext|>', '<|eot_id|>', '   ', 'end', '<mask>', '_', '-', '\u0301', 'ſ', 'Ж', 'ا', 'न\u093f']


def texts():
    rng = random.Random(3)
    made = [''.join(rng.choice(PIECES) for _ in range(rng.randint(2, 30))) for _ in range(320 - len(FIXED))]
    return FIXED + made


def learn():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    with gzip.open('assets/corpus/validation.jsonl.gz', 'rt', encoding='utf8') as f:
        lines = [json.loads(line)['text'] for line in f][:400] + FIXED * 5
    trainer = trainers.BpeTrainer(vocab_size=700, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    tokenizer.train_from_iterator(lines, trainer)
    return json.loads(tokenizer.to_str())['model']


def main():
    if sys.argv[1:]:
        for path in sys.argv[1:]:
            tokenizer = Tokenizer.from_file(path)
            print(json.dumps([tokenizer.encode(text, add_special_tokens=False).ids for text in texts()]))
        return
    model = learn()
    vocab, merges = model['vocab'], model['merges']
    # a whole word that no merges lead to, as Llama 3 has some
    vocab['ĠOnceĠ'] = len(vocab)
    vocab['Once'] = vocab.get('Once', len(vocab))
    cases = []
    for name, (parts, of_model, contents) in CASES.items():
        new = iter(range(len(vocab), len(vocab) + len(contents)))
        tokens = [added(vocab[content] if content in vocab else next(new), content, **flags) for content, flags in contents]
        file = dict(version='1.0', truncation=None, padding=None, normalizer=None, post_processor=None, decoder=None,
                    added_tokens=tokens, model=dict(type='BPE', dropout=None, unk_token=None, continuing_subword_prefix=None,
                    end_of_word_suffix=None, fuse_unk=False, byte_fallback=False, ignore_merges=False, vocab=vocab, merges=merges))
        file = file | parts | dict(model=file['model'] | of_model)
        tokenizer = Tokenizer.from_str(json.dumps(file))
        ids = [tokenizer.encode(text, add_special_tokens=False).ids for text in texts()]
        cases.append(dict(name=name, parts=parts, model=of_model, added_tokens=tokens, ids=ids))
    golden = dict(vocab=vocab, merges=[' '.join(m) if isinstance(m, list) else m for m in merges], texts=texts(), cases=cases)
    with open('test/golden/byte-level.json', 'w') as f:
        json.dump(golden, f, separators=(',', ':'))
        f.write('\n')
    print(len(texts()), 'texts,', len(vocab), 'tokens,', sum(map(len, ids)), 'ids of the last case')


if __name__ == '__main__':
    main()
