"""Writes the Parquet files in test/corpus/fixtures/ and test/explore/fixtures/ (pyarrow; run by hand, from the repository's root)."""

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

OUT = Path('test/corpus/fixtures')


def tiny():
    text = ['First.', 'Zweites, mit Ümlaut: λ → 😀', '', 'line\nline', 'last']
    summary = ['1', '2', '3', '4', None]
    table = pa.table({'title': list('abcde'), 'text': text, 'year': [1, 2, 3, 4, 5], 'summary': summary})
    pq.write_table(table, OUT / 'tiny.parquet', row_group_size=2, compression='snappy')


def forms():
    """24 rows in three row groups, two in eight of them null, in every codec, page version and encoding of strings."""
    texts = ['First.', 'Zweites, mit Ümlaut: λ → 😀', None, '', 'First.', 'line\nline ' * 60, None, 'last']
    table = pa.table({'text': pa.array(texts * 3)})

    def write(name, **options):
        pq.write_table(table, OUT / f'{name}.parquet', row_group_size=10, write_statistics=False, **options)

    for codec in ['none', 'snappy', 'gzip', 'brotli', 'zstd', 'lz4']:
        write(f'form-{codec}', compression=codec, use_dictionary=False)
    write('form-dictionary', compression='snappy', data_page_size=100)
    for name, version, encoding in [
        ('form-delta', '2.0', 'DELTA_BYTE_ARRAY'),
        ('form-delta-length', '1.0', 'DELTA_LENGTH_BYTE_ARRAY'),
    ]:
        encoded = {'text': encoding}
        write(name, compression='zstd', use_dictionary=False, column_encoding=encoded, data_page_version=version, data_page_size=64)


def broken():
    """A column of strings that holds Latin-1, as writers that do not check make it."""
    latin = pa.array([b'good', 'schön'.encode('latin-1'), b'x'], type=pa.binary())
    texts = pa.Array.from_buffers(pa.string(), 3, latin.buffers())
    pq.write_table(pa.table({'text': texts}), OUT / 'latin-1.parquet', compression='none', write_statistics=False, use_dictionary=False)


def two_columns():
    """Two columns of one name, as joins of tables make them."""
    pq.write_table(pa.table([['one'], ['other']], names=['text', 'text']), OUT / 'two-columns.parquet')


def prose():
    """The beginnings of 16 documents in four row groups."""
    lines = gzip.open('assets/corpus/train.jsonl.gz', 'rt').read().split('\n')[:16]
    texts = [json.loads(line)['text'][:1500] for line in lines]
    pq.write_table(pa.table({'text': texts}), OUT / 'prose.parquet', row_group_size=4, compression='zstd', write_statistics=False, use_dictionary=False)


def lists():
    """Numbers, lists and texts of features as another tool would rewrite them: pages of version 1, nullable columns."""
    rows = range(100)
    table = pa.table({
        'feature': pa.array(rows, pa.int32()),
        'active_tokens': pa.array([2**40 + i for i in rows], pa.int64()),
        'frequency': pa.array([i / 64 for i in rows], pa.float64()),
        'tokens': pa.array([[i * k for k in range(i % 4)] for i in rows], pa.list_(pa.int32())),
        'activations': pa.array([[k / 4 for k in range(i % 3)] for i in rows], pa.list_(pa.float32())),
        'text': pa.array([f'token {i % 7}' for i in rows]),
    })
    place = Path('test/explore/fixtures/rewritten.parquet')
    place.parent.mkdir(exist_ok=True)
    pq.write_table(table, place, row_group_size=30, data_page_version='1.0', data_page_size=64, compression='snappy')


def chats():
    """Twelve conversations in three row groups, one of them null, as `datasets` writes them: lists of structs."""
    lines = open('test/golden/chats.jsonl').read().split('\n')[1:-1]
    messages = [json.loads(line)['messages'] for line in lines if '"content": [' not in line][:12]
    messages[4] = None
    pq.write_table(pa.table({'id': range(12), 'messages': messages}), OUT / 'chats.parquet', row_group_size=5, compression='zstd')


for make in [tiny, forms, broken, two_columns, prose, lists, chats]:
    make()
