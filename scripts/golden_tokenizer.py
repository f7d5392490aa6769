"""Make test/golden/tokenizers.json: the tokens that Hugging Face's tokenizers give for texts that are hard to cut.

    pip install tokenizers                  # 0.23
    python scripts/golden_tokenizer.py      # from the repo root

Each case is the bundled tokenizer with other parts (`edits`, applied in the test as here), texts, and their ids.
"""
import json
import random

from tokenizers import Tokenizer

BASE = json.load(open('assets/tiny-gemma/tokenizer.json'))
GEMMA3_SPLIT = {'type': 'Split', 'pattern': {'String': ' '}, 'behavior': 'MergedWithPrevious', 'invert': False}


def added(id, content, **flags):
    token = dict(id=BASE['model']['vocab'].get(content, id), content=content, single_word=False, lstrip=False, rstrip=False, normalized=False, special=False)
    return {**token, **flags}


SPECIAL = [added(i, name, special=True) for i, name in enumerate(['<pad>', '<eos>', '<bos>', '<unk>'])]
NEWLINES = [added(4200 + n, '\n' * n) for n in range(1, 32)]

# Tokens that span spaces, as the vocabularies of Gemma 2 and 3 have some, and rows of one character.
ACROSS = {'▁<': 4100, '▁</': 4101, '>▁</': 4102, '▁▁': 4103, '▁▁▁▁': 4104, 'ab': 4105, 'aba': 4106, '==': 4107,
          '====': 4108, '</': 4109, '>▁': 4110, '\ufeff▁': 4111, '\ufeff': 4112, '😀': 4113, '😀😀': 4114}
MERGES = [['▁▁', '▁▁'], ['▁', '▁'], ['==', '=='], ['=', '='], ['<', '/'], ['▁', '</'], ['▁<', '/'], ['>', '▁</'],
          ['>▁', '</'], ['▁', '<'], ['>', '▁'], ['ab', 'a'], ['a', 'b'], ['\ufeff', '▁'], ['😀', '😀']]
# Characters that the bundled vocabulary lacks.
for character in '=<>/':
    if character not in BASE['model']['vocab']:
        ACROSS[character] = 4120 + ord(character)

CASES = {
    'bundled': {},
    'gemma3': {'pre_tokenizer': GEMMA3_SPLIT, 'vocab': ACROSS, 'merges': MERGES, 'added_tokens': SPECIAL + NEWLINES},
    'no pre-tokenizer': {'pre_tokenizer': None, 'vocab': ACROSS, 'merges': MERGES},
    'single words': {'added_tokens': SPECIAL + [
        added(4300, 'end', single_word=True), added(4301, '#tag', single_word=True),
        added(4302, '😀x', single_word=True), added(4303, 'endend')]},
    'single words, normalized': {'added_tokens': SPECIAL + [
        added(4300, 'end', single_word=True, normalized=True), added(4301, 'the end', normalized=True),
        added(4302, 'x y', single_word=True, normalized=True)]},
    'white space': {'pre_tokenizer': None, 'added_tokens': SPECIAL + [
        added(4300, '<l>', lstrip=True), added(4301, '<r>', rstrip=True), added(4302, '<b>', lstrip=True, rstrip=True),
        added(4303, '\n'), added(4304, '<n>', rstrip=True, lstrip=True, normalized=True)]},
    'within each other': {'added_tokens': SPECIAL + [
        added(4300, 'abcd'), added(4301, 'bc'), added(4302, 'bcde'), added(4303, 'e', normalized=True),
        added(4304, ' e', normalized=True), added(4305, 'cd', normalized=True)]},
}

TEXTS = [
    '', ' ', '<bos>', '<bos>a<eos> <pad>', 'a<p ></p> </a> </b>', '> </ > </', '   a    b  \n\n\n c' + '\n' * 70 + 'd',
    'ababab aba', '=' * 37, 'end', 'the end.', 'ends end_ end-end endend end', 'endé éend éndend end\u0301 1end', '😀x 😀xy a😀x',
    '#tag a#tag #tags #tag', 'x y x  y xx y x yy', 'a <l> b <r> c <b> d', 'a \t<l>\u00a0<r> \n<b>\u2003\u0085 e', '<r> \n\n<l>',
    '<n> a <n> b<n>', 'abcdefg abcd bcde ecd e cd e', '\ufeff \ufeff a\ufeff', 'é e\u0301 中文 日本語。 \u0000\u0001 \u200d 👩\u200d👩\u200d👧',
    '▁a ▁▁ b ▁', '😀😀😀 😀', 'a\r\nb\tc', '<unk> <pad><pad>',
]
PIECES = ['a', 'b', 'th', 'e', 'end', ' ', '  ', '\n', '\n\n', '▁', '>', '<', '</', '=', '==', '<bos>', '<l>', '<r>',
          '<b>', '<n>', 'ab', 'abcd', 'é', '中', '😀', '\u00a0', 'x', 'y', '#tag', '_', '.', '\u0301', '\ufeff']


def tokenizer(edits):
    file = {**BASE, **{k: v for k, v in edits.items() if k in ('pre_tokenizer', 'added_tokens')}}
    vocab = {**BASE['model']['vocab'], **edits.get('vocab', {})}
    merges = edits.get('merges', []) + BASE['model']['merges']
    # In Python, an added token that is not in the vocabulary takes the next free number.
    for token in file['added_tokens']:
        vocab.setdefault(token['content'], token['id'])
    return Tokenizer.from_str(json.dumps({**file, 'model': {**BASE['model'], 'vocab': vocab, 'merges': merges}}))


def main():
    rng = random.Random(0)
    texts = TEXTS + [''.join(rng.choices(PIECES, k=rng.randrange(1, 60))) for _ in range(60)]
    cases = []
    for name, edits in CASES.items():
        made = tokenizer(edits)
        ids = [made.encode(text, add_special_tokens=False).ids for text in texts]
        cases.append({'name': name, 'edits': edits, 'ids': ids})
    with open('test/golden/tokenizers.json', 'w') as file:
        json.dump({'texts': texts, 'cases': cases}, file, ensure_ascii=True, separators=(',', ':'))
        file.write('\n')


main()
