"""Writes corpora as other programs write them, for test/corpus: python scripts/golden_corpora.py

Needs pandas, numpy, pyarrow and datasets. Tables are written by pandas, token ids by numpy, pyarrow and datasets, and read
back by what wrote them.
"""
import json
import os
import random
import shutil

import numpy as np
import pandas as pd
import pyarrow as pa
from datasets import Dataset, Features, List, Value, load_from_disk

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


def saved(name: str, data: dict, **how) -> list:
    """A data set directory as save_to_disk writes it; its rows as datasets reads them."""
    path = f'{OUT}/{name}'
    Dataset.from_dict(data, **how).save_to_disk(path, num_shards=2)
    column = next(iter(data))
    rows = [row[column] for row in load_from_disk(path)]
    assert rows == data[column], name
    return rows


def token_ids() -> None:
    draw = random.Random(6)
    ragged = [[draw.randrange(250) for _ in range(draw.randrange(20))] for _ in range(24)]
    even = [[draw.randrange(250) for _ in range(16)] for _ in range(24)]
    for name in ('saved-ids', 'saved-fixed', 'saved-texts'):
        shutil.rmtree(f'{OUT}/{name}', ignore_errors=True)
    saved('saved-ids', {'input_ids': ragged, 'text_id': list(range(24))})
    with open(f'{OUT}/saved-ids/sae_lens.json', 'w') as file:
        json.dump({'sae_lens_version': '6.0.0', 'tokenizer_name': 'google/gemma-2-2b', 'context_size': 16}, file)
    saved('saved-fixed', {'input_ids': even}, features=Features({'input_ids': List(Value('uint16'), length=16)}))
    saved('saved-texts', {'text': texts(24)})
    plain = Dataset.from_dict({'input_ids': ragged}, features=Features({'input_ids': List(Value('int32'))}))
    plain.to_parquet(f'{OUT}/ids.parquet')
    plain.to_json(f'{OUT}/ids.jsonl')
    table = pa.table({'input_ids': pa.array(ragged, pa.list_(pa.int32()))})
    for name, codec in (('ids.arrow', None), ('packed.arrow', 'lz4')):
        with pa.ipc.new_file(f'{OUT}/{name}', table.schema, options=pa.ipc.IpcWriteOptions(compression=codec)) as out:
            out.write_table(table, max_chunksize=7)
    np.save(f'{OUT}/even.npy', np.array(even, np.uint16))
    np.save(f'{OUT}/wide.npy', np.array(even, np.int64))
    np.array(even, np.uint16).tofile(f'{OUT}/even.bin')
    with open(f'{OUT}/ids.json', 'w') as file:
        json.dump({'ragged': ragged, 'even': even, 'texts': texts(24)}, file)


if __name__ == '__main__':
    os.makedirs(OUT, exist_ok=True)
    tables()
    token_ids()
