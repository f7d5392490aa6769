"""Writes corpora as other programs write them, for test/corpus: python scripts/golden_corpora.py

Needs pandas and zstandard or pyarrow. Tables are written by pandas and read back by it.
"""
import json
import os
import random

import pandas as pd
import pyarrow as pa

OUT = 'test/corpus/fixtures/sources'


def texts(count: int) -> list[str]:
    draw = random.Random(5)
    pieces = ['a', ' ', ',', '\t', '"', '""', '\n', '\r\n', 'é', 'λ', '😀', '\u2028', "'", ';', '#', '\\']
    return [''.join(draw.choices(pieces, k=1 + draw.randrange(40))) for _ in range(count)]


def tables() -> None:
    rows = texts(60)
    frame = pd.DataFrame({'id': range(len(rows)), 'body': rows, 'after "it"': rows[::-1]})
    frame.to_csv(f'{OUT}/table.csv', index=False, lineterminator='\r\n', encoding='utf-8-sig')
    frame.to_csv(f'{OUT}/table.tsv', index=False, sep='\t', lineterminator='\n')
    with open(f'{OUT}/table.csv', 'rb') as plain, pa.OSFile(f'{OUT}/table.csv.zst', 'wb') as packed:
        with pa.CompressedOutputStream(packed, 'zstd') as stream:
            stream.write(plain.read())
    for name, separator in (('table.csv', ','), ('table.tsv', '\t')):
        back = pd.read_csv(f'{OUT}/{name}', sep=separator, keep_default_na=False, lineterminator=None)
        assert list(back['body']) == rows, name
    with open(f'{OUT}/table.json', 'w') as file:
        json.dump(rows, file)


if __name__ == '__main__':
    os.makedirs(OUT, exist_ok=True)
    tables()
